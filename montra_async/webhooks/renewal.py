"""Renew the claims of deliveries whose handlers block their thread: one thread for all of them, while there are any."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from .claims import EventClaim
from .store_access import run_blocking, threads_of
from .stores import DeduplicationStore

log: logging.Logger = logging.getLogger("montra")


def next_renewal(claim: EventClaim, renewed: bool | BaseException, event: str) -> float:
    """Log what became of a renewal, and return the seconds until the next one.

    Args:
        claim: the claim.
        renewed: True, False when the claim was lost, or the store's error.
        event: the event, for the log.
    """
    if isinstance(renewed, BaseException):
        log.error("the claim of %s could not be renewed; trying again", event, exc_info=renewed)
        return claim.claim_ttl / 10
    if not renewed and not claim.ending:
        log.warning("the claim of %s was lost while its handlers run", event)
    return claim.claim_ttl / 3


class _Renewal:
    """The repeated renewal of one claim."""

    def __init__(self, claim: EventClaim, store: DeduplicationStore, event: str) -> None:
        self.due = time.monotonic() + claim.claim_ttl / 3
        self.over = False
        self._claim = claim
        self._store = store
        self._event = event

    def start(self, finished: Callable[[_Renewal], None]) -> None:
        """Renew the claim: in a thread of the store when it may block, so that no store delays another's renewals."""

        def renew() -> None:
            try:
                renewed: bool | BaseException = run_blocking(self._claim.renew(), self._store)
            except BaseException as error:  # whatever a store raises: this thread must go on
                renewed = error
            if self.over:
                return
            self.due = time.monotonic() + next_renewal(self._claim, renewed, self._event)
            finished(self)

        if getattr(self._store, "blocking", True) is False:
            renew()
            return
        try:
            threads_of(self._store).submit(renew)
        except RuntimeError as error:  # the interpreter is shutting down, or the system has no thread left
            self.due = time.monotonic() + next_renewal(self._claim, error, self._event)


class ClaimRenewals:
    """All claims that are held by blocked threads of this process, and the thread that renews them when they are due.

    The thread does not end with the last claim, but when it wakes up next: most claims are never renewed, and a thread
    for each of them would cost more than handling a small event.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all claims. A forked child does: they, and the thread that renews them, are the parent's."""
        self._changed = threading.Condition()
        self._active: set[_Renewal] = set()
        self._running = False
        self._wakes_at = math.inf

    @contextlib.contextmanager
    def keep(self, claim: EventClaim, store: DeduplicationStore, event: str) -> Generator[None, Any, None]:
        """Renew a claim until the block ends.

        Args:
            claim: the claim.
            store: its store.
            event: the event, for the log.
        """
        renewal = _Renewal(claim, store, event)
        try:
            with self._changed:
                self._active.add(renewal)
                self._wake_for(renewal)
            yield
        finally:
            renewal.over = True  # before the lock: a KeyboardInterrupt that comes while waiting for it changes nothing
            with self._changed:
                self._active.discard(renewal)

    def _wake_for(self, renewal: _Renewal) -> None:
        if not self._running:
            self._wakes_at = renewal.due
            try:
                threading.Thread(target=self._run, name="montra-webhook-renewal", daemon=True).start()
            except RuntimeError as error:  # the interpreter is shutting down, or the system has no thread left
                log.warning("claims of webhook events can't be renewed while their handlers run: %s", error)
                return
            self._running = True
        elif renewal.due < self._wakes_at:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                self._active = {one for one in self._active if not one.over}
                due = [one for one in self._active if one.due <= now]
                for one in due:
                    one.due = math.inf  # while it is being renewed
                if not due and not self._active and not now < self._wakes_at < math.inf:
                    self._running = False
                    return
                if not due:
                    self._wakes_at = min((one.due for one in self._active), default=self._wakes_at)
                    self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            for one in due:
                one.start(self._finished)

    def _finished(self, renewal: _Renewal) -> None:
        with self._changed:
            if renewal in self._active:
                self._wake_for(renewal)


renewals: ClaimRenewals = ClaimRenewals()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renewals.reset)
