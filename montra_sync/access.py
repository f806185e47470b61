"""`Access` for synchronous code. By hand: answers and holds are in memory, and only a question to the service needs the
event loop of synchronous calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from montra_async import ConfigError, MontraError
from montra_async.access import (
    AccessDecision,
    AccessDeniedError,
    AccessError,
    AccessSource,
    AccessUnavailableError,
    HoldEndedError,
    LimitExceededError,
    OnUnavailable,
    RedisAnswers,
    RedisHolds,
)
from montra_async.access.base import EXPIRED, BaseAccess, checked_hold, checked_key
from montra_async.access.compatibility import check_parts
from montra_async.access.decision import FEATURE, METER, Key
from montra_async.access.fleet import Fleet
from montra_async.access.numbers import exact_sum
from montra_async.access.reservation import Reservation
from montra_async.access.settings import AccessSettings
from montra_async.access.shared_answers import SharedAnswers
from montra_async.access.watching import watched
from montra_async.core import validation
from montra_async.core.compat import Self
from montra_async.core.validation import Number
from montra_async.usage import OutboxError, UsageObserver

from .client import Montra
from .facade import SyncOnly
from .portal import post, run, unwrap

__all__ = [
    "Access",
    "AccessDecision",
    "AccessDeniedError",
    "AccessError",
    "AccessSource",
    "AccessUnavailableError",
    "Hold",
    "HoldEndedError",
    "LimitExceededError",
    "OnUnavailable",
    "RedisAnswers",
    "RedisHolds",
]


class UsageRecorder(Protocol):
    """What `Access` uses of a `montra_sync.usage.UsageReporter`."""

    def record(
        self,
        customer_id: str,
        meter_slug: str,
        *,
        amount: Number = 1,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Record usage."""
        ...

    def add_observer(self, observer: UsageObserver) -> None:
        """Tell an observer of every event."""
        ...

    def remove_observer(self, observer: UsageObserver) -> None:
        """Tell an observer no longer."""
        ...


class Hold(Reservation, SyncOnly):
    """Units of a meter that are held for one customer. Made by `Access.hold`; use it once.

        with access.hold("cust_1", "api-tokens", estimate=2000) as hold:
            reply = model(...)
            hold.amount = reply.tokens

    Entering or acquiring it again, also in another thread, raises a `HoldEndedError`. So does entering one that was
    acquired and has expired since.

    At the end of the block, the rest of the units is released, and `amount` is recorded through the reporter. After an
    exception, all units are released and nothing is recorded, unless `record_on_error` is set and `amount` was set.

    Without a block: `hold = access.hold(...).acquire()`, and later `hold.settle()` or `hold.release()`. Such a hold
    loses its units when `ttl` has passed since it was made or renewed. What it used can still be recorded then.
    """

    __slots__ = ("_access",)

    _HOW = "use it in `with`, or get it with `hold = access.hold(...).acquire()`"

    _access: Access

    def acquire(self) -> Self:
        """Hold the units.

        Raises:
            LimitExceededError: fewer units are free.
            AccessDeniedError: the customer has no access.
            AccessUnavailableError: the service can't be asked, and `on_unavailable` is `raise`.
            HoldEndedError: the hold was used already.
        """
        self.begin()
        self._reserve()
        return self

    def _reserve(self) -> None:
        try:
            self._access.reserve(self)
        except BaseException:
            self.begin_again()
            raise

    def __enter__(self) -> Self:
        if self.begin_block():
            self._reserve()
        else:  # `with access.hold(...).acquire()` has reserved already
            self._access.begin_anew(self)
        self.renews = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.state != "open":  # settled or released inside the block
            return
        if error is None or (self.record_on_error and self.amount_is_set):
            self._access.settle(self, self.amount)
        else:
            self._access.release(self)

    def settle(self, amount: Number | None = None) -> None:
        """Release the rest of the units and record what was used. Returns when the usage is durable.

        If this raises, nothing is recorded, and it may be called again.

        Args:
            amount: number of units that were used, at least 0; may be more than the estimate. Default: `hold.amount`.

        Raises:
            HoldEndedError: the hold was settled or released already.
            InvalidArgumentError: the amount is invalid.
            UsageError: the usage can't be recorded.
        """
        self._access.settle(self, self.amount_to_settle(amount))

    def release(self) -> None:
        """Release all units and record nothing. Does nothing when the hold has ended."""
        self._access.release(self)

    def extend(self, more: Number) -> None:
        """Hold more units.

        Args:
            more: number of units, more than 0.

        Raises:
            LimitExceededError: there are not so many. The hold keeps those that it has.
            HoldEndedError: the hold has ended or expired.
        """
        self._access.extend(self, validation.number("more", more, above_zero=True))

    def renew(self) -> None:
        """Begin the hold's life anew: it lasts `ttl` seconds from now. Inside its block, it renews itself.

        Raises:
            HoldEndedError: the hold has ended or expired.
        """
        self._access.renew(self)


