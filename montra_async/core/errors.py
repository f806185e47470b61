"""The errors of both services. Everything the SDK raises on purpose is a `MontraError`.

MontraError
  ConfigError              the client can't be created or used like this: no key, plain http, ...  (also a ValueError)
  InvalidArgumentError     an invalid argument, refused before anything was sent                  (also a ValueError)
  CallInterruptedError     the process or its event loop ended a call: fork, end of the interpreter, other code
  NetworkError             no usable response: refused, reset, cut off
    RequestTimeoutError    total, connect or read time-out                                        (also a TimeoutError)
      PoolTimeoutError     every connection of the pool stayed busy
  ApiError                 the service responded with an error
    InvalidRequestError    400, 422
    AuthenticationError    401
    PermissionDeniedError  403
    NotFoundError          404
    ConflictError          409
    RateLimitError         429, with `retry_after`
    ServerError            5xx
    InvalidResponseError   a success status with a body that violates the contract

The paywall service's errors (`montra_async.paywall.errors`) are these, and a `PaywallError` each.
"""

# pyright: reportIncompatibleVariableOverride=false
# Subclasses narrow `call`: an error without one has none of their facts.
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from .headers import NO_HEADERS, ResponseHeaders

_LONGEST_PATH = 300
"""Characters of a path in a message: an id may be anything."""


@attrs.frozen(kw_only=True)
class CallInfo:
    """The call that an error belongs to.

    Attributes:
        method: HTTP method.
        path: path of the endpoint, without query.
        attempts: number of requests that were begun.
        idempotency_key: key of a POST. The same call repeated with `idempotency_key=error.idempotency_key` can't take
            effect twice. None: the call sent none, and repeating it may.
        uncertain: whether a request before the last one may have been executed: its response was lost or was a 5xx, or
            the call consists of several requests.
    """

    method: str
    path: str
    attempts: int = 1
    idempotency_key: str | None = None
    uncertain: bool = False

    def __str__(self) -> str:
        attempts = f", {self.attempts} attempts" if self.attempts != 1 else ""
        if self.uncertain and self.method != "GET":
            attempts += ", an earlier request may have been executed"
        path = self.path if len(self.path) <= _LONGEST_PATH else f"{self.path[:_LONGEST_PATH]}..."
        return f"{self.method} {path}{attempts}"


class MontraError(Exception):
    """Base class of every error of this SDK, for both services.

    Attributes:
        call: the call that failed. None when there was none, for example for an invalid setting.
        request_id: the response's `x-request-id`. None when there was no response, or no such header.
        retry_after: seconds that the service asked to wait. None when it did not ask.
    """

    call: CallInfo | None = None
    request_id: str | None = None
    retry_after: float | None = None

    @property
    def idempotency_key(self) -> str | None:
        """The idempotency key of the call; None when it had none."""
        return None if self.call is None else self.call.idempotency_key

    @property
    def attempts(self) -> int:
        """The number of requests that were begun; 0 when none was."""
        return 0 if self.call is None else self.call.attempts

    @property
    def may_have_executed(self) -> bool:
        """Whether the service may have executed the call, with this request or with an earlier attempt.

        If it is False, nothing was done. If it is True, repeat the call with the same arguments and with
        `idempotency_key=error.idempotency_key`, or find out: never repeat what moves money under another key.
        """
        return self.call is not None and self.call.uncertain

    @property
    def method(self) -> str | None:
        """The HTTP method of the call."""
        return None if self.call is None else self.call.method

    @property
    def path(self) -> str | None:
        """The path of the endpoint that was called, without query."""
        return None if self.call is None else self.call.path


class ConfigError(MontraError, ValueError):
    """The client can't be created, or used, like this. Nothing was sent."""


class InvalidArgumentError(MontraError, ValueError):
    """An argument is invalid. Nothing was sent.

    Args:
        parameter: name of the parameter.
        problem: what is wrong with its value.
    """

    def __init__(self, parameter: str, problem: str) -> None:
        super().__init__(parameter, problem)
        self.parameter = parameter
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.parameter}: {self.problem}"


class CallInterruptedError(MontraError):
    """A call was interrupted here: by a fork, the end of the interpreter, or other code that cancelled it."""

    @property
    def may_have_executed(self) -> bool:
        """True: nothing is known of the call."""
        return True


