"""Errors of reporting usage."""

from __future__ import annotations

import copy
from typing import TypeVar

from ..core.errors import MontraError

E = TypeVar("E", bound=MontraError)


class UsageError(MontraError):
    """Base class of the errors of `montra_async.usage`."""


class OutboxError(UsageError):
    """The outbox can't be used: locked, read-only, damaged, deleted, unreachable, or no space left.

    What was to be recorded is not recorded. The message says what happened, and where.
    """


class OutboxFullError(OutboxError):
    """The outbox has reached its maximum size. What was to be recorded is not recorded."""


class ReporterClosedError(UsageError):
    """The reporter is closed, so nothing more can be recorded with it."""


class OutboxUncertainError(OutboxError):
    """The outbox can't be reached, and it is not known whether it has done what it was asked to.

    To record an event again safely, use the `idempotency_key` that it had.

    Attributes:
        group: identifies what was to be recorded: see `RedisOutbox.was_recorded`. Empty for other calls.
    """

    group: str = ""

    @property
    def may_have_executed(self) -> bool:
        """True: the event may be recorded."""
        return True


def copy_of(error: E) -> E:
    """A copy of an error: one error of the outbox is raised to everybody who waits, and raising changes it."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied
