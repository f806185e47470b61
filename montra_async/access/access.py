"""`Access`: whether a customer may, at memory speed, and holds that keep concurrent requests below a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol

from ..client import Montra
from ..core.compat import Self
from ..core.errors import ConfigError, MontraError
from ..core.hints import AsyncOnly
from ..core.validation import Number
from ..usage.errors import OutboxError
from ..usage.observer import UsageObserver
from .base import EXPIRED, BaseAccess, checked_hold, checked_key
from .compatibility import check_parts
from .decision import FEATURE, METER, AccessDecision
from .errors import AccessUnavailableError, HoldEndedError
from .fleet import Fleet
from .hold import Hold
from .numbers import exact_sum
from .redis_answers import RedisAnswers
from .redis_holds import RedisHolds
from .settings import AccessSettings, OnUnavailable
from .shared_answers import SharedAnswers
from .watching import watched


class UsageRecorder(Protocol):
    """What `Access` uses of a `montra_async.usage.UsageReporter`."""

    async def record(
        self,
        customer_id: str,
        meter_slug: str,
        *,
        amount: Number = 1,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Record usage. Hands the event over before it waits for anything, so that a cancellation does not lose it."""
        ...

    def add_observer(self, observer: UsageObserver) -> None:
        """Tell an observer of every event."""
        ...

    def remove_observer(self, observer: UsageObserver) -> None:
        """Tell an observer no longer."""
        ...