class NetworkError(MontraError):
    """No usable response arrived.

    Args:
        problem: what happened.
        call: the call that failed.
        sent: whether the service may have executed the call. Default: True. False when the request certainly did not
            reach it (connection refused, name not found, time-out while connecting).
    """

    call: CallInfo

    def __init__(self, problem: str, call: CallInfo, *, sent: bool = True) -> None:
        Exception.__init__(self, problem, call)
        self.problem = problem
        self.call = call
        self.sent = sent

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)

    @property
    def may_have_executed(self) -> bool:
        """Whether the service may have executed the call: `sent`, or an earlier request of it."""
        return self.sent or super().may_have_executed

    def __str__(self) -> str:
        return f"{self.problem} ({self.call})"


class RequestTimeoutError(NetworkError, TimeoutError):
    """A time-out expired.

    Args:
        problem: what happened.
        call: the call that failed.
        sent: whether the service may have executed the call. Default: True.
        phase: the time-out: `total`, `connect`, `read` or `pool`. Default: `total`.
    """

    def __init__(self, problem: str, call: CallInfo, *, sent: bool = True, phase: str = "total") -> None:
        super().__init__(problem, call, sent=sent)
        self.phase = phase


class PoolTimeoutError(RequestTimeoutError):
    """All connections stayed busy for the whole pool time-out. Increase `pool_size`, or make fewer calls at once."""


class ApiError(MontraError):
    """The service responded with an error.

    Args:
        message: the service's message, or a description of the response without one.
        status: HTTP status.
        code: the service's error code; `http_<status>` when the body has none.
        call: the call that failed; its parts are also attributes of the error.
        details: what the service added to the error, parsed JSON. Default: None.
        request_id: the response's `x-request-id`. Quote it to the service's support. Default: None.
        body: the response body, at most 64 KiB of it, without secrets: text; the paywall service's errors have parsed
            JSON here. Default: empty.
        retry_after: seconds that the service asked to wait. Default: None.

    Attributes:
        headers: headers of the response, in any case and without secrets.
    """

    call: CallInfo
    body: Any
    headers: ResponseHeaders = NO_HEADERS

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

    @property
    def may_have_executed(self) -> bool:
        """Whether the service may have executed the call. A 4xx refuses the last request, not earlier ones."""
        status: Any = self.status  # None in an error made by hand
        return status is None or not 400 <= status < 500 or super().may_have_executed

    def __str__(self) -> str:
        where = f"{self.call}, request {self.request_id}" if self.request_id else str(self.call)
        return f"{self.status} {self.code}: {self.message} ({where})"


def rebuild(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Build an unpickled error: the default pickling does not support keyword-only arguments."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidRequestError(ApiError):
    """400 or 422: the service refused the content of the request."""


class AuthenticationError(ApiError):
    """401: the key is missing, wrong or revoked."""


class PermissionDeniedError(ApiError):
    """403: the key does not permit this."""


class NotFoundError(ApiError):
    """404: no such object, or it belongs to another merchant."""


class ConflictError(ApiError):
    """409: a conflict with the current state (duplicate, limit exceeded, wrong state, key of another request)."""


class RateLimitError(ApiError):
    """429: too many requests. `retry_after` is in seconds when the service said how long."""


class ServerError(ApiError):
    """5xx: the service failed."""


class InvalidResponseError(ApiError):
    """A success status with a body that can't be read or violates the contract. The call was executed."""


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
    """The class of an error status. An unknown status is a plain `ApiError`."""
    if status >= 500:
        return ServerError
    return _BY_STATUS.get(status, ApiError)


def mark_uncertain(error: MontraError) -> None:
    """Note that an earlier request of the same call may have been executed."""
    if error.call is not None:
        error.call = attrs.evolve(error.call, uncertain=True)


def without_frames(error: BaseException) -> BaseException:
    """Remove the tracebacks of `error` and of its causes.

    Their frames hold request headers in local variables, and error reporters record local variables.
    """
    for one in chain_of(error):
        one.__traceback__ = None
    return error


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield `error`, its causes and its contexts."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += (one.__cause__, one.__context__)
