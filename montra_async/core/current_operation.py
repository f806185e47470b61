"""The operation that the current task works for, and work that is done for nobody who waits: what telemetry is told.

Without telemetry there is no operation, and work in the background is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

Work: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
"""Begins the work. It is called in the task that runs it, which may be cancelled before."""

Background: TypeAlias = Callable[[Work[Any], "str | None"], Coroutine[Any, Any, Any]]
"""Takes work and the name of the operation that it is, if any. Returns the work as telemetry wants it to run."""


class Operation(Protocol):
    """A call of the user's that is under way."""

    def joined(self, other: Operation | None) -> None:
        """It waits for a request that another operation has begun.

        Args:
            other: the other one; None when it is not known.
        """
        ...


OPERATION: ContextVar[Operation | None] = ContextVar("montra_operation", default=None)

_background: list[Background] = []


def use_in_background(wrap: Background) -> None:
    """Have all work in the background wrapped.

    Args:
        wrap: wraps it.
    """
    _background[:] = [wrap]


def in_background(work: Work[T], name: str | None = None) -> Coroutine[Any, Any, T]:
    """Work for which nobody waits, for a task of its own.

    Args:
        work: begins the work.
        name: name of the operation that it is; None if it makes public calls, which have names.
    """
    return _background[0](work, name) if _background else work()