class Access(BaseAccess, SyncOnly):
    """Answers "may this customer?" from memory, and holds units whose cost is known only afterwards.

        access = Access(montra, usage)

        if access.check("cust_1", feature="sso"): ...

        with access.hold("cust_1", "api-tokens", estimate=2000) as hold:
            reply = model(...)
            hold.amount = reply.tokens

    Create one and keep it, like the client. It works in threads, and before and after a fork: a child has its own
    holds, and asks the service itself.

    What is recorded with `usage` counts at once, and concurrent holds never exceed a limit together with it, within
    this process. Several processes that must not exceed a limit together need `fleet`. So do several that share an
    outbox: without `fleet`, what one of them sends for another counts as its own, and up to as much of its own usage as
    waits in the outbox is not counted meanwhile.

    Args:
        montra: the client that asks the service, a `montra_sync.Montra`. A `montra_async.Montra` without `session=`
            works too: its requests run on the event loop of synchronous calls.
        usage: the `montra_sync.usage.UsageReporter` that records what holds used, and tells of all usage that is
            recorded with it. Default: none; then `hold` can't be used.
        ttl: seconds for which a "yes" is used without asking again. Default: 30.
        deny_ttl: seconds for which a "no" is used without asking again. Default: 5.
        stale_ttl: seconds after `ttl` in which a "yes" is still given at once, as `stale`, while the service is asked
            in the background. Default: 60.
        max_stale: maximum age in seconds of an answer that is used when the service can't be asked. Default: 3,600.
        on_unavailable: what to decide when the service can't be asked and there is no such answer: `deny`, `allow` or
            `raise` (`AccessUnavailableError`). Default: `deny`.
        timeout: seconds that a caller waits for the service. Default: 5.
        max_entries: maximum number of answers in memory; those that are used least recently go first. Default: 10,000.
        hold_ttl: seconds after which a hold that is neither settled nor renewed loses its units. Default: 600.
        local_usage_ttl: seconds after which recorded usage counts as known to the service, although no delivery was
            seen: because another process sends it. Each answer after that time takes it off. It must be longer than
            usage can wait there. Default: 3,600.
        fleet: `RedisHolds`, for processes that must not exceed a limit together, given a URL: its connections belong
            to the event loop of synchronous calls. Default: none. Decisions are from this process's memory all the
            same, and don't count what others hold. If Redis can't be used, `on_unavailable` decides; with `allow`,
            this process counts alone.
        shared_answers: `RedisAnswers`, for processes that share what they know of access, and tell each other of
            changes; given a URL, too. Default: none.
        clock: seconds, never goes back. Default: `time.monotonic`; for tests.

    Raises:
        ConfigError: a setting is invalid, or `montra` or `usage` is of another class, e.g. an asynchronous reporter.
    """

    def __init__(
        self,
        montra: Montra,
        usage: UsageRecorder | None = None,
        *,
        ttl: float = 30.0,
        deny_ttl: float = 5.0,
        stale_ttl: float = 60.0,
        max_stale: float = 3600.0,
        on_unavailable: OnUnavailable = "deny",
        timeout: float = 5.0,
        max_entries: int = 10_000,
        hold_ttl: float = 600.0,
        local_usage_ttl: float = 3600.0,
        fleet: RedisHolds | None = None,
        shared_answers: RedisAnswers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = AccessSettings(
            ttl=ttl,
            deny_ttl=deny_ttl,
            stale_ttl=stale_ttl,
            max_stale=max_stale,
            on_unavailable=on_unavailable,
            timeout=timeout,
            max_entries=max_entries,
            hold_ttl=hold_ttl,
            local_usage_ttl=local_usage_ttl,
        )
        check_parts("montra_sync", montra, usage)
        self._set_up(unwrap(montra), settings, clock)
        if shared_answers is not None:
            self._checker.shared = SharedAnswers(shared_answers, self._ledger, self._base_url, post)
        self._usage = usage
        self._fleet = None if fleet is None else Fleet(fleet, self._ledger, self._checker, post)
        if usage is not None:
            usage.add_observer(self)

    def check(self, customer_id: str, *, meter: str | None = None, feature: str | None = None) -> AccessDecision:
        """Whether a customer may use more of a meter, or has a feature. Asks the service if nothing recent is known.

        Concurrent calls for the same ask once.

        Args:
            customer_id: `cust_...`.
            meter: slug of a meter.
            feature: slug of a feature. Give either.

        Returns:
            The decision. It is true in a condition if access is allowed.

        Raises:
            InvalidArgumentError: an argument is invalid.
            NotFoundError: the customer or the meter does not exist.
            ApiError: the service refuses the question, e.g. because of the key, and there is no usable answer.
            AccessUnavailableError: the service can't be asked, there is no usable answer, and `on_unavailable` is
                `raise`.
        """
        key = (customer_id, METER, meter) if feature is None else (customer_id, FEATURE, feature)
        try:
            found = self._answers[key]  # type: ignore[index]  # pyright: ignore[reportArgumentType]
        except (KeyError, TypeError):  # TypeError: not hashable
            found = None
        if found is not None and self._clock() < found.fresh_until and (meter is None or feature is None):
            found.used = True
            return found
        return self._check(checked_key(customer_id, meter, feature))

    def _check(self, key: Key) -> AccessDecision:
        found = self._ledger.find(key)
        now = self._clock()
        if found is not None and now < found.fresh_until:
            return found
        if found is not None and self._checker.may_be_stale(found, now):
            self._start(key)
            return found.replace(source="stale")
        return run(self._checker.check, key)

    def _start(self, key: Key) -> None:
        post(partial(self._checker.start, key))

    def hold(
        self,
        customer_id: str,
        meter: str,
        *,
        estimate: Number = 1,
        ttl: float | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        record_on_error: bool = False,
    ) -> Hold:
        """Hold units of a meter, with `with` or `acquire`.

        Args:
            customer_id: `cust_...`.
            meter: slug of the meter.
            estimate: number of units to hold, more than 0: what the work will probably cost at most. Default: 1.
            ttl: seconds after which the hold loses its units, unless it is renewed; inside its block it renews itself.
                Default: the setting `hold_ttl`.
            idempotency_key: key of the usage, e.g. the id of a job that may run twice; 1 to 255 printable ASCII
                characters without spaces. Such usage is sent on its own. Default: none; the reporter makes a key, and
                may add the usage up with other usage.
            metadata: metadata of the usage. Default: none.
            record_on_error: whether `amount`, if it was set, is recorded also after an exception. Default: False.

        Raises:
            InvalidArgumentError: an argument is invalid.
            ConfigError: this object was made without `usage`.
        """
        if self._usage is None:
            raise ConfigError("usage: hold needs a UsageReporter, which records what was used: Access(montra, usage)")
        life = self._settings.hold_ttl if ttl is None else ttl
        key, exact = checked_hold(customer_id, meter, estimate, life, idempotency_key, metadata)
        hold = Hold(
            key,
            exact,
            life,
            idempotency_key=idempotency_key,
            metadata=metadata,
            record_on_error=record_on_error,
        )
        hold._access = self  # pyright: ignore[reportPrivateUsage]
        return hold

    def watch(self, montra: Montra) -> Montra:
        """A view of a client whose writes invalidate the access that they change.

        Writes of subscriptions and customers invalidate one customer; those of features, meters, products and pricing
        models invalidate all. The client itself does not change; the view shares its connections.

        Args:
            montra: the client.
        """
        return montra._view(watched(unwrap(montra), self._changed))  # pyright: ignore[reportPrivateUsage]

    # What holds call

    def reserve(self, hold: Hold) -> None:
        """Reserve the units of a new hold. Called by `Hold`.

        Args:
            hold: the hold.

        Raises:
            AccessDeniedError: there are not so many.
        """
        if self._fleet is not None:
            try:
                run(self._fleet.reserve, hold, hold.estimate)
            except AccessUnavailableError as error:
                self._count_alone(hold, error)
            else:
                return
        if not self._ledger.reserve(hold, self._clock()):
            self._reserve(hold, hold.estimate, self._ledger.reserve)

    def extend(self, hold: Hold, amount: int | Decimal) -> None:
        """Reserve more units. Called by `Hold`.

        Args:
            hold: the hold.
            amount: number of units.

        Raises:
            AccessDeniedError: there are not so many.
            HoldEndedError: the hold has ended or expired.
        """
        fleet = self._fleet_of(hold)
        if fleet is not None:
            hold.check_open(self._ledger.epoch)
            run(fleet.reserve, hold, exact_sum(hold.estimate, amount))
            return
        self._reserve(hold, amount, self._extending(amount))

    def _reserve(self, hold: Hold, amount: int | Decimal, attempt: Callable[..., bool | None]) -> None:
        """Reserve, and ask the service if the answer is too old, or if a newer one could free units."""
        fits = attempt(hold, self._clock())
        if fits is None:
            self._refuse_fallback(hold, self._check(hold.key))
            fits = attempt(hold, self._clock(), force=True)
        if not fits and self._ledger.may_gain(hold.key, self._clock()):
            run(self._checker.ask, hold.key, of_service=True)
            fits = attempt(hold, self._clock(), force=True)
        if not fits:
            raise self._denied(hold, amount)

    def settle(self, hold: Hold, used: int | Decimal) -> None:
        """Record what a hold used, and release the rest. Called by `Hold`.

        Args:
            hold: the hold.
            used: number of units.

        Raises:
            HoldEndedError: the hold has ended.
            UsageError: the usage can't be recorded.
        """
        hold.check_open(self._ledger.epoch)
        if not used:
            self.release(hold)
            return
        fleet = self._fleet_of(hold)
        if fleet is not None:
            self._settle_in_fleet(fleet, hold, used)
            return
        hold.state = "settling"
        self._ledger.begin_settling(hold, used)
        try:
            self._record(hold, used)
        except OutboxError:  # the ledger was told that it was recorded, and that it failed
            hold.state = "open"
            raise
        except MontraError:
            hold.state = "open"
            self._ledger.cancel_settling(hold, used)
            raise
        except Exception:  # a recorder's own error: what it has told counts, and the hold ends
            hold.state = "ended"
            self._ledger.cancel_settling(hold, used)
            raise
        except BaseException:  # Ctrl-C, for one: it may be recorded
            hold.state = "ended"
            raise
        hold.state = "ended"

    def _record(self, hold: Hold, used: int | Decimal) -> None:
        usage = self._usage
        assert usage is not None
        customer_id, _, slug = hold.key
        usage.record(customer_id, slug, amount=used, metadata=hold.metadata, idempotency_key=hold.idempotency_key)

    def _settle_in_fleet(self, fleet: Fleet, hold: Hold, used: int | Decimal) -> None:
        """Record first: the hold stays until the usage is durable, whatever happens to Redis or this process."""
        hold.state = "settling"
        fleet.expect(hold.key, used)
        try:
            self._record(hold, used)
        except MontraError:
            fleet.not_recorded(hold.key, used)
            hold.state = "open"
            fleet.stop_renewing(hold)
            raise
        except BaseException:  # Ctrl-C, for one: it may be recorded
            hold.state = "ended"
            fleet.handed_over(hold.key, used)
            post(partial(fleet.end_later, hold, used))
            raise
        fleet.settled(hold.key, used)
        hold.state = "ended"
        run(fleet.end, hold, used)

    def release(self, hold: Hold) -> None:
        """Release a hold's units. Called by `Hold`.

        Args:
            hold: the hold.
        """
        if hold.state == "open":
            fleet = self._fleet_of(hold)
            hold.state = "ended"
            if fleet is None:
                self._ledger.settle(hold, 0)
            elif hold.epoch == self._ledger.epoch:
                run(fleet.end, hold, 0)

    def renew(self, hold: Hold) -> None:
        """Begin a hold's life anew. Called by `Hold`.

        Args:
            hold: the hold.

        Raises:
            HoldEndedError: the hold has ended or expired.
        """
        fleet = self._fleet_of(hold)
        if fleet is None:
            self.begin_anew(hold)
            return
        self._check_live(hold, self._clock())
        if not run(fleet.renew, hold):
            raise HoldEndedError(EXPIRED)
        hold.expires_at = self._clock() + hold.ttl

    # Life

    def close(self) -> None:
        """Stop observing the reporter. The client and the reporter stay open."""
        if self._usage is not None:
            self._usage.remove_observer(self)
        if self._fleet is not None:
            run(self._fleet.aclose)
        if self._checker.shared is not None:
            run(self._checker.shared.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
