"""Records the requests to both APIs for `sandbox.requests`, and gives each response its `X-Request-Id`."""

from __future__ import annotations

import secrets
import time
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
        is_dropped = fault is not None and fault.kind.startswith("drop_")
        if response is not None and not response.prepared:
            response.headers[REQUEST_ID_HEADER] = self._id
        raw = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else None
        body = None if response is None or is_dropped else shown_body(raw, response.content_type)
        status = None if response is None or is_dropped else response.status
        recorded = RecordedRequest(
            sequence=self._sequence,
            id=self._id,
            at=format_datetime(self._world.clock.now()),
            service=self._service,
            method=request.method,
            path=shown_path(request.raw_path),
            operation=self._operation(),
            status=status,
            duration_ms=round((time.perf_counter() - self._started) * 1000, 2),
            idempotency_key=request.headers.get(idempotency.KEY_HEADER, "")[:_MAX_KEY] or None,
            replayed=response is not None and idempotency.REPLAYED_HEADER in response.headers,
            fault=None if fault is None else fault.kind,
            error_code=_error_code(raw) if status is not None and status >= 400 else None,
            request_body=shown_body(request.get(BODY_KEY), request.content_type),
            response_body=body,
        )
        self._world.requests.add(recorded)
        self._world.live.publish("request", recorded.to_dict)

    def _operation(self) -> str | None:
        found = self._contract.at(self._path)
        return next((operation.id for operation, _ in found if operation.method == self._request.method), None)


def _error_code(body: bytes | None) -> str | None:
    """The code in an error response of either service."""
    try:
        parsed = loads(body or b"null")
    except ValueError:
        return None
    error = parsed.get("error", parsed) if is_object(parsed) else None
    code = error.get("code") if is_object(error) else parsed.get("code") if is_object(parsed) else None
    return code if isinstance(code, str) else None
