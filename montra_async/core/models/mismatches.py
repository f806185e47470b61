"""Mismatches between a JSON value and a model: what does not fit, and its path. Only the first few are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

MOST = 3
"""Mismatches that are collected. A large response of the wrong shape has as many mismatches as elements."""

FAILURES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""Exceptions that building a model from a JSON value that does not fit may raise."""


class Mismatch(ValueError):
    """A value does not fit the model.

    Args:
        problems: pairs of a path and the problem there.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(f"{problem} @ {path}" for path, problem in self.problems) or "does not fit"


def inside(step: str, error: BaseException) -> list[tuple[str, str]]:
    """The problems of an error that building the value at `step` raised.

    Args:
        step: the last step of the path: `.name` or `[0]`.
        error: the error.
    """
    if isinstance(error, Mismatch):
        return [(step + path, problem) for path, problem in error.problems]
    if isinstance(error, RecursionError):
        return [(step, "nested too deeply")]
    return [(step, str(error) or type(error).__name__)]


def first_mismatches(values: Iterable[Any], build: Callable[[Any], Any]) -> Mismatch:
    """The first mismatches of the elements of a list.

    Args:
        values: the elements.
        build: builds one of them.
    """
    problems: list[tuple[str, str]] = []
    for i, value in enumerate(values):
        try:
            build(value)
        except FAILURES as error:
            problems += inside(f"[{i}]", error)
            if len(problems) >= MOST:
                break
    return Mismatch(problems[:MOST])
