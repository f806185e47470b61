"""The log of what may happen thousands of times a minute."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

log: logging.Logger = logging.getLogger("montra")


class OccasionalLog:
    """Writes each kind of message to the logger `montra` once in a while, and counts the others.

    Args:
        clock: seconds, which never go back.
        interval: seconds between two messages of one kind. Default: 60.
    """

    def __init__(self, clock: Callable[[], float], interval: float = 60.0) -> None:
        self._clock = clock
        self._interval = interval
        self._kinds: dict[str, tuple[float, int]] = {}

    def write(self, level: int, kind: str, message: str, *args: object, exc_info: Any = None) -> None:
        """Write a message, unless one of its kind was written a moment ago.

        Args:
            level: level of the standard library's `logging`.
            kind: name of the kind, one of a few.
            message: format of the message.
            args: values for the format.
            exc_info: the exception whose traceback is added. Default: none.
        """
        now = self._clock()
        last, left_out = self._kinds.get(kind, (None, 0))
        if last is not None and now - last < self._interval:
            self._kinds[kind] = (last, left_out + 1)
            return
        self._kinds[kind] = (now, 0)
        if left_out:
            message += f" (and {left_out} more since the last message)"
        log.log(level, message, *args, exc_info=exc_info)
