"""From an HTTP request to a handler and back: authenticate, validate, replay, handle, respond.

`montra_api` and `paywall_api` hold what differs between the two services.
"""

from __future__ import annotations

import decimal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs
from aiohttp import web

from .. import idempotency
from ..contract import ContractOperation, read_contract
from ..json import dumps
from ..log import log
from ..operations import OperationRegistry, UploadedPart
from ..problems import OUT_OF_RANGE, CommittedProblem, Problem, client_disconnected, out_of_range
from ..request_log import Service
from ..world import World
from .fault_injection import inject
from .json_response import json_response, problem_of_http_error, problem_response
from .request_parsing import check, read_json, read_multipart, read_query
from .request_recording import RequestRecording

_DECIMAL_PRECISION = 60

C = TypeVar("C")


@attrs.frozen(kw_only=True)
class ParsedRequest:
    """A request whose operation is known and whose parameters and body are valid.

    Attributes:
        operation: the operation of the contract.
        path: the path parameters.
        query: the query parameters.
        body: the JSON body; empty when there is none.
        parts: the uploaded files.
        idempotency_key: the key of a POST; None without one.
    """

    operation: ContractOperation
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    parts: tuple[UploadedPart, ...]
    idempotency_key: str | None


class Api(ABC, Generic[C]):
    """One service below one prefix. `C` is the context that its handlers get.

    Args:
        world: the state.
        service: `montra` or `paywall`.
        operations: the handlers by operation id.
        prefix: the path before the contract's paths.
    """

    def __init__(self, world: World, service: Service, operations: OperationRegistry[C], prefix: str) -> None:
        self._world = world
        self._service: Service = service
        self._contract = read_contract(service)
        self._operations = operations
        self._prefix = prefix

    @abstractmethod
    def authenticate(self, request: web.Request) -> None:
        """Check the API key, before anything else is looked at.

        Args:
            request: the request.

        Raises:
            Problem: 401.
        """

    @abstractmethod
    def make_context(self, request: web.Request, parsed: ParsedRequest) -> C:
        """The handler's context, inside the transaction.

        Args:
            request: the request.
            parsed: the validated request.
        """

    @abstractmethod
    def idempotency_scope(self, context: C) -> str:
        """Within what an idempotency key is unique.

        Args:
            context: the handler's context.
        """

    @abstractmethod
    def success_body(self, result: Any) -> Any:
        """The JSON of a response.

        Args:
            result: what the handler returned.
        """

    @abstractmethod
    def problem_body(self, problem: Problem) -> Any:
        """The JSON of an error response.

        Args:
            problem: the problem.
        """

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The aiohttp handler for all paths below the prefix.

        Args:
            request: the request.
        """
        path = request.rel_url.raw_path.removeprefix(self._prefix)
        recording = RequestRecording(self._world, self._service, self._contract, request, path)
        fault = self._world.faults.next_fault(request.method, path.removeprefix("/v1"))
        try:
            if fault is None:
                response = await self._respond(request, path)
            else:
                response = await inject(request, fault, lambda: self._respond(request, path), self._problem_response)
        except BaseException:
            recording.finish(None, fault)
            raise
        recording.finish(response, fault)
        return response

    def _problem_response(self, problem: Problem) -> web.Response:
        return problem_response(problem, self.problem_body(problem))

    async def _respond(self, request: web.Request, path: str) -> web.StreamResponse:
        try:
            return await self._handle(request, path)
        except Problem as problem:
            return self._problem_response(problem)
        except web.HTTPException as error:
            return self._problem_response(problem_of_http_error(error))
        except OUT_OF_RANGE as error:
            return self._problem_response(out_of_range(error))
        except ConnectionError:
            return self._problem_response(client_disconnected())
        except Exception:
            log.exception("%s %s failed", request.method, path)
            return self._problem_response(Problem(500, "internal_error", "the sandbox failed; see its log"))

    async def _handle(self, request: web.Request, path: str) -> web.StreamResponse:
        headers: dict[str, str] = {}
        self.authenticate(request)
        parsed = await self._parse(request, path)
        with decimal.localcontext() as context:
            context.prec = _DECIMAL_PRECISION
            status, body = self._execute(request, parsed, path, headers)
        return json_response(status, body, headers)

    async def _parse(self, request: web.Request, path: str) -> ParsedRequest:
        operation, path_values = self._find_operation(request.method, path)
        query = read_query(request, operation)
        key = request.headers.get(idempotency.KEY_HEADER) if operation.method == "POST" else None
        check(operation.path_validator, path_values, "path")
        check(operation.query_validator, query, "query")
        if key is not None:
            check(operation.headers_validator, {idempotency.KEY_HEADER: key}, "header")
        body: Any = None
        parts: tuple[UploadedPart, ...] = ()
        if operation.multipart and (operation.body is None or request.content_type == "multipart/form-data"):
            body, parts = await read_multipart(request, operation)
        elif operation.body is not None:
            body = await read_json(request, operation)
        return ParsedRequest(
            operation=operation, path=path_values, query=query, body=body or {}, parts=parts, idempotency_key=key
        )

    def _find_operation(self, method: str, path: str) -> tuple[ContractOperation, dict[str, str]]:
        candidates = self._contract.at(path)
        if not candidates:
            raise Problem(404, "unknown_route", f"there is no {path[:200]!r} here")
        for operation, values in candidates:
            if operation.method == method:
                return operation, values
        allowed = ", ".join(sorted(operation.method for operation, _ in candidates))
        raise Problem(405, "method_not_allowed", f"allowed here: {allowed}", {"allowed": allowed})

    def _execute(
        self, request: web.Request, parsed: ParsedRequest, path: str, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Replay or handle the request. Effects, stored response, audit log and webhooks share one transaction."""
        now = self._world.run_due()
        operation = parsed.operation
        keyed = None
        if parsed.idempotency_key is not None and self.stores_response(operation):
            keyed = idempotency.keyed_request(parsed.idempotency_key, operation.method, path, parsed.body, parsed.parts)
        committed: CommittedProblem | None = None
        body = b""
        with self._world.db.transaction() as db:
            context = self.make_context(request, parsed)
            if keyed is not None:
                stored = idempotency.find_stored_response(db, self.idempotency_scope(context), keyed)
                if stored is not None:
                    headers[idempotency.REPLAYED_HEADER] = "true"
                    return stored
            try:
                body = dumps(self.success_body(self._operations[operation.id](context))).encode()
            except CommittedProblem as problem:
                committed = problem
            else:
                if keyed is not None:
                    idempotency.store_response(db, self.idempotency_scope(context), keyed, 200, body, now)
        if committed is not None:
            raise committed
        if operation.method != "GET":
            self._world.notify()
        return 200, body

    def stores_response(self, operation: ContractOperation) -> bool:
        """Whether responses are stored under idempotency keys.

        Those of sign-ins are not: they hold the tokens of a session, which must not be in the database.

        Args:
            operation: the operation.
        """
        return "/auth/" not in operation.template
