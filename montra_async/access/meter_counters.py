"""`MeterCounters`: the holds and the recorded usage of meters, without an event loop. Any thread may use it."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Set
from decimal import Decimal

from ..core import forks
from .answer_cache import AnswerCache
from .counter import Counter
from .decision import AccessDecision, Key
from .numbers import exact_sum
from .reservation import Reservation
from .settings import AccessSettings

log: logging.Logger = logging.getLogger("montra")


class MeterCounters:
    """Counts what is held and recorded on top of the service's answers, which `Ledger` keeps.

    A meter that has holds, or usage that the service may not know of, has a `Counter`. Its entry in `answers` is made
    from the counter, and removed whenever the counter changes.

    Args:
        settings: times to live, and bounds.
        clock: seconds, never goes back.
    """

    def __init__(self, settings: AccessSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.clock = clock
        self.counters: dict[Key, Counter] = {}
        self._cache = AnswerCache(settings.max_entries, self.counters.keys())
        self.answers: dict[Key, AccessDecision] = self._cache.entries
        self.epoch: int = 0
        """Number of forks that led to this process. Holds of another epoch belong to another process."""
        self._settling: dict[tuple[Key, int | Decimal], list[Reservation]] = {}
        self._sweep_at = settings.max_entries
        self._new_lock()
        forks.watch(self)

    def _new_lock(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may record usage in a thread that holds it
        # A `with` statement takes twice as long as these two calls, which counts for holds.
        self._acquire: Callable[[], bool] = self._lock.acquire
        self._release: Callable[[], None] = self._lock.release

    # Holds

    def reserve(self, hold: Reservation, now: float, *, force: bool = False) -> bool | None:
        """Hold units for a new hold.

        Args:
            hold: the hold, which is open afterwards.
            now: the time.
            force: also with an answer that is too old; without any answer as if there were no limit.

        Returns:
            None when the answer is too old; otherwise whether there are so many units.
        """
        key = hold.key
        amount = hold.estimate
        self._acquire()
        try:
            try:
                counter = self.counters[key]
            except KeyError:
                counter = self._counter(key)
            if now >= counter.fresh_until and not force:
                return None
            units = amount if type(amount) is int and counter.scale == 0 else counter.units(amount)
            if units > counter.free and not self._gains_from_expiry(counter, units, now):
                return False
            counter.free -= units
            hold.counter = counter
            hold.units = units
            hold.epoch = self.epoch
            hold.state = "open"
            hold.expires_at = expires_at = now + hold.ttl
            counter.holds.add(hold)
            if expires_at < counter.next_expiry:
                counter.next_expiry = expires_at
            if counter.shown:
                self._hide(key, counter)
            return True
        finally:
            self._release()

    def _gains_from_expiry(self, counter: Counter, units: int, now: float) -> bool:
        return now >= counter.next_expiry and self._drop_expired(counter, now) and units <= counter.free

    def extend(self, hold: Reservation, amount: int | Decimal, now: float, *, force: bool = False) -> bool | None:
        """Hold more units for a live hold.

        Args:
            hold: the hold.
            amount: number of units.
            now: the time.
            force: also with an answer that is too old.

        Returns:
            None when the answer is too old; otherwise whether there are so many units.
        """
        with self._lock:
            counter = hold.counter
            if now >= counter.fresh_until and not force:
                return None
            units = counter.units(amount)
            if units > counter.free and not self._gains_from_expiry(counter, units, now):
                return False
            if hold not in counter.holds:  # it has expired itself
                return False
            counter.free -= units
            hold.units += units
            hold.estimate = exact_sum(hold.estimate, amount)
            self._hide(hold.key, counter)
            return True

    def settle(self, hold: Reservation, used: int | Decimal) -> bool:
        """End a hold.

        Args:
            hold: the hold.
            used: number of units to count as recorded; 0 for none.

        Returns:
            False when it had ended already; then nothing is counted.
        """
        counter = hold.counter
        self._acquire()
        try:
            try:
                counter.holds.remove(hold)
            except KeyError:
                return False
            if type(used) is int and counter.scale == 0:
                units = used
            else:
                scale = counter.scale
                units = counter.units(used)  # a finer amount changes the scale
                hold.units *= 10 ** (counter.scale - scale)
            counter.free += hold.units - units
            counter.recorded += units
            if counter.shown:
                self._hide(hold.key, counter)
            return True
        finally:
            self._release()

    def is_live(self, hold: Reservation) -> bool:
        """Whether a hold still has its units."""
        return hold in hold.counter.holds

    def _drop_expired(self, counter: Counter, now: float) -> bool:
        """Release the holds whose life is over. Returns whether there were any."""
        expired = [hold for hold in counter.holds if hold.expires_at <= now and not hold.renews]
        for hold in expired:
            counter.holds.discard(hold)
            counter.free += hold.units
        ends = (hold.expires_at for hold in counter.holds if not hold.renews)
        counter.next_expiry = min(ends, default=math.inf)
        if expired:
            self._forget_settling(expired)
            log.warning("%d holds expired: neither settled nor released in their time", len(expired))
        return bool(expired)

    def _forget_settling(self, expired: list[Reservation]) -> None:
        """Usage of theirs that is recorded later counts as usage without a hold."""
        keys = {hold.key for hold in expired}
        for one in [one for one in self._settling if one[0] in keys]:
            left = [hold for hold in self._settling[one] if hold not in expired]
            if left:
                self._settling[one] = left
            else:
                del self._settling[one]

    def _counter(self, key: Key) -> Counter:
        """Begin to count a meter."""
        if len(self.counters) >= self._sweep_at:
            self._sweep()
        counter = self.counters[key] = Counter(self.answers.pop(key, None), self.clock())
        self._cache.add_slug(key)
        return counter

    def _hide(self, key: Key, counter: Counter) -> None:
        """Remove the decision that was made from a counter, because the counter has changed."""
        if counter.shown:
            counter.shown = False
            self.answers.pop(key, None)

    def _sweep(self) -> None:
        """Remove counters that aren't needed, and the oldest of those that only count usage, if they are too many."""
        now = self.clock()
        asked = self._asked_keys()
        maximum = 4 * self.settings.max_entries
        lost = 0
        for key, counter in list(self.counters.items()):
            if now >= counter.next_expiry:
                self._drop_expired(counter, now)
            idle = counter.is_idle and key not in asked
            if not idle and (counter.holds or len(self.counters) < maximum):
                continue
            lost += not idle
            del self.counters[key]
            if counter.answer is not None and idle:
                self._cache.keep(key, counter.answer)
        if lost:
            log.warning("%d customers and meters have unsent usage that is no longer counted: too many", lost)
        self._sweep_at = max(self.settings.max_entries, 2 * len(self.counters))

    def _asked_keys(self) -> Set[Key]:
        """Keys of which the service is being asked: their counters are needed for its answers."""
        return frozenset()

    # What a reporter says

    def begin_settling(self, hold: Reservation, used: int | Decimal) -> None:
        """What a hold used is going to be recorded.

        The hold ends at the moment in which a reporter says that as much was recorded: its units are counted without
        a gap, and not twice. A reporter does not say which event was recorded. Of several holds of a meter that used
        as much, any one ends, and another one goes on in its place, until the last of the events was recorded.

        Args:
            hold: the hold.
            used: number of units.
        """
        with self._lock:
            hold.renews = False
            hold.expires_at = expires_at = self.clock() + hold.ttl
            if expires_at < hold.counter.next_expiry:
                hold.counter.next_expiry = expires_at
            self._settling.setdefault((hold.key, used), []).append(hold)

    def cancel_settling(self, hold: Reservation, used: int | Decimal) -> None:
        """The reporter refused the event without having said that it was recorded.

        Args:
            hold: the hold.
            used: number of units.
        """
        with self._lock:
            waiting = self._settling.get((hold.key, used), [])
            if hold in waiting:
                waiting.remove(hold)
                if not waiting:
                    del self._settling[hold.key, used]
            self.settle(hold, 0)

    def recorded(self, key: Key, amount: int | Decimal) -> None:
        """Usage was recorded here that the service does not know of."""
        with self._lock:
            waiting = self._settling.get((key, amount))
            if waiting:
                hold = waiting.pop()
                if not waiting:
                    del self._settling[key, amount]
                if self.settle(hold, amount):
                    return
            self.waiting(key, amount)

    def waiting(self, key: Key, amount: int | Decimal) -> None:
        """Usage waits that the service does not know of: recorded here without a hold, or by an earlier process."""
        with self._lock:
            counter = self.counters.get(key)
            if counter is None:
                counter = self._counter(key)
            units = counter.units(amount)
            counter.recorded += units
            counter.free -= units
            self._hide(key, counter)

    def unrecorded(self, key: Key, amount: int | Decimal) -> None:
        """Usage that was recorded here could not be stored: it never happened."""
        with self._lock:
            counter = self.counters.get(key)
            if counter is None:
                return
            units = min(counter.units(amount), counter.recorded - max(counter.base, counter.acknowledged))
            counter.recorded -= units
            counter.free += units
            counter.mark = min(counter.mark, counter.recorded)
            self._hide(key, counter)

    def acknowledged(self, key: Key, amount: int | Decimal) -> None:
        """The service has counted usage, or never will. Later answers include it.

        Never more counts as known to the service than was recorded here. It may have been recorded by another process
        with the same outbox, which then sends as much of ours: until that is sent, too little counts here.
        """
        with self._lock:
            counter = self.counters.get(key)
            if counter is not None:
                units = counter.units(amount)
                counter.acknowledged = min(counter.recorded, counter.acknowledged + units)

    # Forks

    fork_order: int = 1
    """After the stores whose threads tell this of usage while they use the store."""

    def before_fork(self, timeout: float) -> bool:
        """Wait until no other thread is changing this. Called by `core.forks`."""
        return self._lock.acquire(timeout=timeout)

    def after_fork(self, *, closed: bool, child: bool) -> None:
        """Go on. A child has no holds; answers and recorded usage stay. Called by `core.forks`."""
        if not child:
            if closed:
                self._lock.release()
            return
        self._new_lock()
        self.epoch += 1
        self._settling = {}
        for key, counter in self.counters.items():
            counter.free += counter.held
            counter.holds = set()
            counter.next_expiry = math.inf
            self._hide(key, counter)
