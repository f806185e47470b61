"""What the end of an attempt means: for its request, and for the requests after it. Pure functions on errors."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ...core.errors import (
    ApiError,
    ConfigError,
    InvalidArgumentError,
    InvalidResponseError,
    MontraError,
    NetworkError,
    PoolTimeoutError,
)
from ...core.redaction import bounded
from ..events import MAX_CODE_LENGTH, MAX_MESSAGE_LENGTH, Outcome, Settlement, UsageRequest

DUPLICATE_CODES: frozenset[str] = frozenset(
    {
        "already_exists",
        "already_processed",
        "already_recorded",
        "already_reported",
        "duplicate",
        "duplicate_event",
        "duplicate_idempotency_key",
        "duplicate_request",
        "duplicate_usage",
        "event_already_exists",
        "usage_already_recorded",
    }
)
"""Codes of a 409 that say that the service has counted the request before."""

IN_PROGRESS_CODES: frozenset[str] = frozenset(
    {
        "concurrent_request",
        "idempotency_concurrent_request",
        "idempotency_in_progress",
        "idempotency_key_in_use",
        "in_progress",
        "lock_timeout",
        "request_in_progress",
    }
)
"""Codes of a 409 that say that another attempt under the same key is being handled."""


class Signal(Enum):
    """What an answer says about the service, beyond its own request."""

    ALIVE = "alive"
    """It handles requests."""
    THROTTLED = "throttled"
    """It handles requests, and has refused this one because there are too many."""
    OVERLOADED = "overloaded"
    """It can't handle requests for now."""
    FAILED = "failed"
    """It failed, or can't be reached."""
    CROWDED = "crowded"
    """Nothing of the service: this process has too few connections for so many requests."""
    BLOCKED = "blocked"
    """It refuses every request of this client: wrong key, wrong address."""
    NONE = "none"
    """Nothing."""


class Verdict(NamedTuple):
    """What became of an attempt."""

    outcome: Outcome
    signal: Signal
    sent: bool = False
    """With `RETRY`: whether the service may have counted it."""
    retry_after: float | None = None
    """Seconds that the service asked to wait."""
    status: int | None = None
    code: str = ""
    message: str = ""


DELIVERED = Verdict(Outcome.DELIVERED, Signal.ALIVE)
INTERRUPTED = Verdict(Outcome.RETRY, Signal.NONE, sent=True, message="the attempt was interrupted")
OVERDUE = Verdict(Outcome.RETRY, Signal.FAILED, sent=True, message="the attempt did not end within its time-out")


class _Rule(NamedTuple):
    outcome: Outcome
    signal: Signal
    sent: bool = False


_REFUSED = _Rule(Outcome.REFUSED, Signal.ALIVE)
_FAILED = _Rule(Outcome.RETRY, Signal.FAILED, sent=True)
_BLOCKED = _Rule(Outcome.RETRY, Signal.BLOCKED)

_BY_STATUS: dict[int, _Rule] = {
    # Redirects are not followed. 301, 307 and 308 say that nothing was done; the others may follow a POST that was.
    301: _BLOCKED,
    302: _Rule(Outcome.RETRY, Signal.BLOCKED, sent=True),
    303: _Rule(Outcome.RETRY, Signal.BLOCKED, sent=True),
    307: _BLOCKED,
    308: _BLOCKED,
    401: _BLOCKED,
    403: _BLOCKED,
    407: _BLOCKED,  # a proxy's
    # The service, or a proxy that had passed the request on, waited too long.
    408: _Rule(Outcome.RETRY, Signal.FAILED, sent=True),
    421: _Rule(Outcome.RETRY, Signal.FAILED),  # sent to a server that does not serve this host
    423: _Rule(Outcome.RETRY, Signal.ALIVE),
    425: _Rule(Outcome.RETRY, Signal.ALIVE),  # refused before it was handled, because it could be a replay
    429: _Rule(Outcome.RETRY, Signal.THROTTLED),
    503: _Rule(Outcome.RETRY, Signal.OVERLOADED, sent=True),
}


def verdict_of(error: Exception) -> Verdict:
    """What the exception of an attempt means.

    Args:
        error: what the call has raised.
    """
    if isinstance(error, ApiError):
        return _of_api_error(error)
    if isinstance(error, PoolTimeoutError):
        return Verdict(Outcome.RETRY, Signal.CROWDED, sent=error.sent, message=_text(str(error)))
    if isinstance(error, NetworkError):
        return Verdict(Outcome.RETRY, Signal.FAILED, sent=error.sent, message=_text(str(error)))
    if isinstance(error, InvalidArgumentError):  # stored data that this version does not send
        return Verdict(Outcome.REFUSED, Signal.NONE, code="invalid_argument", message=_text(str(error)))
    if isinstance(error, ConfigError):  # the client can't be used at all: no fault of this request
        return Verdict(Outcome.RETRY, Signal.BLOCKED, message=_text(str(error)))
    if isinstance(error, MontraError):
        return Verdict(Outcome.RETRY, Signal.FAILED, sent=True, message=_text(str(error)))
    # The text of a stranger's exception may hold anything.
    return Verdict(Outcome.RETRY, Signal.FAILED, sent=True, message=f"the call raised {type(error).__name__}")


def _of_api_error(error: ApiError) -> Verdict:
    rule = _rule_of(error)
    return Verdict(
        rule.outcome,
        rule.signal,
        sent=rule.sent,
        retry_after=error.retry_after,
        status=error.status,
        code=bounded(error.code, MAX_CODE_LENGTH),
        message=_text(error.message),
    )


def _rule_of(error: ApiError) -> _Rule:
    if isinstance(error, InvalidResponseError):
        # It was executed, if the service has sent it. A proxy's page with the status 200 looks the same, so that only
        # another attempt under the same key tells: the service repeats its answer then.
        return _FAILED
    if error.status == 409:
        return _of_conflict(error.code)
    rule = _BY_STATUS.get(error.status)
    if rule is not None:
        return rule
    if error.status >= 500:
        return _FAILED
    if 300 <= error.status < 400:
        return _Rule(Outcome.RETRY, Signal.BLOCKED, sent=True)
    return _REFUSED  # 4xx, and a success status whose body says `success: false`


def _of_conflict(code: str) -> _Rule:
    name = code.strip().lower().replace("-", "_").replace(" ", "_")
    if name in DUPLICATE_CODES:
        return _Rule(Outcome.DELIVERED, Signal.ALIVE)
    if name in IN_PROGRESS_CODES:
        return _Rule(Outcome.RETRY, Signal.ALIVE, sent=True)
    return _REFUSED


def settlement_of(request: UsageRequest, verdict: Verdict, delay: float) -> Settlement:
    """What the outbox is told of an attempt.

    Args:
        request: what was sent.
        verdict: what became of it.
        delay: seconds until it may be claimed again, if it is to be.
    """
    if verdict.outcome is Outcome.DELIVERED:
        return Settlement(request, Outcome.DELIVERED)
    if verdict.outcome is Outcome.RETRY:
        return Settlement(request, Outcome.RETRY, sent=verdict.sent, delay=delay)
    return Settlement(request, Outcome.REFUSED, status=verdict.status, code=verdict.code, message=verdict.message)


def describe(verdict: Verdict) -> str:
    """A verdict in one line, for people."""
    if verdict.status is None:
        return verdict.message
    return f"{verdict.status} {verdict.code}: {verdict.message}"


def _text(message: str) -> str:
    return bounded(message, MAX_MESSAGE_LENGTH)