class Access(BaseAccess, AsyncOnly):
    """Answers "may this customer?" from memory, and holds units whose cost is known only afterwards.

        access = Access(montra, usage)

        if await access.check("cust_1", feature="sso"): ...

        async with access.hold("cust_1", "api-tokens", estimate=2000) as hold:
            reply = await model(...)
            hold.amount = reply.tokens

    Create one and keep it, like the client. It works on every event loop and in threads, and after a fork: a child has
    its own holds, and asks the service itself.

    What is recorded with `usage` counts at once, and concurrent holds never exceed a limit together with it, within
    this process. Several processes that must not exceed a limit together need `fleet`. So do several that share an
    outbox: without `fleet`, what one of them sends for another counts as its own, and up to as much of its own usage as
    waits in the outbox is not counted meanwhile.

    Args:
        montra: the client that asks the service, a `montra_async.Montra`.
        usage: the `montra_async.usage.UsageReporter` that records what holds used, and tells of all usage that is
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
        fleet: `RedisHolds`, for processes that must not exceed a limit together. Default: none. Decisions are from
            this process's memory all the same, and don't count what others hold. If Redis can't be used,
            `on_unavailable` decides; with `allow`, this process counts alone.
        shared_answers: `RedisAnswers`, for processes that share what they know of access, and tell each other of
            changes. Default: none.
        clock: seconds, never goes back. Default: `time.monotonic`; for tests.

    Raises:
        ConfigError: a setting is invalid, or `montra` or `usage` is of another class, e.g. of `montra_sync`.
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
        check_parts("montra_async", montra, usage)
        self._set_up(montra, settings, clock)
        if shared_answers is not None:
            self._checker.shared = SharedAnswers(shared_answers, self._ledger, self._base_url)
        self._usage = usage
        self._fleet = None if fleet is None else Fleet(fleet, self._ledger, self._checker)
        if usage is not None:
            usage.add_observer(self)

    async def check(self, customer_id: str, *, meter: str | None = None, feature: str | None = None) -> AccessDecision:
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
        return await self._checker.check(checked_key(customer_id, meter, feature))

    def _start(self, key: tuple[str, str, str]) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self._checker.start(key)

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
        """Hold units of a meter, for `async with` or `await`.

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

        Raises (when it is entered or awaited):
            LimitExceededError: fewer units are free.
            AccessDeniedError: the customer has no access, e.g. no plan.
            AccessUnavailableError: the service can't be asked, and `on_unavailable` is `raise`.

        Raises:
            InvalidArgumentError: an argument is invalid.
            ConfigError: this object was made without `usage`.
        """
        if self._usage is None:
            raise ConfigError("usage: hold needs a UsageReporter, which records what was used: Access(montra, usage)")
        life = self._settings.hold_ttl if ttl is None else ttl
        key, exact = checked_hold(customer_id, meter, estimate, life, idempotency_key, metadata)
        return Hold(
            self,
            key,
            exact,
            life,
            idempotency_key=idempotency_key,
            metadata=metadata,
            record_on_error=record_on_error,
        )

    def watch(self, montra: Montra) -> Montra:
        """A view of a client whose writes invalidate the access that they change.

            montra = access.watch(montra)
            await montra.create_subscription("cust_1", "pm_pro")   # the next check asks the service

        Writes of subscriptions and customers invalidate one customer; those of features, meters, products and pricing
        models invalidate all. The client itself does not change; the view shares its connections.

        Args:
            montra: the client.
        """
        return watched(montra, self._changed)

    # What holds call

    def try_reserve(self, hold: Hold) -> bool:
        """Reserve the units of a new hold, if that can be decided without waiting. Called by `Hold`.

        Args:
            hold: the hold.
        """
        return self._fleet is None and bool(self._ledger.reserve(hold, self._clock()))

    async def reserve(self, hold: Hold) -> None:
        """Reserve the units of a new hold. Called by `Hold`.

        Args:
            hold: the hold.

        Raises:
            AccessDeniedError: there are not so many.
        """
        if self._fleet is not None:
            try:
                await self._fleet.reserve(hold, hold.estimate)
            except AccessUnavailableError as error:
                self._count_alone(hold, error)
            else:
                return
        await self._reserve(hold, hold.estimate, self._ledger.reserve)

    async def extend(self, hold: Hold, amount: int | Decimal) -> None:
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
            await fleet.reserve(hold, exact_sum(hold.estimate, amount))
            return
        await self._reserve(hold, amount, self._extending(amount))

    async def _reserve(self, hold: Hold, amount: int | Decimal, attempt: Callable[..., bool | None]) -> None:
        """Reserve, and ask the service if the answer is too old, or if a newer one could free units."""
        ledger, key = self._ledger, hold.key
        fits = attempt(hold, self._clock())
        if fits is None:
            self._refuse_fallback(hold, await self._checker.check(key))
            fits = attempt(hold, self._clock(), force=True)
        if not fits and ledger.may_gain(key, self._clock()):
            await self._checker.ask(key, of_service=True)
            fits = attempt(hold, self._clock(), force=True)
        if not fits:
            raise self._denied(hold, amount)

    async def settle(self, hold: Hold, used: int | Decimal) -> None:
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
            await self.release(hold)
            return
        fleet = self._fleet_of(hold)
        if fleet is not None:
            await self._settle_in_fleet(fleet, hold, used)
            return
        hold.state = "settling"
        self._ledger.begin_settling(hold, used)
        try:
            await self._record(hold, used)
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
        except BaseException:
            # The event was handed over before the reporter began to wait. The hold ends when it is recorded.
            hold.state = "ended"
            raise
        hold.state = "ended"

    async def _record(self, hold: Hold, used: int | Decimal) -> None:
        usage = self._usage
        assert usage is not None
        customer_id, _, slug = hold.key
        await usage.record(customer_id, slug, amount=used, metadata=hold.metadata, idempotency_key=hold.idempotency_key)

    async def _settle_in_fleet(self, fleet: Fleet, hold: Hold, used: int | Decimal) -> None:
        """Record first: the hold stays until the usage is durable, whatever happens to Redis or this process."""
        hold.state = "settling"
        fleet.expect(hold.key, used)
        try:
            await self._record(hold, used)
        except MontraError:
            fleet.not_recorded(hold.key, used)
            hold.state = "open"
            fleet.stop_renewing(hold)
            raise
        except BaseException:  # it was handed over
            hold.state = "ended"
            fleet.handed_over(hold.key, used)
            fleet.end_later(hold, used)
            raise
        fleet.settled(hold.key, used)
        hold.state = "ended"
        await fleet.end(hold, used)

    async def release(self, hold: Hold) -> None:
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
                await fleet.end(hold, 0)

    async def renew(self, hold: Hold) -> None:
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
        if not await fleet.renew(hold):
            raise HoldEndedError(EXPIRED)
        hold.expires_at = self._clock() + hold.ttl

    # Life

    async def aclose(self) -> None:
        """Stop asking the service on this event loop, and stop observing the reporter.

        The client and the reporter stay open.
        """
        if self._usage is not None:
            self._usage.remove_observer(self)
        if self._fleet is not None:
            await self._fleet.aclose()
        await self._checker.aclose()
        if self._checker.shared is not None:
            await self._checker.shared.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
