"""From an HTTP request to a handler and back: who asks, is it valid, was it asked before, do it, write the answer.

What the two services do differently is in the subclasses `montra_api` and `paywall_api`.
"""

from __future__ import annotations

import decimal
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs
from aiohttp import web

from .. import idempotency
from ..context import UploadedPart
from ..contract import Contract, Operation
from ..problems import OUT_OF_RANGE, CountedProblem, Problem, out_of_range
from ..store import Store
from ..wire import dumps
from ..world import World
from .answers import http_problem, respond
from .fault_effects import strike
from .reading import check, read_json, read_multipart, read_query

log = logging.getLogger("montra_sandbox")

_DIGITS = 60

C = TypeVar("C")


@attrs.frozen(kw_only=True)
class Incoming:
    """A request whose operation is known and whose parameters are valid."""

    operation: Operation
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    parts: tuple[UploadedPart, ...]
    key: str | None


class Api(ABC, Generic[C]):
    """One service's routes below one prefix; `C` is what its handlers get."""

    def __init__(
        self, world: World, contract: Contract, handlers: Mapping[str, Callable[[C], Any]], prefix: str
    ) -> None:
        self._world = world
        self._contract = contract
        self._handlers = handlers
        self._prefix = prefix

    @abstractmethod
    def admit(self, request: web.Request) -> None:
        """Refuse who is not welcome at all, before looking at what they want."""

    @abstractmethod
    def context(self, request: web.Request, incoming: Incoming) -> C:
        """What the handler gets; inside the transaction."""

    @abstractmethod
    def scope(self, context: C) -> str:
        """Within what an idempotency key is unique."""

    @abstractmethod
    def success(self, result: Any) -> Any:
        """What a handler returned, as JSON of the answer."""

    @abstractmethod
    def refusal(self, problem: Problem) -> Any:
        """A problem, as JSON of the answer."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix(self._prefix)
        fault = self._world.faults.draw(request.method, path.removeprefix("/v1"))
        if fault is None:
            return await self._answer(request, path)
        return await strike(request, fault, lambda: self._answer(request, path), self.problem)

    def problem(self, problem: Problem) -> web.Response:
        headers: dict[str, str] = {}
        if problem.status == 405 and problem.details:
            headers["Allow"] = problem.details["allowed"]
        return respond(problem.status, dumps(self.refusal(problem)).encode(), headers)

    async def _answer(self, request: web.Request, path: str) -> web.StreamResponse:
        try:
            return await self.answer(request, path)
        except Problem as problem:
            return self.problem(problem)
        except web.HTTPException as error:
            return self.problem(http_problem(error))
        except OUT_OF_RANGE as error:
            return self.problem(out_of_range(error))
        except Exception:
            log.exception("%s %s failed", request.method, path)
            return self.problem(Problem(500, "internal_error", "the sandbox failed; its log says why"))

    async def answer(self, request: web.Request, path: str) -> web.StreamResponse:
        """Read, do and answer; a Problem of any step is answered by the caller."""
        headers: dict[str, str] = {}
        self.admit(request)
        incoming = await self._read(request, path)
        with decimal.localcontext() as exact:
            exact.prec = _DIGITS
            status, body = self._process(request, incoming, path, headers)
        return respond(status, body, headers)

    async def _read(self, request: web.Request, path: str) -> Incoming:
        operation, path_values = self.find(request.method, path)
        query = read_query(request, operation)
        key = request.headers.get(idempotency.HEADER) if operation.method == "POST" else None
        check(operation.path_validator, path_values, "path")
        check(operation.query_validator, query, "query")
        if key is not None:
            check(operation.headers_validator, {idempotency.HEADER: key}, "header")
        body: Any = None
        parts: tuple[UploadedPart, ...] = ()
        if operation.multipart and (operation.body is None or request.content_type == "multipart/form-data"):
            body, parts = await read_multipart(request, operation)
        elif operation.body is not None:
            body = await read_json(request, operation)
        return Incoming(operation=operation, path=path_values, query=query, body=body or {}, parts=parts, key=key)

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        candidates = self._contract.at(path)
        if not candidates:
            raise Problem(404, "unknown_route", f"there is no {path[:200]!r} here")
        for operation, values in candidates:
            if operation.method == method:
                return operation, values
        allowed = ", ".join(sorted(operation.method for operation, _ in candidates))
        raise Problem(405, "method_not_allowed", f"here: {allowed}", {"allowed": allowed})

    def _process(
        self, request: web.Request, incoming: Incoming, path: str, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Everything in one transaction: the replay or the effects, the stored answer, audit log and webhooks."""
        now = self._world.catch_up()
        operation = incoming.operation
        keyed = None
        if incoming.key is not None and self.replayable(operation):
            keyed = idempotency.keyed(incoming.key, operation.method, path, incoming.body, incoming.parts)
        counted: CountedProblem | None = None
        body = b""
        with self._world.store.transaction() as store:
            context = self.context(request, incoming)
            if keyed is not None and (stored := idempotency.replay(store, self.scope(context), keyed)) is not None:
                headers[idempotency.REPLAYED] = "true"
                return stored
            try:
                body = dumps(self.success(self._handlers[operation.id](context))).encode()
            except CountedProblem as refused:
                counted = refused
            else:
                if keyed is not None:
                    idempotency.remember(store, self.scope(context), keyed, 200, body, now)
        if counted is not None:
            raise counted
        if operation.method != "GET":
            self._world.changed.set()
        return 200, body

    def replayable(self, operation: Operation) -> bool:
        """Whether answers are stored under idempotency keys. Those of sign-ins are not: they hold a session's tokens,
        which belong to nobody but who asked, and in no file."""
        return "/auth/" not in operation.template

    @property
    def store(self) -> Store:
        return self._world.store
