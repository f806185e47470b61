"""Options of calls: time-outs, attempts, headers, hooks. Knows no aiohttp."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

import attrs

from .errors import InvalidArgumentError
from .redaction import ShownWhenHalfBuilt
from .type_guards import is_mapping

Seconds: TypeAlias = float

ERROR_TIMEOUT: Seconds = 30.0

MAX_RESPONSE_SIZE = 64 * 1024 * 1024
"""Default limit of a response's body, in bytes after decompression. Lists come in one response."""


def _positive(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise InvalidArgumentError(attribute.name, f"seconds (more than 0, less than 10**9) or None, not {value!r}")


def at_least_one(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validate a field that holds a count."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgumentError(attribute.name, f"a whole number of at least 1, not {value!r}")


@attrs.frozen(kw_only=True, repr=False)
class Timeout(ShownWhenHalfBuilt):
    """Time-outs in seconds; None means no limit.

    Attributes:
        total: the whole call with all its attempts and pauses. Default 60.
        connect: name look-up, TCP and TLS of one attempt. Default 5.
        read: between two pieces of a response, and before its first; up to a tenth, at most 1 s, longer. Default 30.
        pool: waiting for a free connection when `pool_size` calls are in flight. Default 30.
    """

    total: Seconds | None = attrs.field(default=60.0, validator=_positive)
    connect: Seconds | None = attrs.field(default=5.0, validator=_positive)
    read: Seconds | None = attrs.field(default=30.0, validator=_positive)
    pool: Seconds | None = attrs.field(default=30.0, validator=_positive)


def as_timeout(value: float | Timeout) -> Timeout:
    """A `Timeout` from what a caller gave.

    Args:
        value: the total time-out in seconds, or all time-outs.

    Raises:
        InvalidArgumentError: not a time-out.
    """
    if isinstance(value, Timeout):
        return value
    try:
        return Timeout(total=value)
    except InvalidArgumentError as error:
        raise InvalidArgumentError("timeout", error.problem.replace(" or None", ", or a Timeout")) from None


@attrs.frozen(kw_only=True)
class CallEvent:
    """What a hook is given: one attempt of one call.

    Attributes:
        method: HTTP method.
        path: path of the call, with ids but without a query or a key.
        attempt: 1 for the first attempt.
        elapsed: seconds since this attempt started; 0.0 in `on_request`.
        status: HTTP status; None before a response and without one.
        request_id: `x-request-id` of the response; None without one.
        error: why there is no response; None with one.
        pause: seconds until the next attempt, in `on_retry` only.
    """

    method: str
    path: str
    attempt: int
    elapsed: Seconds = 0.0
    status: int | None = None
    request_id: str | None = None
    error: Exception | None = None
    pause: Seconds | None = None


Hook: TypeAlias = Callable[[CallEvent], object]


def _plain_function(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (not callable(value) or iscoroutinefunction(value)):
        raise InvalidArgumentError(attribute.name, "a plain function that takes a CallEvent; it is not awaited")


@attrs.frozen(kw_only=True, repr=False)
class Hooks(ShownWhenHalfBuilt):
    """Functions that are called on the event loop, which they block. An exception of a hook is logged and ignored.

    Attributes:
        on_request: before each attempt.
        on_response: after each attempt, with a response or an error.
        on_retry: before the pause that precedes another attempt.
    """

    on_request: Hook | None = attrs.field(default=None, validator=_plain_function)
    on_response: Hook | None = attrs.field(default=None, validator=_plain_function)
    on_retry: Hook | None = attrs.field(default=None, validator=_plain_function)


def not_text(**settings: object) -> str | None:
    """What is wrong with the first setting that is neither a string nor None; None when all are fine.

    The message does not contain the value, which may be a secret.
    """
    wrong = [
        f"{name}: a string, not {type(one).__name__}"
        for name, one in settings.items()
        if one is not None and not isinstance(one, str)
    ]
    return wrong[0] if wrong else None


_RESERVED = frozenset(
    {"authorization", "idempotency-key", "content-type", "content-length", "transfer-encoding", "host"}
)


_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""Name of a header, by RFC 9110."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def is_header_value(value: str) -> bool:
    """Whether `value` fits into one header: no line break, other control character or lone surrogate."""
    return _CONTROL.search(value) is None


def header_text(parameter: str, value: str | None) -> str | None:
    """`value`, checked for use in a header.

    Raises:
        InvalidArgumentError: it contains a control character.
    """
    if value is not None and not is_header_value(value):
        raise InvalidArgumentError(parameter, "line breaks and other control characters can't be sent in a header")
    return value


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """A copy of the headers that a caller gave.

    Raises:
        InvalidArgumentError: one is malformed, or is set by the client itself.
    """
    if not is_mapping(headers):
        raise InvalidArgumentError("headers", f"a mapping of names to values, not {type(headers).__name__}")
    for name, value in headers.items():
        if not all(isinstance(part, str) for part in (name, value)):
            raise InvalidArgumentError("headers", "names and values are strings")
        if name.lower() in _RESERVED:
            raise InvalidArgumentError("headers", f"{name} is set by the client")
        if not _TOKEN.fullmatch(name):
            raise InvalidArgumentError("headers", f"{name!r} can't be the name of a header")
        if not is_header_value(value):
            problem = "has line breaks or other control characters, which can't be sent in a header"
            raise InvalidArgumentError("headers", f"the value of {name} {problem}")
    return dict(headers)


@attrs.frozen(kw_only=True, repr=False)
class CallOptions(ShownWhenHalfBuilt):
    """What `with_options` changes.

    Attributes:
        timeout: time-outs of the call.
        max_attempts: attempts in all, at least 1. Default 3.
        headers: sent with each request. Default none.
        max_response_size: bytes of a response's body after decompression.
        error_timeout: seconds for the body of an error that answers a call without a total time-out.
    """

    timeout: Timeout = attrs.field(factory=Timeout)
    max_attempts: int = attrs.field(default=3, validator=at_least_one)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=check_headers, repr=False)
    max_response_size: int = attrs.field(default=MAX_RESPONSE_SIZE, validator=at_least_one)
    error_timeout: Seconds = ERROR_TIMEOUT

    def replace(
        self,
        timeout: float | Timeout | None,
        max_attempts: int | None,
        headers: Mapping[str, str] | None,
        max_response_size: int | None = None,
    ) -> CallOptions:
        """These options with some of them changed.

        Args:
            timeout: total time-out in seconds, or all time-outs; None leaves them.
            max_attempts: attempts in all; None leaves it.
            headers: added to the present ones; None leaves them.
            max_response_size: bytes; None leaves it.
        """
        return CallOptions(
            timeout=self.timeout if timeout is None else as_timeout(timeout),
            max_attempts=self.max_attempts if max_attempts is None else max_attempts,
            headers=self.headers if headers is None else {**self.headers, **check_headers(headers)},
            max_response_size=self.max_response_size if max_response_size is None else max_response_size,
        )
