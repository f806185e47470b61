"""Records the requests to both APIs for `sandbox.requests`, and gives each response its `X-Request-Id`."""

from __future__ import annotations

import secrets
import time
from functools import cache
from typing import Final

from aiohttp import web

from .. import idempotency
from ..contract import Contract
from ..datetimes import format_datetime
from ..faults import Fault
from ..json import is_object, loads
from ..request_log import RecordedRequest, Service, shown_body, shown_path
from ..world import World

REQUEST_ID_HEADER: Final = "X-Request-Id"
BODY_KEY: Final = web.RequestKey("body", bytes)
"""Where a request keeps its body once it was read."""
_MAX_KEY = 300


class RequestRecording:
    """One request, from its arrival to its response.

    Args:
        world: the state.
        service: which API it is.
        contract: the service's contract.
        request: the request.
        path: its path below the API's prefix.
    """

    def __init__(self, world: World, service: Service, contract: Contract, request: web.Request, path: str) -> None:
        self._world = world
        self._service: Service = service
        self._contract = contract
        self._request = request
        self._path = path
        self._started = time.perf_counter()
        self._sequence = world.requests.next_sequence()
        self._id = f"req_{secrets.token_hex(8)}"

    def finish(self, response: web.StreamResponse | None, fault: Fault | None) -> None:
        """Record the response.

        Args:
            response: the response; None when there is none.
            fault: the fault that the request met; None for none.
        """
        request = self._request
        is_dropped = response is None or (fault is not None and fault.kind.startswith("drop_"))
        if response is not None and not response.prepared:
            response.headers[REQUEST_ID_HEADER] = self._id
        seconds = time.perf_counter() - self._started
        duration = round(seconds * 1000, 2)
        at = format_datetime(self._world.clock.now())
        sent, sent_type = request.get(BODY_KEY), request.content_type
        raw = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else None
        status = None if is_dropped or response is None else response.status
        replayed = response is not None and idempotency.REPLAYED_HEADER in response.headers
        received_type = "" if response is None else response.content_type
        method, path, key = request.method, request.raw_path, request.headers.get(idempotency.KEY_HEADER, "")
        # What is kept holds the bodies, but not the request with its connection.
        sequence, request_id, service = self._sequence, self._id, self._service
        operation = _find_operation(self._contract, method, self._path)
        self._world.metrics.count_request(service, operation, status, seconds)
        if fault is not None:
            self._world.metrics.count_fault(fault.kind)

        @cache
        def make() -> RecordedRequest:
            return RecordedRequest(
                sequence=sequence,
                id=request_id,
                at=at,
                service=service,
                method=method,
                path=shown_path(path),
                operation=operation,
                status=status,
                duration_ms=duration,
                idempotency_key=key[:_MAX_KEY] or None,
                replayed=replayed,
                fault=None if fault is None else fault.kind,
                error_code=_error_code(raw) if status is not None and status >= 400 else None,
                request_body=shown_body(sent, sent_type),
                response_body=None if is_dropped else shown_body(raw, received_type),
            )

        self._world.requests.add(make)
        self._world.live.publish("request", lambda: make().to_dict())


def _find_operation(contract: Contract, method: str, path: str) -> str | None:
    return next((operation.id for operation, _ in contract.at(path) if operation.method == method), None)


def _error_code(body: bytes | None) -> str | None:
    """The code in an error response of either service."""
    try:
        parsed = loads(body or b"null")
    except ValueError:
        return None
    error = parsed.get("error", parsed) if is_object(parsed) else None
    code = error.get("code") if is_object(error) else parsed.get("code") if is_object(parsed) else None
    return code if isinstance(code, str) else None
