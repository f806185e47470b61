"""Faults on demand, so that users can see what their code does when the service has a bad day.

    latency             the answer comes `seconds` late
    status              answer `status` (with `retry_after` when given) instead of handling the request
    rate_limit          status 429 with `retry_after`
    drop_before         close the connection without handling the request
    drop_after          handle the request, then close the connection without an answer
    drop_during_answer  handle the request, then close the connection in the middle of the answer
    malformed           handle the request, then answer with a broken body: `html`, `empty`, `truncated` or `text`

A fault strikes the next `times` matching requests, or a `share` (0..1) of them until it is removed.
"""

from __future__ import annotations

import random
from typing import Any, Literal, TypeAlias, get_args

import attrs

from .problems import invalid

Kind: TypeAlias = Literal[
    "latency", "status", "rate_limit", "drop_before", "drop_after", "drop_during_answer", "malformed"
]
Malformed: TypeAlias = Literal["html", "empty", "truncated", "text"]

_LONGEST = 300.0
_MOST_WAITING = 1_000
_MOST_TEXT = 1_000
_MOST_HEADER = 100


@attrs.define(kw_only=True)
class Fault:
    kind: Kind
    times: int | None = None
    share: float | None = None
    method: str | None = None
    path: str | None = None
    seconds: float = 1.0
    status: int = 500
    retry_after: float | str | None = None
    body: Malformed = "html"
    struck: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.method in (None, method) and (self.path is None or path.startswith(self.path))


class Faults:
    """The faults that are waiting. `seed` makes shares repeatable."""

    def __init__(self, seed: int = 0) -> None:
        self._waiting: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def add(self, fault: Fault) -> Fault:
        if len(self._waiting) >= _MOST_WAITING:
            raise invalid(f"{_MOST_WAITING} faults are waiting already; remove them first")
        self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        self._waiting.clear()

    def waiting(self) -> list[dict[str, Any]]:
        return [attrs.asdict(fault) for fault in self._waiting]

    def draw(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any; the first one that matches."""
        for fault in self._waiting:
            if not fault.matches(method, path):
                continue
            if fault.share is not None and self._random.random() >= fault.share:
                continue
            fault.struck += 1
            if fault.times is not None and fault.struck >= fault.times:
                self._waiting.remove(fault)
            return fault
        return None


def parse_fault(fields: dict[str, Any]) -> Fault:
    """A fault from a control request.

    Raises:
        Problem: 400, with what is wrong.
    """
    unknown = sorted(fields.keys() - {field.name for field in attrs.fields(Fault)} | fields.keys() & {"struck"})
    if unknown:
        raise invalid(f"unknown: {', '.join(unknown)}")
    if fields.get("kind") not in get_args(Kind):
        raise invalid(f"kind: one of {', '.join(get_args(Kind))}")
    if fields.get("body", "html") not in get_args(Malformed):
        raise invalid(f"body: one of {', '.join(get_args(Malformed))}")
    _whole(fields, "times", 1, 1_000_000)
    _whole(fields, "status", 200, 599)
    _number(fields, "share", 0, 1)
    _number(fields, "seconds", 0, _LONGEST)
    for name in ("method", "path"):
        given = fields.get(name)
        if given is not None and (not isinstance(given, str) or len(given) > _MOST_TEXT):
            raise invalid(f"{name}: a string of at most {_MOST_TEXT} characters")
    _retry_after(fields)
    fault = Fault(**fields)
    if fault.method is not None:
        fault.method = fault.method.upper()
    if fault.times is None and fault.share is None:
        fault.times = 1
    if fault.kind == "rate_limit":
        fault.status = 429
        fault.retry_after = 1 if fault.retry_after is None else fault.retry_after
    return fault


def _whole(fields: dict[str, Any], name: str, least: int, most: int) -> None:
    value = fields.get(name, least)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"{name}: a whole number from {least} to {most}")


def _retry_after(fields: dict[str, Any]) -> None:
    """Becomes a header: seconds, or a short line of text."""
    value = fields.get("retry_after")
    if isinstance(value, str):
        if not value.isascii() or not value.isprintable() or len(value) > _MOST_HEADER:
            raise invalid("retry_after: seconds, or an HTTP date")
    elif isinstance(value, int):
        _whole(fields, "retry_after", 0, 1_000_000_000)
    elif value is not None:
        _number(fields, "retry_after", 0, 1_000_000_000)


def _number(fields: dict[str, Any], name: str, least: float, most: float) -> None:
    if name not in fields:
        return
    try:
        if isinstance(fields[name], (bool, str)):
            raise TypeError
        fields[name] = float(fields[name])
    except (TypeError, ValueError, OverflowError):
        raise invalid(f"{name}: a number") from None
    if not least <= fields[name] <= most:
        raise invalid(f"{name}: from {least:g} to {most:g}")
