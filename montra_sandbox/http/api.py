"""From an HTTP request to a handler and back: who asks, is it valid, was it asked before, do it, wrap the answer."""

from __future__ import annotations

import decimal
import logging
from collections.abc import Mapping
from typing import Any

import attrs
from aiohttp import web

from .. import idempotency
from ..context import NOTHING, Bare, Handler, Page, UploadedPart
from ..contract import Contract, Operation
from ..problems import Problem
from ..wire import dumps
from ..world import World
from .answers import http_problem, respond, respond_problem
from .fault_effects import strike
from .reading import check, read_json, read_part, read_query

log = logging.getLogger("montra_sandbox")

_DIGITS = 60


@attrs.frozen(kw_only=True)
class Incoming:
    """A request whose operation is known and whose parameters are valid."""

    operation: Operation
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    part: UploadedPart | None
    key: str | None


class Api:
    """One service's routes below one prefix."""

    def __init__(self, world: World, contract: Contract, handlers: Mapping[str, Handler], prefix: str) -> None:
        self._world = world
        self._contract = contract
        self._handlers = handlers
        self._prefix = prefix

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix(self._prefix)
        fault = self._world.faults.draw(request.method, path)
        if fault is None:
            return await self._answer(request, path)
        return await strike(request, fault, lambda: self._answer(request, path))

    async def _answer(self, request: web.Request, path: str) -> web.Response:
        headers: dict[str, str] = {}
        try:
            merchant_id = self._merchant(request)
            incoming = await self._read(request, path)
            with decimal.localcontext() as exact:
                exact.prec = _DIGITS
                status, body = self._process(merchant_id, incoming, path, headers)
        except Problem as problem:
            return respond_problem(problem)
        except web.HTTPException as error:
            return respond_problem(http_problem(error))
        except Exception:
            log.exception("%s %s failed", request.method, path)
            return respond_problem(Problem(500, "internal_error", "the sandbox failed; its log says why"))
        return respond(status, body, headers)

    def _merchant(self, request: web.Request) -> str:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Problem(401, "missing_api_key", "send the header Authorization: Bearer <api key>")
        merchant_id = self._world.merchant_of(key.strip())
        if merchant_id is None:
            raise Problem(401, "invalid_api_key", "the sandbox does not know this API key")
        return merchant_id

    async def _read(self, request: web.Request, path: str) -> Incoming:
        operation, path_values = self._find(request.method, path)
        query = read_query(request, operation)
        key = request.headers.get(idempotency.HEADER) if operation.method == "POST" else None
        check(operation.path_validator, path_values, "path")
        check(operation.query_validator, query, "query")
        if key is not None:
            check(operation.headers_validator, {idempotency.HEADER: key}, "header")
        body = part = None
        if operation.multipart:
            part = await read_part(request)
        elif operation.body is not None:
            body = await read_json(request, operation)
        return Incoming(operation=operation, path=path_values, query=query, body=body, part=part, key=key)

    def _find(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        candidates = self._contract.at(path)
        if not candidates:
            raise Problem(404, "unknown_route", f"there is no {path[:200]!r} here")
        for operation, values in candidates:
            if operation.method == method:
                return operation, values
        allowed = ", ".join(sorted(operation.method for operation, _ in candidates))
        raise Problem(405, "method_not_allowed", f"here: {allowed}", {"allowed": allowed})

    def _process(self, merchant_id: str, incoming: Incoming, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Everything in one transaction: the replay or the effects, the stored answer, audit log and webhooks."""
        context = self._world.context(merchant_id, self._world.catch_up())
        operation = incoming.operation
        keyed = None
        if incoming.key is not None:
            keyed = idempotency.keyed(incoming.key, operation.method, path, incoming.body, incoming.part)
        with self._world.store.transaction():
            if keyed is not None and (stored := idempotency.replay(context, keyed)) is not None:
                headers[idempotency.REPLAYED] = "true"
                return stored
            result = self._handlers[operation.id](
                attrs.evolve(
                    context, path=incoming.path, query=incoming.query, body=incoming.body or {}, part=incoming.part
                )
            )
            body = dumps(_envelope(result)).encode()
            if keyed is not None:
                idempotency.remember(context, keyed, 200, body)
        if operation.method != "GET":
            self._world.changed.set()
        return 200, body


def _envelope(result: Any) -> Any:
    if result is NOTHING:
        return {"success": True}
    if isinstance(result, Bare):
        return result.value
    if isinstance(result, Page):
        return {"success": True, "data": result.data, "meta": result.meta}
    return {"success": True, "data": result}
