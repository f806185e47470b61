"""Holds requests and responses against the OpenAPI documents, inside the sandbox's server.

Clients under test have no `trace_configs`: these would turn off the fast path that users run.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from aiohttp import web

from montra_sandbox import API_PREFIX, Sandbox
from montra_sandbox.contract import describe, read_contract

_AGENTS = ("montra-python/", "test")
"""Beginnings of the `User-Agent` of requests that are watched: the SDK's, and those of `sandbox/plain.py`."""

_PAYWALL_HEADERS = ("X-SDK-Version", "X-Paywall-Id", "Accept", "User-Agent")
_PAYWALL_PREFIX = "/api"
_GATEWAY = "/v1/api-gateway/"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ContractWatch:
    """A middleware of the sandbox's server.

    Args:
        faults: the faults that wait for requests. The response to a request that met one is not checked.

    Attributes:
        answers: whether responses are checked, too; off in tests that break them on purpose.
        requests: operations that were requested, in order.
        responses: operations whose response's body was checked, in order.
        problems: what was not as the contract says. A body that can't be seen is one.
    """

    def __init__(self, faults: Callable[[], list[Any]]) -> None:
        self.answers = True
        self.requests: list[str] = []
        self.responses: list[str] = []
        self.problems: list[str] = []
        self._faults = faults

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check a request and its response."""
        faults = self._faults()
        response = await handler(request)
        if request.path.startswith("/api/") and request.headers.get("User-Agent", "").startswith(_AGENTS):
            faulty = self._faults() != faults
            await self._check(request, response, check_answer=self.answers and not faulty)
        return response

    async def _check(self, request: web.Request, response: web.StreamResponse, *, check_answer: bool) -> None:
        service, operation = _operation_of(request)
        if operation is None:
            self.problems.append(f"no operation {request.method} {request.path}")
            return
        self.requests.append(operation.id)
        if check_answer:
            self._check_answer(operation, response)
        if response.status not in (400, 413):
            await self._check_request(service, operation, request)

    def _check_answer(self, operation: Any, response: web.StreamResponse) -> None:
        if response.content_type != "application/json":
            return
        body = response.body if isinstance(response, web.Response) else None
        if not isinstance(body, bytes):
            self._note(operation, "answer", ["its body was not seen"])
            return
        self.responses.append(operation.id)
        schema = operation.responses.get(str(response.status), operation.responses["default"])
        self._note(operation, "answer", describe(schema, json.loads(body, parse_float=Decimal)))

    async def _check_request(self, service: str, operation: Any, request: web.Request) -> None:
        query = dict(request.query)
        typed = {k: int(v) if operation.query_types.get(k) == "integer" else v for k, v in query.items()}
        self._note(operation, "query", describe(operation.query_validator, typed))
        if _GATEWAY not in request.path:  # the provider's are its own
            unknown = query.keys() - operation.query_types.keys()
            self._note(operation, "query", [f"unknown {name}" for name in unknown])
        if service == "paywall":
            missing = [name for name in _PAYWALL_HEADERS if name not in request.headers]
            self._note(operation, "header", [f"no {name}" for name in missing])
        elif request.method == "POST":
            key = request.headers.get("Idempotency-Key")
            self._note(operation, "header", [] if key else ["no idempotency key"])
            self._note(operation, "header", describe(operation.headers_validator, {"Idempotency-Key": key}))
        has_json = request.headers.get("Content-Type") == "application/json"
        is_beacon = request.content_type == "text/plain"  # which pages send without asking; it is read elsewhere
        expects_json = operation.body_required and not operation.multipart and not is_beacon
        if operation.body is not None and (has_json or expects_json):
            try:
                body = json.loads(await request.read(), parse_float=Decimal)
            except (ValueError, ConnectionError) as error:
                self._note(operation, "body", [f"{error!r}, {request.content_type}"])
            else:
                self._note(operation, "body", describe(operation.body, body))

    def _note(self, operation: Any, where: str, problems: Any) -> None:
        self.problems += [f"{operation.id} {where}: {problem}" for problem in problems]


class WatchedSandbox(Sandbox):
    """A sandbox whose requests and responses are held against the contract."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.watch = ContractWatch(self.faults)
        self._middlewares = (self.watch.middleware,)


def _operation_of(request: web.Request) -> tuple[str, Any]:
    """The service, and its operation; None for a request that has none."""
    path = request.raw_path.partition("?")[0]
    before, gateway, rest = path.partition(_GATEWAY)
    if gateway:  # what follows the name is the provider's
        path = before + gateway + rest.partition("/")[0]
    for service, prefix in (("paywall", _PAYWALL_PREFIX), ("montra", API_PREFIX)):
        if path.startswith(prefix) and (found := read_contract(service).at(path[len(prefix) :])):
            return service, {one.method: one for one, _ in found}.get(request.method)
    return "", None
