"""The clocks that an outbox measures ages with."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol

_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)

boot_seconds: Callable[[], float] = time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
"""Seconds since the start of the machine, the time that it was suspended included where the system tells."""


class Clock(Protocol):
    """Tells the time. Tests bring clocks of their own."""

    def wall(self) -> float:
        """Seconds since 1970."""
        ...

    def boot(self) -> float:
        """Seconds since the start of the machine, the time that it was suspended included where the system tells."""
        ...

    def boot_id(self) -> str:
        """Identifies the start of the machine that `boot` counts from; empty when unknown."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def boot(self) -> float:
        """Seconds since the start of the machine."""
        return boot_seconds()

    def boot_id(self) -> str:
        """Identifies the start of the machine; empty when unknown, as on everything but Linux."""
        return _boot_id()


class Timestamp(NamedTuple):
    """A time by both clocks."""

    wall: float
    boot: float
    boot_number: int
    """Number of the start of the machine, as an outbox counts them; 0 when unknown."""


def age(since: Timestamp, now: Timestamp) -> float:
    """Seconds between two times: by the clock on the wall or by the boot clock, whichever is larger.

    A clock that was set back therefore makes nothing younger. One that was set forward, or a virtual machine that was
    restored, can make something older than it is: what may have been counted is then parked too early, which a person
    can correct. Too late could count it twice, which nobody could.
    """
    elapsed = now.wall - since.wall
    if since.boot_number and since.boot_number == now.boot_number:
        elapsed = max(elapsed, now.boot - since.boot)
    return max(0.0, elapsed)


@lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
