"""The observers of one reporter. Their errors end nobody else's work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import MontraError
from .events import Event, ParkedUsage, UsageRequest, amount_of
from .observer import BacklogObserver, UsageObserver
from .outbox import Outbox, SummingOutbox

log: logging.Logger = logging.getLogger("montra")

_MAX_SUMS = 40_000
"""Maximum number of sums of what waits that observers are told."""


class Observers:
    """Tells observers what becomes of events. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._all: tuple[UsageObserver, ...] = ()
        self._new: list[BacklogObserver] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nobody to tell."""
        return not self._all

    def renew(self) -> None:
        """Replace the lock in a forked child."""
        self._lock = threading.RLock()

    def add(self, observer: UsageObserver) -> None:
        """Tell an object from now on.

        Args:
            observer: the object.
        """
        with self._lock:
            self._all = (*self._all, observer)
            if isinstance(observer, BacklogObserver):
                self._new.append(observer)

    def remove(self, observer: UsageObserver) -> None:
        """Stop telling an object.

        Args:
            observer: the object.
        """
        with self._lock:
            self._all = tuple(one for one in self._all if one is not observer)
            self._new = [one for one in self._new if one is not observer]

    def recorded(self, events: Sequence[Event]) -> None:
        """Events were handed over.

        Args:
            events: the events.
        """
        for observer in self._all:
            for event in events:
                _call(observer.recorded, event.customer_id, event.meter_slug, amount_of(event.units, event.scale))

    def failed(self, events: Sequence[Event]) -> None:
        """Events could not be stored.

        Args:
            events: the events.
        """
        for observer in self._all:
            for event in events:
                _call(observer.failed, event.customer_id, event.meter_slug, amount_of(event.units, event.scale))

    def delivered(self, request: UsageRequest) -> None:
        """The service has counted a request.

        Args:
            request: the request.
        """
        amount = amount_of(request.units, request.scale)
        for observer in self._all:
            _call(observer.delivered, request.customer_id, request.meter_slug, amount)

    def given_up(self, parked: ParkedUsage) -> None:
        """A request was parked.

        Args:
            parked: the request.
        """
        for observer in self._all:
            _call(observer.given_up, parked.customer_id, parked.meter_slug, parked.amount)

    def tell_backlog(self, outbox: Outbox) -> None:
        """Tell new observers what waits in the outbox. Called by the writer.

        Args:
            outbox: the outbox.
        """
        with self._lock:
            observers, self._new = self._new, []
        if not observers or not isinstance(outbox, SummingOutbox):
            return
        try:
            sums = outbox.waiting_sums(_MAX_SUMS)
        except MontraError as error:
            log.warning("what waits in the outbox is not counted until it is sent: %s", error)
            return
        if len(sums) >= _MAX_SUMS:
            log.warning("usage of more than %d customers and meters waits; the rest is not counted yet", _MAX_SUMS)
        for observer in observers:
            for one in sums:
                _call(observer.waiting, *one)


def _call(method: Callable[..., object], *arguments: Any) -> None:
    try:
        method(*arguments)
    except Exception:
        log.exception("an observer of usage has failed")
