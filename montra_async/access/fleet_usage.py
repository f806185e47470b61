"""`FleetUsage`: counts in Redis what is recorded, with a hold or without one."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from functools import partial
from typing import Any

from ..core import forks
from . import redis_scripts as scripts
from .decision import Key
from .last_loop import LastLoop, Post
from .ledger import Ledger
from .meter_counters import log
from .numbers import exact_sum, negative, redis_units
from .redis_holds import RedisHolds
from .redis_lines import UnitsTooLargeError
from .settling import Settling

_MAX_KEYS = 100_000
"""Maximum number of customers and meters whose usage waits to be counted in Redis."""
_RETRY_SECONDS = 1.0


class FleetUsage:
    """Counts usage in Redis soon after a reporter has told of it. Any thread may tell.

    Args:
        holds: Redis.
        ledger: settings, and the number of forks.
        post: runs functions on an event loop. None: on the caller's, or else the one that was used last.
    """

    def __init__(self, holds: RedisHolds, ledger: Ledger, post: Post | None = None) -> None:
        self._holds = holds
        self._ledger = ledger
        self._settings = ledger.settings
        self._key_life = round(1000 * (2 * ledger.settings.local_usage_ttl + ledger.settings.max_stale + 3600))
        self._last = LastLoop()
        self._post: Post = self._last.post if post is None else post
        self._forget_usage()
        self._reset()
        forks.watch(self)

    def _forget_usage(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may record usage in a thread that holds it
        self._settling: dict[tuple[Key, int | Decimal], Settling] = {}
        self._uncounted: dict[Key, list[int | Decimal]] = {}
        self._scheduled = False
        """Whether `_flush` is going to run, unless its event loop ends before."""

    def _reset(self) -> None:
        self._epoch = self._ledger.epoch
        self._last.loop = None

    def _enter(self) -> asyncio.AbstractEventLoop:
        """Use the running loop. A forked child forgets what belongs to its parent."""
        if self._epoch != self._ledger.epoch:
            self._reset()
            self._holds.after_fork_in_child()
        loop = asyncio.get_running_loop()
        if loop is not self._last.loop:
            self._last.loop = loop
            if self._uncounted:  # there was no loop to count it on
                loop.call_soon(self._flush)
        return loop

    def expect(self, key: Key, amount: int | Decimal) -> None:
        """A hold's usage is going to be recorded, and counted when the hold ends.

        A reporter does not say which event was recorded or failed. Of several holds that used as much, any one is
        meant: only their numbers count. `settled`, `not_recorded` or `handed_over` follows.

        Args:
            key: the customer and meter.
            amount: number of units.
        """
        with self._lock:
            self._settling.setdefault((key, amount), Settling()).pending += 1

    def settled(self, key: Key, amount: int | Decimal) -> None:
        """It was recorded: the hold is going to end."""
        self._told(key, amount, pending=-1, withheld=-1)

    def handed_over(self, key: Key, amount: int | Decimal) -> None:
        """It may be recorded, now or later: the hold is going to end."""
        self._told(key, amount, pending=-1, withheld=-1, late=True)

    def not_recorded(self, key: Key, amount: int | Decimal) -> None:
        """It was not recorded: the hold stays. The reporter may have told of it and of its failure, or not at all."""
        self._told(key, amount, pending=-1)

    def recorded(self, key: Key, amount: int | Decimal) -> None:
        """Usage was recorded, with a hold or without."""
        if (key, amount) in self._settling:
            self._told(key, amount, withheld=1)
        else:
            self.count(key, amount, 0)

    def failed(self, key: Key, amount: int | Decimal) -> None:
        """Usage was not stored, with a hold or without."""
        if (key, amount) in self._settling:
            self._told(key, amount, withheld=-1)
        else:
            self.count(key, negative(amount), 0)

    def _told(
        self, key: Key, amount: int | Decimal, *, pending: int = 0, withheld: int = 0, late: bool = False
    ) -> None:
        """Count what no hold is going to count, and take off what was not stored."""
        with self._lock:
            found = self._settling.get((key, amount)) or Settling()
            found.pending += pending
            found.withheld += withheld
            if late and found.withheld < -found.late:
                found.late += 1
            surplus = found.surplus()
            found.withheld -= surplus
            found.late = min(found.late, max(0, -found.withheld))
            if not found.pending and not found.withheld:
                self._settling.pop((key, amount), None)
            for _ in range(abs(surplus)):
                self.count(key, amount if surplus > 0 else negative(amount), 0)

    def count(self, key: Key, recorded: int | Decimal, acknowledged: int | Decimal) -> None:
        """Count usage in Redis soon. Any thread may call it.

        Args:
            key: the customer and meter.
            recorded: number of units recorded.
            acknowledged: number of units that the service has counted, or never will.
        """
        with self._lock:
            self._add(key, recorded, acknowledged)
            first = not self._scheduled or self._last.is_gone()
            self._scheduled = True
        if first:
            self._post(self._flush)

    def _add(self, key: Key, recorded: int | Decimal, acknowledged: int | Decimal) -> None:
        """Keep usage until it is counted in Redis."""
        with self._lock:
            found = self._uncounted.get(key)
            if found is None:
                if len(self._uncounted) >= _MAX_KEYS:
                    return
                found = self._uncounted[key] = [0, 0]
            found[0] = exact_sum(found[0], recorded)
            found[1] = exact_sum(found[1], acknowledged)

    def _flush(self) -> None:
        self._enter()
        with self._lock:
            uncounted, self._uncounted = self._uncounted, {}
            self._scheduled = False
        for key, (recorded, acknowledged) in uncounted.items():
            (units, one), (known, other) = redis_units(recorded), redis_units(acknowledged, up=False)
            scale = max(one, other)
            arguments = (units * 10 ** (scale - one), known * 10 ** (scale - other), scale, self._key_life)
            future = self._holds.send(scripts.COUNT, key, *arguments)
            future.add_done_callback(partial(self._counted, key, recorded))

    def _counted(self, key: Key, recorded: int | Decimal, done: asyncio.Future[Any]) -> None:
        """Count again what may not have been counted: rather twice than not at all."""
        error = None if done.cancelled() else done.exception()
        if not recorded or (error is None and not done.cancelled()):
            return
        if isinstance(error, UnitsTooLargeError):
            log.warning("usage is not counted in the fleet: %s", error)
            return
        self._add(key, recorded, 0)
        if error is None:  # the event loop ends; the next one counts it
            return
        with self._lock:
            scheduled, self._scheduled = self._scheduled, True
        if not scheduled:
            done.get_loop().call_later(_RETRY_SECONDS, self._flush)

    # Forks

    fork_order: int = 1
    """After the stores whose threads tell this of usage while they use the store."""

    def before_fork(self, timeout: float) -> bool:
        """Wait until no other thread is counting usage. Called by `core.forks`."""
        return self._lock.acquire(timeout=timeout)

    def after_fork(self, *, closed: bool, child: bool) -> None:
        """Go on. What waits to be counted is counted by the parent. Called by `core.forks`."""
        if child:
            self._forget_usage()
            self._last.loop = None  # it is the parent's
        elif closed:
            self._lock.release()
