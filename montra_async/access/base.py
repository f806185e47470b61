"""`BaseAccess`: what the asynchronous and the synchronous `Access` have in common. Needs no event loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from ..client import Montra
from ..core import validation
from ..core.errors import InvalidArgumentError
from ..core.validation import Number
from ..usage.events import checked_name
from ..webhooks.receiver import WebhookReceiver
from ..webhooks.webhook_event import WebhookEvent
from . import warm_start
from .checker import Checker
from .decision import FEATURE, METER, UNKNOWN, AccessDecision, Key
from .errors import AccessDeniedError, AccessUnavailableError, HoldEndedError, LimitExceededError
from .fleet import FallbackAllowed, Fleet
from .ledger import Ledger
from .reservation import Reservation
from .settings import AccessSettings
from .watching import EVENTS, changes_of

EXPIRED = "this hold has expired: its units are free for others"


class BaseAccess:
    """The cache, the counters, and what a reporter tells of usage."""

    _fleet: Fleet | None

    def _set_up(self, montra: Montra, settings: AccessSettings, clock: Callable[[], float]) -> None:
        """Called by the constructors of both twins."""
        self._settings = settings
        self._clock = clock
        self._ledger = Ledger(settings, clock)
        self._answers = self._ledger.answers  # the same dict for ever
        self._checker = Checker(self._ledger, montra)
        self._base_url: str = getattr(montra, "base_url", "")

    def peek(self, customer_id: str, *, meter: str | None = None, feature: str | None = None) -> AccessDecision:
        """What is known, without waiting: `cached`, `stale` (up to `max_stale`), or `unknown`, which denies.

        Takes less than half a microsecond when it is known. Otherwise, it begins to ask the service in the background,
        so that the next call knows.

        Args:
            customer_id: `cust_...`.
            meter: slug of a meter: whether the customer may use more of it.
            feature: slug of a feature: whether the customer's plan includes it. Give either.

        Raises:
            InvalidArgumentError: an argument is invalid.
        """
        key = (customer_id, METER, meter) if feature is None else (customer_id, FEATURE, feature)
        try:
            found = self._answers[key]  # type: ignore[index]  # pyright: ignore[reportArgumentType]
        except (KeyError, TypeError):  # TypeError: not hashable
            found = None
        if found is not None and self._clock() < found.fresh_until and (meter is None or feature is None):
            found.used = True
            return found
        return self._peek(checked_key(customer_id, meter, feature))

    def _peek(self, key: Key) -> AccessDecision:
        found = self._ledger.find(key)
        if found is not None and self._clock() < found.fresh_until:
            return found
        self._start(key)
        if found is None or (found.age or 0.0) > self._settings.max_stale:
            return UNKNOWN
        return found.replace(source="stale")

    def _start(self, key: Key) -> None:
        """Begin to ask the service in the background, if that is possible here."""
        raise NotImplementedError

    def invalidate(
        self, customer_id: str | None = None, *, meter: str | None = None, feature: str | None = None
    ) -> None:
        """Have the service asked again, because something has changed. Holds and recorded usage stay counted.

        The answers so far are used only while the service can't be asked.

        Args:
            customer_id: only this customer. Default: all.
            meter: only this meter. Default: all meters and features.
            feature: only this feature. Default: all meters and features.

        Raises:
            InvalidArgumentError: an argument is invalid.
        """
        if customer_id is not None:
            checked_name("customer_id", customer_id)
        if meter is not None and feature is not None:
            raise InvalidArgumentError("feature", "give either meter or feature")
        kind = METER if meter is not None else FEATURE if feature is not None else None
        slug = meter if meter is not None else feature
        if kind is not None:
            checked_name(kind, slug)
        self._invalidate(customer_id, kind, slug)

    def _invalidate(self, customer_id: str | None, kind: str | None, slug: str | None) -> None:
        if self._fleet is not None:
            for key in self._ledger.matching(customer_id, kind, slug):
                self._fleet.invalidate(key)
        if self._checker.shared is not None:  # first, so that no older answer is taken from there meanwhile
            self._checker.shared.invalidate(customer_id)
        self._ledger.invalidate(customer_id, kind, slug)

    def _changed(self, customer_id: str | None, meter: str | None) -> None:
        self._invalidate(customer_id, None if meter is None else METER, meter)

    # Webhooks

    async def webhook_handler(self, event: WebhookEvent) -> None:
        """A handler for a `WebhookReceiver`: invalidates the access of the customer that an event is about.

        Args:
            event: an event of any type; most types change nothing.
        """
        changes = changes_of(event)
        if changes is not None:
            self._changed(*changes)

    def connect(self, receiver: WebhookReceiver) -> None:
        """Register `webhook_handler` for all events that may change access.

        A delivery reaches one process. The others ask again when their answers' time to live has passed, or with
        `shared_answers` a moment later.

        Args:
            receiver: handles the service's webhooks.
        """
        receiver.on(*EVENTS)(self.webhook_handler)

    # Warm start

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the answers to a file, e.g. when the application stops. Blocks for some milliseconds.

        The file is replaced in one step, and readable by its owner only. It has ids of customers, and no keys. Give
        each merchant a file of its own.

        Args:
            path: the file.

        Returns:
            The number of answers.

        Raises:
            ConfigError: the file can't be written.
        """
        return warm_start.save(self._ledger, self._base_url, path)

    def load(self, path: str | os.PathLike[str]) -> int:
        """Read answers that `save` wrote, e.g. when the application starts. Blocks for some milliseconds.

        They are stale: `peek` gives them, `check` gives a feature's "yes" while it asks in the background (within
        `stale_ttl`), and everything else asks first, and uses them if the service can't be asked. Answers older than
        `max_stale` are left out. A file that is missing, damaged, of another user or another service is logged and not
        used.

        Args:
            path: the file.

        Returns:
            The number of answers.
        """
        return warm_start.load(self._ledger, self._base_url, path)

    # What a reporter tells

    def recorded(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """Usage was recorded: it counts at once. Called by the `UsageReporter`.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        key = (customer_id, METER, meter_slug)
        self._ledger.recorded(key, amount)
        self._tell_fleet("recorded", key, amount)

    def failed(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """Recorded usage could not be stored: it counts no longer. Called by the `UsageReporter`.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        key = (customer_id, METER, meter_slug)
        self._ledger.unrecorded(key, amount)
        self._tell_fleet("failed", key, amount)

    def delivered(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """The service has counted usage: answers that are asked for from now on include it.

        Called by the `UsageReporter`.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        key = (customer_id, METER, meter_slug)
        self._ledger.acknowledged(key, amount)
        self._tell_fleet("acknowledged", key, amount)

    def waiting(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """Usage of an earlier run waits to be sent: it counts. Called by the `UsageReporter` when it starts.

        A fleet was told of it by the process that has recorded it.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        self._ledger.waiting((customer_id, METER, meter_slug), amount)

    def given_up(self, customer_id: str, meter_slug: str, amount: int | Decimal) -> None:
        """Usage was parked or dropped. It may have been counted, so it counts until the service is asked again.

        Called by the `UsageReporter`.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
        """
        key = (customer_id, METER, meter_slug)
        self._ledger.acknowledged(key, amount)
        self._tell_fleet("acknowledged", key, amount)

    # The fleet

    def _tell_fleet(self, what: Literal["recorded", "failed", "acknowledged"], key: Key, amount: int | Decimal) -> None:
        if self._fleet is None:
            return
        if what == "recorded":
            self._fleet.recorded(key, amount)
        elif what == "failed":
            self._fleet.failed(key, amount)
        else:
            self._fleet.count(key, 0, amount)

    def _fleet_of(self, hold: Reservation) -> Fleet | None:
        """The fleet, if it has a hold's units."""
        return self._fleet if self._fleet is not None and hold.state != "new" and hold.fleet_id else None

    def _count_alone(self, hold: Reservation, error: AccessUnavailableError) -> None:
        """Let this process count alone if Redis can't be used, and the setting says to allow.

        Raises:
            AccessUnavailableError: it says to raise.
            AccessDeniedError: it says to deny.
        """
        if not isinstance(error, FallbackAllowed):
            self._refuse_fallback(hold, self._checker.fallback(error))
        hold.fleet_id = ""

    # Holds

    def _extending(self, amount: int | Decimal) -> Callable[..., bool | None]:
        """A function that extends a hold, called like `Ledger.reserve`."""

        def attempt(hold: Reservation, now: float, *, force: bool = False) -> bool | None:
            self._check_live(hold, now)
            return self._ledger.extend(hold, amount, now, force=force)

        return attempt

    def _check_live(self, hold: Reservation, now: float) -> None:
        """
        Raises:
            HoldEndedError: the hold has ended or expired.
        """
        hold.check_open(self._ledger.epoch)
        if (hold.expires_at <= now and not hold.renews) or (
            self._fleet_of(hold) is None and not self._ledger.is_live(hold)
        ):
            raise HoldEndedError(EXPIRED)

    def begin_anew(self, hold: Reservation) -> None:
        """Begin a hold's life anew, as far as this process knows. Called by holds when they enter their block.

        A fleet is told in the background, as long as the hold lives.

        Args:
            hold: the hold.

        Raises:
            HoldEndedError: the hold has ended or expired.
        """
        now = self._clock()
        self._check_live(hold, now)
        hold.expires_at = now + hold.ttl

    @staticmethod
    def _refuse_fallback(hold: Reservation, decision: AccessDecision) -> None:
        """
        Raises:
            AccessDeniedError: the service can't be asked, and the setting says to deny.
        """
        if decision.source == "fallback" and not decision.allowed:
            customer_id, _, slug = hold.key
            raise AccessDeniedError(f"access of {customer_id} to {slug} can't be determined right now", decision)

    def _denied(self, hold: Reservation, amount: int | Decimal) -> AccessDeniedError:
        customer_id, _, slug = hold.key
        decision = self._ledger.find(hold.key)
        if decision is None:  # a decision is false when it denies
            decision = UNKNOWN
        if decision.limit is None or (not decision.allowed and decision.reason not in (None, "limit_reached")):
            return AccessDeniedError(f"{customer_id} has no access to {slug}: {decision.reason}", decision)
        problem = f"{customer_id} has {decision.remaining} of {decision.limit} units of {slug} left, not {amount}"
        return LimitExceededError(problem, decision, amount)


def checked_key(customer_id: str, meter: str | None, feature: str | None) -> Key:
    """The key of a question.

    Raises:
        InvalidArgumentError: an argument is invalid.
    """
    if (meter is None) == (feature is None):
        raise InvalidArgumentError("meter", "give either meter or feature")
    customer_id = checked_name("customer_id", customer_id)
    if feature is None:
        return customer_id, METER, checked_name("meter", meter)
    return customer_id, FEATURE, checked_name("feature", feature)


def checked_hold(
    customer_id: str,
    meter: str,
    estimate: Number,
    ttl: float,
    idempotency_key: str | None,
    metadata: Mapping[str, Any] | None,
) -> tuple[Key, int | Decimal]:
    """The key and the estimate of a hold.

    Raises:
        InvalidArgumentError: an argument is invalid.
    """
    # The usual case first: a short identifier needs no further check.
    if (
        type(customer_id) is str
        and len(customer_id) < 256
        and customer_id.isidentifier()
        and (type(meter) is str and len(meter) < 256 and meter.isascii() and meter.isprintable() and meter.strip())
    ):
        key: Key = (customer_id, METER, meter)
    else:
        key = checked_key(customer_id, meter, None)
    if type(estimate) is not int or not 0 < estimate < 2**53:
        estimate = validation.number("estimate", estimate, above_zero=True)
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl < float("inf"):
        raise InvalidArgumentError("ttl", "seconds, more than 0")
    if idempotency_key is not None:
        validation.idempotency_key(idempotency_key)
    if metadata is not None:
        validation.json_object("metadata", metadata)
    return key, estimate
