"""What of a JSON value does not fit a model, and where: the first few places, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

MOST = 3
"""Places that are looked for. A large answer of the wrong shape has as many misfits as elements."""

FAILURES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What building a model from a JSON value may raise when the value isn't one."""


class Mismatch(ValueError):
    """A value is not what the model needs. `problems` are pairs of a place and what is wrong there."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(f"{problem} @ {place}" for place, problem in self.problems) or "does not fit"


def inside(step: str, error: BaseException) -> list[tuple[str, str]]:
    """The problems of an error that was raised for the value at `step`."""
    if isinstance(error, Mismatch):
        return [(step + place, problem) for place, problem in error.problems]
    if isinstance(error, RecursionError):
        return [(step, "nested too deeply")]
    return [(step, str(error) or type(error).__name__)]


def first_mismatches(values: Iterable[Any], build: Callable[[Any], Any]) -> Mismatch:
    problems: list[tuple[str, str]] = []
    for i, value in enumerate(values):
        try:
            build(value)
        except FAILURES as error:
            problems += inside(f"[{i}]", error)
            if len(problems) >= MOST:
                break
    return Mismatch(problems[:MOST])
