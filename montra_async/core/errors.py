"""The error tree. Everything the SDK raises on purpose is a `MontraError`.

MontraError
  ConfigError              the client was built wrongly: no key, plain http, ...      (also a ValueError)
  InvalidArgumentError     a bad argument, caught before anything was sent            (also a ValueError)
  NetworkError             no usable answer: refused, reset, cut off
    RequestTimeoutError    total, connect or read time-out                            (also a TimeoutError)
      PoolTimeoutError     every connection of the pool stayed busy
  ApiError                 the service answered, and the answer is an error
    InvalidRequestError    400, 422
    AuthenticationError    401
    PermissionDeniedError  403
    NotFoundError          404
    ConflictError          409
    RateLimitError         429, with `retry_after`
    ServerError            5xx
    InvalidResponseError   a success status with a body that is not what the contract says
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs


class MontraError(Exception):
    """Root of every error of this SDK."""


class ConfigError(MontraError, ValueError):
    """The client cannot be built, or used, like this. Nothing was sent."""


class InvalidArgumentError(MontraError, ValueError):
    """An argument can't be right. Nothing was sent. `parameter` names it."""

    def __init__(self, parameter: str, problem: str) -> None:
        super().__init__(parameter, problem)
        self.parameter = parameter
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.parameter}: {self.problem}"


@attrs.frozen(kw_only=True)
class CallInfo:
    """Which call an error belongs to.

    `attempts` counts the requests that were begun. `idempotency_key` is the key of a POST: the same call made
    again with `idempotency_key=error.call.idempotency_key` can't take effect twice.
    """

    method: str
    path: str
    attempts: int = 1
    idempotency_key: str | None = None

    def __str__(self) -> str:
        tries = f", {self.attempts} attempts" if self.attempts != 1 else ""
        return f"{self.method} {self.path}{tries}"


class _CallError(MontraError):
    """What network and API errors share: the call they belong to, also as plain attributes."""

    call: CallInfo

    @property
    def method(self) -> str:
        return self.call.method

    @property
    def path(self) -> str:
        return self.call.path

    @property
    def attempts(self) -> int:
        return self.call.attempts

    @property
    def idempotency_key(self) -> str | None:
        return self.call.idempotency_key


class NetworkError(_CallError):
    """No usable answer came back.

    `sent` is False when the request surely never reached the service (refused, name not found, time-out while
    connecting); True means that it may have been carried out.
    """

    def __init__(self, problem: str, call: CallInfo, *, sent: bool = True) -> None:
        super().__init__(problem, call)
        self.problem = problem
        self.call = call
        self.sent = sent

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        return f"{self.problem} ({self.call})"


class RequestTimeoutError(NetworkError, TimeoutError):
    """A time-out ran out. `phase` says which: `total`, `connect`, `read` or `pool`."""

    def __init__(self, problem: str, call: CallInfo, *, sent: bool = True, phase: str = "total") -> None:
        super().__init__(problem, call, sent=sent)
        self.phase = phase


class PoolTimeoutError(RequestTimeoutError):
    """All connections stayed busy for the whole pool time-out. Raise `pool_size`, or call less at once."""


class ApiError(_CallError):
    """The service answered with an error.

    Attributes:
        status: HTTP status.
        code: the service's error code, `http_<status>` when the body names none.
        message: the service's sentence, or what can be said without one.
        details: whatever the service added, as it came.
        request_id: the answer's `x-request-id`, when present. Quote it to support.
        body: the raw answer as text, at most 64 KiB of it, secrets blotted out.
        call: method, path, attempts and idempotency key of the call (also as attributes of the error).
        retry_after: seconds the service asked us to wait, when it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        call: CallInfo,
        details: Any = None,
        request_id: str | None = None,
        body: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.call = call
        self.details = details
        self.request_id = request_id
        self.body = body
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        where = f"{self.call}, request {self.request_id}" if self.request_id else str(self.call)
        return f"{self.status} {self.code}: {self.message} ({where})"


def rebuild(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Make an error again in another process: keyword-only arguments defeat the default pickling."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidRequestError(ApiError):
    """400 or 422: the service refused the request's content."""


class AuthenticationError(ApiError):
    """401: the key is missing, wrong or revoked."""


class PermissionDeniedError(ApiError):
    """403: the key may not do this."""


class NotFoundError(ApiError):
    """404: no such object, or it belongs to another merchant."""


class ConflictError(ApiError):
    """409: it contradicts what is there (duplicate, exceeded, wrong state, another idempotent request)."""


class RateLimitError(ApiError):
    """429: too many requests. `retry_after` is in seconds when the service said how long."""


class ServerError(ApiError):
    """5xx: the service failed."""


class InvalidResponseError(ApiError):
    """A success status whose body is unreadable or contradicts the contract. The call was carried out."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidRequestError,
    429: RateLimitError,
}


def error_class(status: int) -> type[ApiError]:
    """The class for an error status; statuses nobody foresaw are plain `ApiError`."""
    if status >= 500:
        return ServerError
    return _BY_STATUS.get(status, ApiError)


def without_frames(error: BaseException) -> BaseException:
    """`error` without tracebacks, all the way down.

    The frames below us hold request headers in their local variables: error reporters that record locals would
    send our key away with them.
    """
    for one in chain_of(error):
        one.__traceback__ = None
    return error


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything it came from."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += (one.__cause__, one.__context__)
