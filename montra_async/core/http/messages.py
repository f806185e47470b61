"""What is sent, what comes back, and what became of one try."""

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
    """One logical call, complete before its first try: every try sends the same key and the same body.

    `path` is for people (messages, logs, hooks). `body` makes the payload anew for each try when it can't be bytes.
    `repeatable` says whether a second execution is harmless; when it is not, only what was never sent is tried again.
    `secrets` are in its body, and must not be in anything that is said of it.
    `single_use`: the body can be made only once.
    `streams` hands the answer over as soon as its headers are here, its body unread.
    `sent` says whether any attempt may have reached the service, `sent_earlier` the same of the attempts before the
    last one, `lost` whether one of those may have been carried out and its answer was lost on the way.
    `remaining` says how many seconds are left for the call, when that is not for the transport alone to know: it is a
    part of something longer, or others wait for it, too.
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
    remaining: Callable[[], float] | None = attrs.field(default=None, repr=False)

    def info(self) -> CallInfo:
        return CallInfo(
            method=self.method,
            path=self.path,
            attempts=max(1, self.attempts),
            idempotency_key=self.idempotency_key,
        )


@attrs.define(kw_only=True)
class RawResponse:
    """What came back, whatever its status. A success of a call that streams has its body in `stream`.

    `limit`, in bytes, is set when the body was longer than that: then it is not whole.
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
    """What became of one try: an answer, or a failure. `elapsed` is in seconds."""

    answer: RawResponse | None = None
    failure: Failure | None = None
    elapsed: float = 0.0

    def result(self) -> RawResponse:
        """The answer.

        Raises:
            NetworkError: there is none.
        """
        if self.answer is not None:
            return self.answer
        assert self.failure is not None
        raise self.failure.error from self.failure.cause
