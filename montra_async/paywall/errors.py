"""The errors of the paywall service. Each is a `PaywallError` with a `code`, and one of the core's classes.

`except MontraError` catches the errors of both services, `except RequestTimeoutError` the time-outs of both, and so on.

PaywallError
  PaywallConfigError                 ConfigError, ValueError
  PaywallInvalidArgumentError        InvalidArgumentError, ValueError
  PaywallNetworkError                NetworkError
    PaywallTimeoutError              RequestTimeoutError, TimeoutError
      PaywallPoolTimeoutError        PoolTimeoutError
  PaywallApiError                    ApiError
    PaywallInvalidRequestError       InvalidRequestError        400, 422
    PaywallAuthenticationError       AuthenticationError        401
    QuotaExceededError                                          402
    PaywallPermissionDeniedError     PermissionDeniedError      403
    PaywallNotFoundError             NotFoundError              404
    PaywallConflictError             ConflictError              409
    PaywallRateLimitError            RateLimitError             429
    PaywallServerError               ServerError                5xx
    PaywallInvalidResponseError      InvalidResponseError       a success status with an unreadable body
"""

# pyright: reportIncompatibleVariableOverride=false
# The core's classes narrow attributes that a PaywallError may lack: an API error always has a call and a status.
from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ..core.errors import (
    ApiError,
    AuthenticationError,
    CallInfo,
    ConfigError,
    ConflictError,
    InvalidArgumentError,
    InvalidRequestError,
    InvalidResponseError,
    MontraError,
    NetworkError,
    NotFoundError,
    PermissionDeniedError,
    PoolTimeoutError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    rebuild,
    without_frames,
)
from ..core.type_guards import is_object
from .models import Balance


class PaywallError(MontraError):
    """A call of the paywall service failed.

    Args:
        code: what went wrong, one of the service's codes or of ours:

            - before anything was sent: `invalid_config`, `invalid_argument`, `identity_required`, `apikey_required`,
              `apikey_in_browser`, `not_authenticated`, `oauth_invalid_state`;
            - no usable response: `network_error`, `timeout`, `invalid_response`;
            - the storage of a session failed: `storage_failed`;
            - the service refused: `identity_not_found`, `identity_not_on_paywall`, `insufficient`,
              `already_purchased`, `forbidden`, `not_enough_queries`, any other code of its own, or `http_<status>`.
        message: a description for people.
        status: HTTP status; None when there was no response.
        body: the response body without secrets, parsed when it is JSON, else text.
        call: method, path, attempts and idempotency key of the call; None before anything was sent.
        sent: whether the service may have executed the call. False when the request certainly did not reach it.
        request_id: the response's `x-request-id`, when present.
        retry_after: seconds that the service asked to wait, when it did.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        body: Any = None,
        call: CallInfo | None = None,
        sent: bool = False,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        Exception.__init__(self, code, message)
        self.code = code
        self.message = message
        self.status = status
        self.body = body
        self.call = call
        self.sent = sent
        self.request_id = request_id
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        status = "" if self.status is None else f"{self.status} "
        where = "" if self.call is None else f" ({self.call})"
        return f"{status}{self.code}: {self.message}{where}"


class PaywallConfigError(PaywallError, ConfigError):
    """The client can't be created, or used, like this. Nothing was sent."""


class PaywallInvalidArgumentError(PaywallError, InvalidArgumentError):
    """An argument is invalid. Nothing was sent.

    Attributes:
        parameter: name of the parameter; empty when no single parameter is wrong.
    """

    parameter: str = ""

    @property
    def problem(self) -> str:  # type: ignore[override]
        """What is wrong with the value."""
        return self.message.removeprefix(f"{self.parameter}: ")


class PaywallNetworkError(PaywallError, NetworkError):
    """No usable response arrived. `sent` says whether the service may have executed the call."""

    @property
    def problem(self) -> str:  # type: ignore[override]
        """What happened."""
        return self.message


class PaywallTimeoutError(PaywallNetworkError, RequestTimeoutError):
    """A time-out expired.

    Attributes:
        phase: the time-out: `total`, `connect`, `read` or `pool`.
    """

    phase: str = "total"


class PaywallPoolTimeoutError(PaywallTimeoutError, PoolTimeoutError):
    """All connections stayed busy for the whole pool time-out. Increase `pool_size`, or make fewer calls at once."""


