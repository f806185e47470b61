"""Injected faults: what they are, which requests they affect, and their validation."""

from __future__ import annotations

import random
import re
from typing import Any, Literal, TypeAlias, get_args

import attrs

from .problems import invalid

FaultKind: TypeAlias = Literal[
    "latency", "status", "rate_limit", "drop_before", "drop_after", "drop_during_answer", "malformed"
]
"""
- `latency`: the response is `seconds` late.
- `status`: `status` is sent and the request is not handled.
- `rate_limit`: like `status` with 429.
- `drop_before`: the connection is closed and the request is not handled.
- `drop_after`: the request is handled, then the connection is closed without a response.
- `drop_during_answer`: the request is handled, then the connection is closed in the middle of the response's body.
- `malformed`: the request is handled, and the response's body is broken.
"""
MalformedBody: TypeAlias = Literal["html", "empty", "truncated", "text"]
"""The body of a `malformed` fault: an HTML page, no bytes, the first half of the JSON, or plain text."""

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_API_PREFIX = re.compile(r"/api(/v1)?(?=/|$)|/v1(?=/|$)")
"""What the paths of requests begin with, as `sandbox.requests` and the documentation of the services show them."""
_MAX_SECONDS = 300.0
_MAX_FAULTS = 1_000
_MAX_TEXT = 1_000
_MAX_HEADER = 100
_MAX_TIMES = 1_000_000
_MAX_RETRY_AFTER = 1_000_000_000


@attrs.define(kw_only=True)
class Fault:
    """A fault and which requests it affects. `Controls.add_fault` documents the fields.

    Attributes:
        kind: what happens.
        times: how many requests it affects; None for no limit.
        share: the fraction of matching requests that it affects, 0 to 1; None for all.
        method: only requests with this HTTP method.
        path: only requests whose path below `/api/v1` starts with this; it begins with `/`.
        seconds: the delay of `latency`.
        status: the status of `status` and `rate_limit`.
        retry_after: the `Retry-After` header of `status` and `rate_limit`.
        body: the body of `malformed`.
        hits: how many requests it affected so far.
    """

    kind: FaultKind
    times: int | None = None
    share: float | None = None
    method: str | None = None
    path: str | None = None
    seconds: float = 1.0
    status: int = 500
    retry_after: float | str | None = None
    body: MalformedBody = "html"
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        """Whether the fault's filters match a request.

        Args:
            method: the HTTP method.
            path: the path below `/api/v1`.
        """
        return self.method in (None, method) and (self.path is None or path.startswith(self.path))


class Faults:
    """The active faults.

    Args:
        seed: the seed of the random generator that decides about `share`.
    """

    def __init__(self, seed: int = 0) -> None:
        self._active: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 - not security relevant

    def add(self, fault: Fault) -> Fault:
        """Activate a fault.

        Args:
            fault: the fault, already validated.

        Raises:
            Problem: 400, too many faults are active.
        """
        if len(self._active) >= _MAX_FAULTS:
            raise invalid(f"{_MAX_FAULTS} faults are active already; remove them first")
        self._active.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self._active.clear()

    def active(self) -> list[dict[str, Any]]:
        """The active faults as JSON objects, in the order in which they were added."""
        return [attrs.asdict(fault) for fault in self._active]

    def state(self) -> list[Fault]:
        """Copies of the active faults, for `restore`."""
        return [attrs.evolve(fault) for fault in self._active]

    def restore(self, state: list[Fault]) -> None:
        """Make the faults of a `state` the active ones.

        Args:
            state: what `state` returned.
        """
        self._active = [attrs.evolve(fault) for fault in state]

    def next_fault(self, method: str, path: str) -> Fault | None:
        """Count and return the first active fault that affects a request; None when there is none.

        A fault that has reached its `times` is removed.

        Args:
            method: the HTTP method.
            path: the path below `/api/v1`.
        """
        for fault in self._active:
            if not fault.matches(method, path):
                continue
            if fault.share is not None and self._random.random() >= fault.share:
                continue
            fault.hits += 1
            if fault.times is not None and fault.hits >= fault.times:
                self._active.remove(fault)
            return fault
        return None


def make_fault(
    *,
    kind: Any,
    times: Any = None,
    share: Any = None,
    method: Any = None,
    path: Any = None,
    seconds: Any = 1.0,
    status: Any = 500,
    retry_after: Any = None,
    body: Any = "html",
) -> Fault:
    """Validate the fields of a fault and fill in what depends on others.

    Args:
        kind: as in `Fault`.
        times: as in `Fault`; 1 when `share` is not given either.
        share: as in `Fault`.
        method: as in `Fault`; in any case.
        path: as in `Fault`; it begins with `/`, and may have `/api/v1` in front.
        seconds: as in `Fault`.
        status: as in `Fault`; `rate_limit` ignores it.
        retry_after: as in `Fault`; `rate_limit` uses 1 when it is not given.
        body: as in `Fault`.

    Raises:
        Problem: 400, with what is wrong.
    """
    if kind not in get_args(FaultKind):
        raise invalid(f"kind: one of {', '.join(get_args(FaultKind))}")
    if body not in get_args(MalformedBody):
        raise invalid(f"body: one of {', '.join(get_args(MalformedBody))}")
    method, path = _method(method), _path(path)
    if times is None and share is None:
        times = 1
    if kind == "rate_limit":
        status, retry_after = 429, 1 if retry_after is None else retry_after
    return Fault(
        kind=kind,
        times=None if times is None else _whole_number("times", times, 1, _MAX_TIMES),
        share=None if share is None else _number("share", share, 0, 1),
        method=method,
        path=path,
        seconds=_number("seconds", seconds, 0, _MAX_SECONDS),
        status=_whole_number("status", status, 200, 599),
        retry_after=_retry_after(retry_after),
        body=body,
    )


def _text(name: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > _MAX_TEXT):
        raise invalid(f"{name}: a string of at most {_MAX_TEXT} characters")
    return value


def _method(value: Any) -> str | None:
    method = _text("method", value)
    if method is None:
        return None
    if method.upper() not in _METHODS:
        raise invalid(f"method: one of {', '.join(_METHODS)}")
    return method.upper()


def _path(value: Any) -> str | None:
    """The beginning of a path below the prefix of the APIs."""
    path = _text("path", value)
    if path is None:
        return None
    if not path.startswith("/") or "?" in path or "#" in path:
        raise invalid("path: the beginning of a path, such as /customers, without a host and a query")
    prefix = _API_PREFIX.match(path)
    return path if prefix is None else path[prefix.end() :] or "/"


def _whole_number(name: str, value: Any, minimum: int, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise invalid(f"{name}: a whole number from {minimum} to {maximum}")
    return value


def _number(name: str, value: Any, minimum: float, maximum: float) -> float:
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise invalid(f"{name}: a number") from None
    if not minimum <= number <= maximum:
        raise invalid(f"{name}: from {minimum:g} to {maximum:g}")
    return number


def _retry_after(value: Any) -> float | str | None:
    """The value of a header: seconds, or a short line of text."""
    if value is None:
        return None
    if isinstance(value, str):
        if not value.isascii() or not value.isprintable() or len(value) > _MAX_HEADER:
            raise invalid("retry_after: seconds, or an HTTP date")
        return value
    if isinstance(value, int):
        return _whole_number("retry_after", value, 0, _MAX_RETRY_AFTER)
    return _number("retry_after", value, 0, _MAX_RETRY_AFTER)
