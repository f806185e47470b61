"""A request, a raw response, and the result of one attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import attrs
from yarl import URL

from ..errors import CallInfo
from ..redaction import Secret
from .retry import parse_retry_after

if TYPE_CHECKING:
    from .aiohttp_errors import Failure
    from .streaming import Stream

REQUEST_ID = "x-request-id"


def _no_headers() -> dict[str, str]:
    return {}


@attrs.define(kw_only=True)
class Request:
    """One call, complete before its first attempt: all attempts send the same key and the same body.

    Attributes:
        method: HTTP method.
        url: where it is sent.
        path: path of the endpoint, for messages, logs and hooks.
        body: bytes, or a function that makes the payload of each attempt. None for no body.
        headers: headers of this request, in addition to the client's.
        idempotency_key: key of a POST; None for none.
        secrets: secrets in body or headers, to be removed from messages.
        repeatable: whether a second execution is harmless. If not, only what was never sent is retried.
        single_use: whether the body can be made only once.
        streams: whether the response is returned as soon as its headers have arrived, its body unread.
        attempts: attempts so far.
        sent: whether any attempt may have reached the service.
        sent_earlier: the same of the attempts before the last one.
        lost: whether an attempt may have been executed whose response was lost.
        uncertain: the same, or an attempt ended with another error of the server.
        remaining: returns the seconds that are left for the call, when it is a part of something longer or others wait
            for it, too. None: the transport alone knows.
    """

    method: str
    url: URL
    path: str
    body: bytes | Callable[[], Any] | None = attrs.field(default=None, repr=False)
    headers: dict[str, str] = attrs.field(factory=_no_headers, repr=False)
    idempotency_key: str | None = None
    secrets: tuple[Secret, ...] = ()
    repeatable: bool = True
    single_use: bool = False
    streams: bool = False
    attempts: int = 0
    sent: bool = False
    sent_earlier: bool = False
    lost: bool = False
    uncertain: bool = False
    remaining: Callable[[], float] | None = attrs.field(default=None, repr=False)

    def info(self) -> CallInfo:
        return CallInfo(
            method=self.method,
            path=self.path,
            attempts=max(1, self.attempts),
            idempotency_key=self.idempotency_key,
            uncertain=self.uncertain,
        )


@attrs.define(kw_only=True)
class RawResponse:
    """A response, whatever its status.

    Attributes:
        status: HTTP status.
        headers: the response's headers.
        body: the body, decompressed; empty for a stream.
        reason: reason phrase of the status line.
        stream: the open body of a success whose request streams; None otherwise.
        limit: the limit in bytes that the body exceeded; None when the body is complete.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    reason: str | None = attrs.field(default=None, repr=False)
    stream: Stream | None = None
    limit: int | None = None

    @property
    def request_id(self) -> str | None:
        return self.headers.get(REQUEST_ID)

    @property
    def retry_after(self) -> float | None:
        return parse_retry_after(self.headers.get("Retry-After"), datetime.now(timezone.utc))


@attrs.define(kw_only=True)
class AttemptResult:
    """The result of one attempt: a response or a failure.

    Attributes:
        response: the response; None without one.
        failure: why there is no response; None with one.
        elapsed: seconds.
    """

    response: RawResponse | None = None
    failure: Failure | None = None
    elapsed: float = 0.0

    def response_or_raise(self) -> RawResponse:
        """Return the response.

        Raises:
            NetworkError: the attempt failed.
        """
        if self.response is not None:
            return self.response
        assert self.failure is not None
        raise self.failure.error from self.failure.cause
