"""Errors of the paywall service. All are `PaywallError`; `code` tells them apart."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ..core.errors import (
    CallInfo,
    ConfigError,
    InvalidArgumentError,
    MontraError,
    NetworkError,
    RequestTimeoutError,
    rebuild,
    without_frames,
)
from .models import Balance


class PaywallError(MontraError):
    """A call of the paywall service failed.

    Attributes:
        code: what went wrong, one of the service's codes or of ours:

            - before anything was sent: `invalid_config`, `invalid_argument`, `identity_required`, `apikey_required`,
              `apikey_in_browser`, `not_authenticated`, `oauth_invalid_state`;
            - no usable answer: `network_error`, `timeout`, `invalid_response`;
            - the storage of a session failed: `storage_failed`;
            - the service said no: `identity_not_found`, `identity_not_on_paywall`, `insufficient`, `already_purchased`,
              `forbidden`, `not_enough_queries`, any other code of its own, or `http_<status>`.
        message: in words.
        status: HTTP status, None when there was no answer.
        body: the answer, parsed when it is JSON, else its text; secrets blotted out.
        call: method, path and attempts; None before anything was sent.
        sent: may the call have been carried out? False when it surely never reached the service.
        request_id: the answer's `x-request-id`, when present.
        retry_after: seconds the service asked us to wait, when it did.
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
        super().__init__(code, message)
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


class QuotaExceededError(PaywallError):
    """The gateway has no credit left for this user (402).

    Attributes:
        balances: what the user has, by type; empty when the service did not say.
        query_type: the type that the call would have taken.
        current_balance: what is left of it.
    """

    balances: list[Balance]
    query_type: str | None
    current_balance: int | None

    def __init__(self, code: str, message: str, **facts: Any) -> None:
        super().__init__(code, message, **facts)
        self.balances = []
        self.query_type = None
        self.current_balance = None


@contextmanager
def translate_errors() -> Generator[None]:
    """Around the checks of arguments and settings: what the core refuses becomes a PaywallError."""
    try:
        yield
    except InvalidArgumentError as error:
        without_frames(error)  # those of the checks hold what they refused, which may be a password
        raise PaywallError("invalid_argument", str(error)) from None
    except ConfigError as error:
        without_frames(error)
        raise PaywallError("invalid_config", str(error)) from None


def of_network(error: NetworkError) -> PaywallError:
    """The same failure in this service's words."""
    code = "timeout" if isinstance(error, RequestTimeoutError) else "network_error"
    return PaywallError(code, error.problem, call=error.call, sent=error.sent)
