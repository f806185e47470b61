"""One event's keys, claimed together, and marked even if the store fails for a moment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from .stores import Claim, EventStore, new_token

T = TypeVar("T")

log = logging.getLogger("montra")

PAUSES = (0.05, 0.2, 0.8, 2.0)
"""Seconds between the attempts to tell the store that an event was handled, or that it was not."""


class EventClaim:
    """The claim of one delivery on its event.

    Nearly always an event has one key. It has several while an endpoint has several secrets and no name of its own;
    they are claimed in the same order by everybody.

    Args:
        store: where the keys are.
        keys: of the event, in order.
        lease: seconds that the claim lasts without being renewed.
        forever: what was handled is never forgotten.
    """

    def __init__(self, store: EventStore, keys: Sequence[str], lease: float, *, forever: bool) -> None:
        self._store = store
        self._keys = keys
        self._lease = lease
        self._forever = forever
        self._token = new_token()

    async def take(self) -> Claim:
        """All keys or none. One key that is done speaks for the others: they are marked, too."""
        taken: list[str] = []
        try:
            found = await self._take_into(taken)
            for key in taken if found is not Claim.OURS else ():
                await (self._mark_done(key) if found is Claim.DONE else self._store.release(key, self._token))
        except Exception:
            for key in taken:
                with contextlib.suppress(Exception):  # they end with the lease anyway
                    await self._store.release(key, self._token)
            raise
        return found

    async def _take_into(self, taken: list[str]) -> Claim:
        found = Claim.OURS
        for key in self._keys:
            outcome = await self._store.claim(key, self._token, self._lease)
            if outcome is Claim.OURS:
                taken.append(key)
            elif outcome is Claim.DONE:
                found = Claim.DONE
            elif found is not Claim.DONE:
                return Claim.BUSY
        return found

    async def renew(self) -> bool:
        """Keep it for another lease; False when it was lost."""
        return all([await self._store.renew(key, self._token, self._lease) for key in self._keys])

    async def done(self, *, insist: bool = True) -> bool:
        """Mark the event as handled; False when somebody else has taken, or handled, it meanwhile.

        Raises:
            Exception: of the store, when it failed again and again.
        """
        return all(await self._each("done", self._done, PAUSES if insist else ()))

    async def release(self, *, insist: bool = True) -> None:
        """Give the event back: the next delivery may handle it.

        Raises:
            Exception: of the store, when it failed again and again.
        """
        await self._each("released", self._release, PAUSES if insist else ())

    async def _each(self, mark: str, attempt: Callable[[str, bool], Awaitable[T]], pauses: Sequence[float]) -> list[T]:
        """Every key gets its attempts, also after one has failed for good."""
        found: list[T] = []
        failures: list[Exception] = []
        for key in self._keys:
            try:
                found.append(await _insist(mark, partial(attempt, key), pauses))
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return found

    async def _release(self, key: str, again: bool) -> None:
        await self._store.release(key, self._token)

    async def _done(self, key: str, again: bool) -> bool:
        if await self._mark_done(key):
            return True
        # The lease ended. If nobody has taken the event since, it is handled all the same, and must be remembered.
        outcome = await self._store.claim(key, self._token, self._lease)
        if outcome is Claim.OURS:
            return await self._mark_done(key)
        return outcome is Claim.DONE and again  # an attempt that seemed to fail may have reached the store

    async def _mark_done(self, key: str) -> bool:
        if self._forever:
            return await self._store.done(key, self._token, forever=True)
        return await self._store.done(key, self._token)


async def _insist(mark: str, attempt: Callable[[bool], Awaitable[T]], pauses: Sequence[float]) -> T:
    for i, pause in enumerate(pauses):
        try:
            return await attempt(i > 0)
        except Exception as error:
            log.warning("an event could not be marked as %s; trying again: %s", mark, error)
        await asyncio.sleep(pause)
    return await attempt(bool(pauses))
