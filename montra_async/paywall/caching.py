"""Answers that are kept for a while, and calls that are made once for all who want them at the same time.

Keys are facts: what was sent (address, digest of the token, language, headers), never the identity of an object, which
the next object may have. Who has no such fact shares nothing. Beside each cache stands what makes its keys unique.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from ..core.http.messages import Request
from ..core.http.timeouts import Deadline, deadlines_of
from ..core.locks import ProcessLock
from .errors import PaywallError

log = logging.getLogger("montra")

T = TypeVar("T")

MOST_ENTRIES = 10_000
ABANDONED_GRACE = 60.0
"""Seconds that a flight which lands in any case goes on when nobody waits for it any more."""


def digest(secret: str) -> str:
    """What stands for a token in keys: nobody can read the token from it, and no two tokens have the same."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Cache(Generic[T]):
    """Values by key with their age. At most `max_entries`, none older than `ttl` seconds; the oldest go first."""

    def __init__(
        self, *, ttl: float, max_entries: int = MOST_ENTRIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self._ttl = ttl
        self._max_entries = max_entries
        self._kept: dict[Hashable, tuple[float, T]] = {}  # in the order of age
        self._lock = ProcessLock()  # one client may serve event loops in several threads

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, *, younger_than: float = math.inf) -> T | None:
        found = self._kept.get(key)
        if found is None:
            return None
        kept_at, value = found
        age = self.clock() - kept_at
        return value if age < self._ttl and age < younger_than else None

    def put(self, key: Hashable, value: T) -> None:
        now = self.clock()
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (now, value)
            while len(self._kept) > self._max_entries or now - self._oldest() >= self._ttl:
                del self._kept[next(iter(self._kept))]

    def change(self, key: Hashable, change: Callable[[T], T]) -> None:
        """Change a value that is there; its age stays."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept[key] = (found[0], change(found[1]))

    def drop(self, key: Hashable) -> None:
        with self._lock:
            self._kept.pop(key, None)

    def _oldest(self) -> float:
        return next(iter(self._kept.values()))[0]


class Flight:
    """A call under way, in a task of its own, and until when each of those who share it waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, lands: bool) -> None:
        self.lands = lands
        self.call: Request | None = None
        self.task: asyncio.Task[Any]
        self._loop = loop
        self._began = loop.time()
        self._ends: list[float] = []
        self._giving_up: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return len(self._ends)

    def age(self) -> float:
        return self._loop.time() - self._began

    def remaining(self) -> float:
        """Seconds that the most patient of those who wait has left."""
        return max(self._ends, default=0.0) - self._loop.time()

    def carries(self, call: Request) -> None:
        """`call` is what this flight waits for: it is tried as long as anybody has time left."""
        self.call = call
        call.remaining = self.remaining

    def enter(self, end: float) -> None:
        self._ends.append(end)
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def wait_for_nobody(self) -> None:
        """As if somebody waited for a while."""
        self._ends.append(self._loop.time() + ABANDONED_GRACE)
        self._giving_up = self._loop.call_later(ABANDONED_GRACE, self.task.cancel)

    def leave(self, end: float) -> None:
        """A flight that nobody waits for ends: at once, or after a while when its answer must not be lost."""
        self._ends.remove(end)
        if self._ends or self.task.done():
            return
        if self.lands:
            self._giving_up = self._loop.call_later(ABANDONED_GRACE, self.task.cancel)
        else:
            self.task.cancel()

    def ended(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
        if not self.task.cancelled() and (error := self.task.exception()) is not None and not self._ends:
            log.info("a call that nobody waited for any more failed: %s", _words(error))

    def result(self) -> Any:
        if self.task.cancelled():
            raise PaywallError("network_error", "the shared call was given up before its answer came", sent=True)
        error = self.task.exception()
        if error is None:
            return self.task.result()
        if not isinstance(error, PaywallError):
            raise error
        # Each gets an error of their own: a shared one would collect the frames, and so the variables, of all callers.
        own = copy.copy(error)
        raise own from error.__cause__


class Flights:
    """Calls under way, by event loop and key: whoever wants the same waits for the one that is there."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, Hashable], Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()  # the event loop itself holds tasks only weakly

    async def join(
        self,
        key: Hashable,
        make: Callable[[Flight], Awaitable[T]],
        *,
        total: float | None = None,
        lands: bool = False,
    ) -> T:
        """The result of `make`, which runs in a task of its own: a caller that leaves takes nobody with it.

        The call goes on as long as anybody waits for it. When all have left it is cancelled, unless it `lands`.

        Args:
            key: facts that tell this call, and those who may see its answer, from all others.
            make: begins the call; gets the flight, which knows how long anybody still waits.
            total: seconds that this caller waits.
            lands: the call must not be cut off, because its answer would be lost.

        Raises:
            PaywallError: `timeout` when this caller's time is over; what the call raised.
        """
        loop = asyncio.get_running_loop()
        flight = self._under_way.get((loop, key))
        if flight is None or (not lands and total is not None and flight.age() > total):
            # One that has taken longer than this caller has time is not waited for: a new one may be quicker.
            flight = self._begin(loop, key, make, lands)
        end = math.inf if total is None else loop.time() + total
        flight.enter(end)
        try:
            if total is None:
                await asyncio.wait([flight.task])
            else:
                with Deadline(deadlines_of(loop), end):
                    await asyncio.wait([flight.task])
        except TimeoutError:
            in_time = flight.task.done()
        else:
            in_time = True
        finally:
            flight.leave(end)
            if not flight.lands and not flight.waiting:
                self._forget((loop, key), flight)
        if not in_time:
            raise timed_out(total, flight.call)
        result: T = flight.result()
        return result

    def start(self, key: Hashable, make: Callable[[Flight], Awaitable[Any]]) -> None:
        """Begin a call that nobody waits for, unless it is under way already."""
        loop = asyncio.get_running_loop()
        if (loop, key) not in self._under_way:
            self._begin(loop, key, make, True).wait_for_nobody()

    def _begin(
        self,
        loop: asyncio.AbstractEventLoop,
        key: Hashable,
        make: Callable[[Flight], Awaitable[Any]],
        lands: bool,
    ) -> Flight:
        for where in [where for where in list(self._under_way) if where[0].is_closed()]:
            self._under_way.pop(where, None)
        flight = self._under_way[loop, key] = Flight(loop, lands=lands)
        flight.task = task = loop.create_task(_run(make, flight))
        self._tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            self._forget((loop, key), flight)
            flight.ended()

        task.add_done_callback(ended)
        return flight

    def _forget(self, where: tuple[asyncio.AbstractEventLoop, Hashable], flight: Flight) -> None:
        if self._under_way.get(where) is flight:
            del self._under_way[where]


def timed_out(total: float | None, call: Request | None) -> PaywallError:
    """`call` says what was waited for, and whether it may have been carried out; unknown, it may."""
    info, sent = (None, True) if call is None else (call.info(), call.sent)
    return PaywallError("timeout", f"no answer within the total time-out of {total or 0:g} s", call=info, sent=sent)


async def _run(make: Callable[[Flight], Awaitable[T]], flight: Flight) -> T:
    return await make(flight)


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, PaywallError) else type(error).__name__
