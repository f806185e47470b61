"""From an HTTP request to a handler and back: who asks, is it valid, was it asked before, do it, wrap the answer."""

from __future__ import annotations

import asyncio
import decimal
import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any

import attrs
from aiohttp import web
from aiohttp.http import HttpProcessingError

from . import idempotency
from .context import NOTHING, Bare, Handler, Page, UploadedPart
from .contract import Contract, Operation, describe
from .faults import Fault
from .problems import Problem, invalid
from .wire import dumps, loads
from .world import World

log = logging.getLogger("montra_sandbox")

MOST_JSON = 1024 * 1024
MOST_UPLOAD = 20 * 1024 * 1024
_DIGITS = 60
_WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)


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
        return await _struck(request, fault, lambda: self._answer(request, path))

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
        query = _query(request, operation)
        key = request.headers.get(idempotency.HEADER) if operation.method == "POST" else None
        _check(operation.path_validator, path_values, "path")
        _check(operation.query_validator, query, "query")
        if key is not None:
            _check(operation.headers_validator, {idempotency.HEADER: key}, "header")
        body = part = None
        if operation.multipart:
            part = await _read_part(request)
        elif operation.body is not None:
            body = await _read_json(request, operation)
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


def respond(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        charset="utf-8",
        headers={"x-request-id": f"req_{secrets.token_hex(8)}", **(headers or {})},
    )


def respond_problem(problem: Problem) -> web.Response:
    headers: dict[str, str] = {}
    if problem.status == 405 and problem.details:
        headers["Allow"] = problem.details["allowed"]
    return respond(problem.status, dumps(problem.envelope()).encode(), headers)


def http_problem(error: web.HTTPException) -> Problem:
    """What aiohttp refuses by itself, in our words."""
    if error.status == 413:
        return Problem(413, "too_large", f"at most {MOST_UPLOAD} bytes")
    if error.status == 404:
        return Problem(404, "unknown_route", "there is nothing here")
    return Problem(error.status, f"http_{error.status}", error.reason)


def _check(validator: Any, values: Any, where: str) -> None:
    problems = describe(validator, values)
    if problems:
        first = problems[0]
        name = first["path"] or where
        raise invalid(f"{name}: {first['message']}", problems)


def _query(request: web.Request, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in operation.query_types.items():
        values = request.query.getall(name, [])
        if len(values) > 1:
            raise invalid(f"{name}: given {len(values)} times")
        if values:
            whole = kind == "integer" and _WHOLE.fullmatch(values[0])
            found[name] = int(values[0]) if whole else values[0]
    return found


async def _read_json(request: web.Request, operation: Operation) -> Any:
    raw = await _read_limited(request, MOST_JSON)
    if not raw:
        if operation.body_required:
            raise invalid("a JSON body is required")
        return None
    if request.content_type != "application/json":
        raise Problem(415, "unsupported_media_type", "send Content-Type: application/json")
    try:
        body = loads(raw)
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}"[:300]) from None
    _check(operation.body, body, "body")
    return body


async def _read_limited(request: web.Request, most: int) -> bytes:
    if (request.content_length or 0) > most:
        raise Problem(413, "too_large", f"at most {most} bytes")
    raw = await request.read()
    if len(raw) > most:
        raise Problem(413, "too_large", f"at most {most} bytes")
    return raw


async def _read_part(request: web.Request) -> UploadedPart:
    if request.content_type != "multipart/form-data":
        raise Problem(415, "unsupported_media_type", "send Content-Type: multipart/form-data")
    try:
        fields = await request.post()
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError):
        raise invalid("the multipart body can't be read") from None
    part = fields.get("file")
    if len(fields) != 1 or not isinstance(part, web.FileField):
        raise invalid("send one part, named `file`, with a file name")
    with part.file:
        content = part.file.read()
    return UploadedPart(name=part.filename, type=part.content_type or "application/octet-stream", content=content)


# Faults


async def _struck(request: web.Request, fault: Fault, answer: Any) -> web.StreamResponse:
    if fault.kind == "latency":
        await asyncio.sleep(fault.seconds)
        response: web.Response = await answer()
        return response
    if fault.kind == "drop_before":
        await request.read()
        return hang_up(request)
    if fault.kind in ("status", "rate_limit"):
        await request.read()
        return _fault_status(fault)
    response = await answer()
    if fault.kind == "drop_after":
        return hang_up(request)
    if fault.kind == "drop_during_answer":
        return await _half(request, response)
    return _broken(fault, response)


def hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=500)


def _fault_status(fault: Fault) -> web.Response:
    code = "rate_limited" if fault.status == 429 else "injected_fault"
    problem = Problem(fault.status, code, f"a fault was asked for: status {fault.status}")
    response = respond_problem(problem)
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


async def _half(request: web.Request, whole: web.Response) -> web.StreamResponse:
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _broken(fault: Fault, whole: web.Response) -> web.Response:
    body = whole.body if isinstance(whole.body, bytes) else b""
    if fault.body == "html":
        return web.Response(
            status=whole.status, text="<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html"
        )
    if fault.body == "truncated":
        return web.Response(status=whole.status, body=body[: len(body) // 2], content_type="application/json")
    return web.Response(status=whole.status, text="" if fault.body == "empty" else "OK", content_type="text/plain")