class PaywallApiError(PaywallError, ApiError):
    """The service responded with an error.

    Attributes:
        status: HTTP status.
        call: the call that failed.
    """

    call: CallInfo
    status: int

    @property
    def details(self) -> Any:
        """`details` of the response body, when it is a JSON object that has them."""
        return self.body.get("details") if is_object(self.body) else None


class PaywallInvalidRequestError(PaywallApiError, InvalidRequestError):
    """400 or 422: the service refused the content of the request."""


class PaywallAuthenticationError(PaywallApiError, AuthenticationError):
    """401: the key or the session is missing, wrong or expired."""


class PaywallPermissionDeniedError(PaywallApiError, PermissionDeniedError):
    """403: the key or the session does not permit this."""


class PaywallNotFoundError(PaywallApiError, NotFoundError):
    """404: no such object."""


class PaywallConflictError(PaywallApiError, ConflictError):
    """409: a conflict with the current state, for example `already_purchased`."""


class PaywallRateLimitError(PaywallApiError, RateLimitError):
    """429: too many requests. `retry_after` is in seconds when the service said how long."""


class PaywallServerError(PaywallApiError, ServerError):
    """5xx: the service failed."""


class PaywallInvalidResponseError(PaywallApiError, InvalidResponseError):
    """A success status with a body that can't be read or violates the contract. The call was executed."""


class QuotaExceededError(PaywallApiError):
    """402: the gateway has no credit left for this user.

    Args:
        code: the service's code, `not_enough_queries` when it gave none.
        message: a description for people.
        status: HTTP status.
        body: the response body without secrets.
        call: the call that failed.
        sent: whether the request reached the service.
        request_id: the response's `x-request-id`, when present.
        retry_after: seconds that the service asked to wait, when it did.
        balances: the user's balances by type; empty when the service did not say.
        query_type: the type of credit that the call would have taken, when the service said it.
        current_balance: what is left of that type, when the service said it.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        body: Any = None,
        call: CallInfo | None = None,
        sent: bool = False,
        request_id: str | None = None,
        retry_after: float | None = None,
        balances: list[Balance] | None = None,
        query_type: str | None = None,
        current_balance: int | None = None,
    ) -> None:
        super().__init__(
            code,
            message,
            status=status,
            body=body,
            call=call,
            sent=sent,
            request_id=request_id,
            retry_after=retry_after,
        )
        self.balances: list[Balance] = balances or []
        self.query_type: str | None = query_type
        self.current_balance: int | None = current_balance


_BY_STATUS: dict[int, type[PaywallApiError]] = {
    400: PaywallInvalidRequestError,
    401: PaywallAuthenticationError,
    403: PaywallPermissionDeniedError,
    404: PaywallNotFoundError,
    409: PaywallConflictError,
    422: PaywallInvalidRequestError,
    429: PaywallRateLimitError,
}


def error_class(status: int) -> type[PaywallApiError]:
    """The class of an error status. An unknown status is a plain `PaywallApiError`."""
    if status >= 500:
        return PaywallServerError
    return _BY_STATUS.get(status, PaywallApiError)


def translate(error: MontraError) -> MontraError:
    """The core's error as a `PaywallError`; an error that is one already is returned as it is."""
    if isinstance(error, PaywallError):
        return error
    if isinstance(error, NetworkError):
        return _network_error(error)
    if isinstance(error, InvalidArgumentError):
        refused = PaywallInvalidArgumentError("invalid_argument", str(error))
        refused.parameter = error.parameter
        return refused
    if isinstance(error, ConfigError):
        return PaywallConfigError("invalid_config", str(error))
    return error


def _network_error(error: NetworkError) -> PaywallNetworkError:
    if not isinstance(error, RequestTimeoutError):
        return PaywallNetworkError("network_error", error.problem, call=error.call, sent=error.sent)
    kind = PaywallPoolTimeoutError if isinstance(error, PoolTimeoutError) else PaywallTimeoutError
    expired = kind("timeout", error.problem, call=error.call, sent=error.sent)
    expired.phase = error.phase
    return expired


@contextmanager
def translate_errors() -> Generator[None]:
    """Raise a `PaywallError` for what the core's validation of arguments and settings refuses."""
    try:
        yield
    except (InvalidArgumentError, ConfigError) as error:
        if isinstance(error, PaywallError):
            raise
        without_frames(error)  # their local variables hold the refused value, which may be a password
        raise translate(error) from None
