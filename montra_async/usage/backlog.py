"""What waits in an outbox, and the warning when it waits for too long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from ..core.errors import MontraError
from .outbox import OutboxCounts
from .settings import ReporterSettings, UsageStats

T = TypeVar("T")

log: logging.Logger = logging.getLogger("montra")

_WATCH_SECONDS = 5.0
"""How often the age of the oldest event is looked at."""

_WARN_SECONDS = 60.0
"""How often the log warns of the same backlog."""


class Backlog(NamedTuple):
    """What waits."""

    counts: OutboxCounts
    done: int
    """Number of events that the writer has stored or could not store."""
    pending: int
    """Number of events that wait for the writer."""


class BacklogWatch:
    """Warns of events that wait for too long.

    Args:
        settings: of the user.
        look: counts what waits.
        stats: makes statistics of it, for the user's hook.
    """

    def __init__(
        self, settings: ReporterSettings, look: Callable[[], Future[Backlog]], stats: Callable[[Backlog], UsageStats]
    ) -> None:
        self._settings = settings
        self._look = look
        self._stats = stats
        self._last_warning = -_WARN_SECONDS

    async def run(self, also: Callable[[], None]) -> None:
        """Look every few seconds, until it is cancelled.

        Args:
            also: called each time; must not block.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            also()
            try:
                backlog = await asyncio.wrap_future(self._look())
            except MontraError as error:
                if self._may_warn():
                    log.warning("the outbox can't be looked at: %s", error)
                continue
            if backlog.counts.oldest_age > self._settings.max_age and self._may_warn():
                log.warning(
                    "%d events wait to be sent, the oldest for %.0f s; they count when they arrive",
                    backlog.counts.events,
                    backlog.counts.oldest_age,
                )
                call_hook(self._settings.on_backlog, self._stats(backlog))

    def _may_warn(self) -> bool:
        now = time.monotonic()
        if now - self._last_warning < _WARN_SECONDS:
            return False
        self._last_warning = now
        return True


def call_hook(hook: Callable[[T], object] | None, value: T) -> None:
    """Call a function of the user's, whose error is logged.

    Args:
        hook: the function; None without one.
        value: what it is told.
    """
    if hook is None:
        return
    try:
        hook(value)
    except Exception:
        log.exception("a hook of usage reporting has failed")
