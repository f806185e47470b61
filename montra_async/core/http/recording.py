"""A transport that also keeps the facts of the last response, for one call of `with_raw_response`."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs

from ..api_response import refuse
from ..errors import CallInfo
from ..headers import ResponseHeaders, clean_headers
from ..options import CallOptions
from ..redaction import clean_name, scrub
from .messages import RawResponse, Request
from .transport import Transport


@attrs.frozen(kw_only=True)
class ResponseFacts:
    """What is kept of a response: everything but its body. The attributes are those of `ApiResponse`."""

    status: int
    headers: ResponseHeaders
    request_id: str | None
    call: CallInfo
    elapsed: float


class RecordingTransport(Transport):
    """Another transport on the same connections, hooks and settings.

    Args:
        transport: the client's.
    """

    def __init__(self, transport: Transport) -> None:
        self.__dict__.update(transport.__dict__)
        self._transport = transport
        self.facts: ResponseFacts | None = None

    def recorded(self) -> dict[str, Any]:
        """The facts of the last response, by name; empty when there was none."""
        return {} if self.facts is None else attrs.asdict(self.facts, recurse=False)

    async def send(self, request: Request, options: CallOptions) -> RawResponse:
        """Send a call as the other transport does, and keep the facts of its response.

        Args:
            request: what is sent.
            options: options of the call.

        Raises:
            TypeError: the response is a stream. Nothing was sent.
        """
        if request.streams:
            raise refuse(f"{request.method} {request.path}")
        loop = asyncio.get_running_loop()
        started = loop.time()
        response = await self._transport.send(request, options)

        def clean(text: str) -> str:
            return scrub(self.scrub(text), *request.secrets)

        request_id = response.request_id
        self.facts = ResponseFacts(
            status=response.status,
            headers=clean_headers(response.headers, clean),
            request_id=None if request_id is None else clean_name(request_id, clean),
            call=request.info(),
            elapsed=loop.time() - started,
        )
        return response
