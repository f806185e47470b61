"""`WebhookReceiver`: from a request's raw body to your handlers, once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping
from datetime import timedelta
from threading import Event, Thread
from typing import Any, TypeAlias, TypeVar, overload

import attrs

from ..core.errors import ConfigError
from ..core.signature import Secrets, SigningSecrets, body_bytes, signing_secrets
from ..resources.event_types import warn_of_unknown
from .claims import EventClaim
from .errors import WebhookPayloadError, WebhookSignatureError
from .events import E, WebhookEvent
from .keys import checked_endpoint, event_keys, identities
from .parsing import CLOCK_SKEW, MONTRA, Age, Source, parse_from, shown
from .stores import Claim, EventStore, checked_seconds

log = logging.getLogger("montra")

LARGEST = 1024 * 1024
OLDEST = timedelta(days=7)
LEASE = 60.0

Handler: TypeAlias = "Callable[[Any], Awaitable[object] | object]"
H = TypeVar("H", bound=Handler)


@attrs.frozen(kw_only=True)
class Reply:
    """What to answer the sender: anything but 2xx makes it send again.

    Attributes:
        status: 200 done, 400 unreadable or too old, 401 not to be believed, 413 too large, 500 a handler failed,
            503 another delivery of the event is being handled right now.
        body: JSON that says so; nothing of the event.
        headers: content type, and `Retry-After` where it helps.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]


class WebhookReceiver:
    """Verifies, remembers and hands over events.

        receiver = WebhookReceiver("whsec_of_the_endpoint", store=SqliteStore("webhooks.db"))

        @receiver.on(CheckoutCompleted)
        async def paid(event: CheckoutCompleted) -> None:
            ...

    An event is handled once, however often it is delivered: it is marked as done after all its handlers have succeeded.
    When one fails, or the process dies, the next delivery is handled again, by all of them; while one is being handled,
    another delivery of it is refused (503), so that the sender comes back.

    Args:
        secret: the endpoint's secret, or several (at most 8) while one is being replaced by another.
        store: what remembers events: `SqliteStore` on one machine, `RedisStore` for several, `MemoryStore` in tests.
        source: `MONTRA` or `PAYWALL`.
        endpoint: a name for what receives here, e.g. the tenant's id. Receivers that share a store keep their events
            apart by source and endpoint; without a name, the secrets tell endpoints apart. Changing the name, or giving
            one later, makes this another endpoint: events that are delivered again are handled again.
        largest: bytes of a body; larger ones are refused unread.
        oldest: how long ago an event may have happened; None for any time. The store must remember for longer than
            this and `clock_skew` together; with None, what was handled is never forgotten.
        clock_skew: how far in the future an event may have happened, because the sender's clock is ahead.
        require_created_at: refuse events that don't say when they happened. Otherwise they are handled, and never
            forgotten: they can't become too old, so that a copy of one must be known at any time.
        lease: seconds after which an event whose process has died may be handled by another one. It is renewed while
            a handler runs.

    Raises:
        ConfigError: a setting can't be right, e.g. there is no secret, or the store forgets too soon.
    """

    def __init__(
        self,
        secret: Secrets,
        *,
        store: EventStore,
        source: Source = MONTRA,
        endpoint: str | None = None,
        largest: int = LARGEST,
        oldest: timedelta | None = OLDEST,
        clock_skew: timedelta = CLOCK_SKEW,
        require_created_at: bool = False,
        lease: float = LEASE,
    ) -> None:
        secrets = signing_secrets(secret)
        del secret  # what is below may raise: a traceback with local variables must not show it
        if not isinstance(source, Source):
            raise TypeError(f"source: MONTRA or PAYWALL, not {source!r:.60}")
        self._source = source
        self._endpoint = checked_endpoint(endpoint)
        self._believe(secrets.checked())
        self._age = Age(most=oldest, skew=clock_skew, required=require_created_at)
        self._store = store
        del store  # an address that holds a password, where a store is wanted, must not be shown either
        self._check_store()
        if isinstance(largest, bool) or not isinstance(largest, int) or largest < 1:
            raise ConfigError("largest: bytes, at least 1")
        self.largest = largest
        self._lease = checked_seconds("lease", lease)
        self._handlers: list[tuple[str, Handler]] = []
        self._under_way: set[asyncio.Task[Reply]] = set()

    def _check_store(self) -> None:
        if isinstance(self._store, type) or not callable(getattr(self._store, "claim", None)):
            kind = "a class" if isinstance(self._store, type) else type(self._store).__name__
            raise TypeError(f"store: something that remembers events, e.g. SqliteStore('events.db'), not {kind}")
        remembered: float | None = getattr(self._store, "remembered", None)
        if remembered is not None and self._age.most is not None:
            needed = self._age.most.total_seconds() + self._age.skew.total_seconds()
            if remembered < needed:
                problem = f"forgets after {remembered:g} s what is taken for {needed:g} s (`oldest` and `clock_skew`)"
                raise ConfigError(f"store: {problem}: events could be handled again")
        if "forever" not in _parameters(self._store.done):
            problem = "its `done` needs a parameter `forever`, for events that don't say when they happened"
            raise TypeError(f"store: {problem}")

    @property
    def secrets(self) -> Secrets:
        """What is believed, each in a `Secret`; may be set, e.g. when a new secret is rolled out to a running
        application. Keep the old one beside it as long as events come that are signed with it."""
        return list(self._secrets.usable)

    @secrets.setter
    def secrets(self, secret: Secrets) -> None:
        secrets = signing_secrets(secret)
        del secret
        self._believe(secrets.checked())

    def _believe(self, secrets: SigningSecrets) -> None:
        self._secrets, self._identities = secrets, identities(self._endpoint, secrets)

    @overload
    def on(self, *events: type[E]) -> Callable[[Callable[[E], Awaitable[object] | object]], Callable[[E], Any]]: ...
    @overload
    def on(self, *events: str) -> Callable[[H], H]: ...
    def on(self, *events: Any) -> Callable[[Any], Any]:
        """Register a handler, a coroutine function or a plain one, for events by class, by type, or `"*"` for all.

        Plain functions run in a thread of their own where an event loop is running, so that they don't stop it.
        """
        types = [one if isinstance(one, str) else self._type_of(one) for one in events]
        if not types:
            raise ValueError('on: say which events, e.g. on("checkout.completed") or on("*")')

        warn_of_unknown(types, self._source.events, where="on", service=self._source.name)

        def register(handler: Handler) -> Handler:
            self._handlers += [(one, handler) for one in types]
            return handler

        return register

    def _type_of(self, event: type[WebhookEvent]) -> str:
        for name, cls in self._source.events.items():
            if cls is event:
                return name
        raise ValueError(f"on: {event!r} is no event of {self._source.name}; for the other service, give source=")

    async def handle(self, raw_body: bytes, headers: Mapping[str, str]) -> Reply:
        """Take a delivery. Never raises for what is in it.

        A request that is cancelled, because its sender lost patience, does not cancel the handlers: they go on, and the
        event is marked as done. They are cancelled when the event loop ends, and the event is delivered again.
        """
        work = asyncio.get_running_loop().create_task(self._handle(raw_body, headers, inline=False))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return await asyncio.shield(work)

    def handle_blocking(self, raw_body: bytes, headers: Mapping[str, str]) -> Reply:
        """Take a delivery where nothing can be awaited. Handlers run in the calling thread, one after the other."""
        return _in_loop_of_its_own(lambda: self._handle(raw_body, headers, inline=True))

    def too_large(self) -> Reply:
        """For adapters that know the size before they have read the body."""
        return _reply(413, "too_large", f"at most {self.largest} bytes")

    def __repr__(self) -> str:
        source: Source | None = getattr(self, "_source", None)  # half built, in a traceback
        return f"<WebhookReceiver of {source and source.name}>"

    def __reduce__(self) -> Any:
        raise TypeError("a receiver can't be pickled: it holds secrets; make it in the process that needs it")

    async def _handle(self, raw_body: bytes, headers: Mapping[str, str], *, inline: bool) -> Reply:
        if isinstance(raw_body, (str, bytes, bytearray)) and len(raw_body) > self.largest:
            return self.too_large()
        body = body_bytes(raw_body)
        if body is not None and len(body) > self.largest:  # text has more bytes than characters
            return self.too_large()
        try:
            event = parse_from(self._source, raw_body if body is None else body, headers, self._secrets, self._age)
        except WebhookSignatureError as error:
            log.warning("a webhook was refused: %s", error)
            return _reply(401, error.reason, error.problem)
        except WebhookPayloadError as error:
            log.warning("a webhook can't be read: %s", error)
            return _reply(400, "unreadable", "not an event, or too old")
        handlers = [handler for wanted, handler in self._handlers if wanted in ("*", event.type)]
        if not handlers:
            return _reply(200, "ignored", "no handler for this type")
        try:
            return await self._once(event, handlers, inline=inline)
        except Exception:
            log.exception("the store of handled events failed at %s", _named(event))
            return _reply(500, "failed", "the store failed")

    async def _once(self, event: WebhookEvent, handlers: list[Handler], *, inline: bool) -> Reply:
        keys = event_keys(self._source.name, self._identities, event.id)
        forever = event.created_at is None or self._age.most is None
        claim = EventClaim(self._store, keys, self._lease, forever=forever)
        outcome = await claim.take()
        if outcome is Claim.DONE:
            return _reply(200, "duplicate", "handled before")
        if outcome is Claim.BUSY:
            return _reply(503, "busy", "being handled right now", retry_after=1)
        with self._kept(claim, event, inline=inline):
            try:
                for handler in handlers:
                    await _call(handler, event, inline=inline)
            except Exception:
                log.exception("a handler of %s failed; it will be delivered again", _named(event))
                await claim.release()
                return _reply(500, "failed", "a handler failed")
            except BaseException as error:
                if _is_of_the_handler(error):
                    log.exception("a handler of %s was cancelled; it will be delivered again", _named(event))
                    await claim.release()
                    return _reply(500, "failed", "a handler failed")
                await _at_the_end(claim.release(insist=False))
                raise
            return await self._mark(claim, event)

    async def _mark(self, claim: EventClaim, event: WebhookEvent) -> Reply:
        """It is handled: remember it. When that fails for good, it may be delivered, and handled, again."""
        try:
            if not await claim.done():
                log.warning("%s took longer than its lease, and may have been handled twice", _named(event))
        except Exception:
            log.exception(
                "%s was handled, but the store failed: if it comes again, so will its handlers", _named(event)
            )
            return _reply(200, "done", "handled, but could not be remembered")
        except BaseException:  # the loop or the process is ending
            await _at_the_end(claim.done(insist=False))
            raise
        return _reply(200, "done", "handled")

    @contextlib.contextmanager
    def _kept(self, claim: EventClaim, event: WebhookEvent, *, inline: bool) -> Generator[None]:
        """Renew the claim while the handlers run; from a thread where they block the loop."""

        async def renew() -> float:
            """Seconds until the next time."""
            try:
                if not await claim.renew():
                    log.warning("the claim of %s was lost while its handlers run", _named(event))
            except Exception:
                log.exception("the claim of %s could not be renewed; trying again", _named(event))
                return self._lease / 10
            return self._lease / 3

        async def renew_in_task() -> None:
            pause = self._lease / 3
            while True:
                await asyncio.sleep(pause)
                pause = await renew()

        def renew_in_thread() -> None:
            pause = self._lease / 3
            while not over.wait(pause):
                pause = asyncio.run(renew())

        if inline:
            over = Event()
            Thread(target=renew_in_thread, name="montra-webhook-lease", daemon=True).start()
            stop: Callable[[], object] = over.set
        else:
            stop = asyncio.get_running_loop().create_task(renew_in_task()).cancel
        try:
            yield
        finally:
            stop()


def _parameters(function: Callable[..., Any]) -> Collection[str]:
    """Names of a function's parameters; `forever` is among them if any keyword is taken."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ["forever"]
    return [*(one.name for one in found), *("forever" for one in found if one.kind is one.VAR_KEYWORD)]


def _named(event: WebhookEvent) -> str:
    return f"{shown(event.type)} {shown(event.id)}"


def _is_of_the_handler(error: BaseException) -> bool:
    """Has a handler let out a cancellation of its own, though nobody cancelled us? (Python 3.10 can't tell.)"""
    task: Any = asyncio.current_task()
    cancelling = getattr(task, "cancelling", None)
    return isinstance(error, asyncio.CancelledError) and cancelling is not None and cancelling() == 0


async def _at_the_end(mark: Coroutine[Any, Any, object]) -> None:
    """Tell the store what has become of an event while the loop, or the process, ends; its failures end nothing."""
    with contextlib.suppress(Exception):
        await asyncio.shield(asyncio.ensure_future(mark))


async def _call(handler: Handler, event: WebhookEvent, *, inline: bool) -> None:
    if inline or inspect.iscoroutinefunction(handler):
        result = handler(event)
    else:
        result = await _in_thread(handler, event)
    if inspect.isawaitable(result):
        await result


async def _in_thread(handler: Handler, event: WebhookEvent) -> object:
    """A thread can't be cancelled: wait for it in any case, so that nobody handles the event beside it.

    A future of the executor, not a task of `asyncio.to_thread`: a loop that ends cancels its tasks, and would say that
    the work has ended when it has not.
    """
    context = contextvars.copy_context()
    work = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(_called, handler, event))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def _called(handler: Handler, event: WebhookEvent) -> object:
    try:
        return handler(event)
    except StopIteration as error:  # which no future can hold
        raise RuntimeError("the handler raised StopIteration") from error


def _reply(status: int, outcome: str, words: str, *, retry_after: int | None = None) -> Reply:
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Reply(status=status, body=json.dumps({"status": outcome, "detail": words}).encode(), headers=headers)


def _in_loop_of_its_own(work: Callable[[], Any]) -> Reply:
    async def run() -> Reply:
        reply: Reply = await work()
        return reply

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    # A loop is running in this thread (a notebook, a test): the work needs a thread without one.
    found: list[Reply | BaseException] = []

    def elsewhere() -> None:
        try:
            found.append(asyncio.run(run()))
        except BaseException as error:
            found.append(error)

    thread = Thread(target=contextvars.copy_context().run, args=(elsewhere,))
    thread.start()
    thread.join()
    [result] = found
    if isinstance(result, BaseException):
        raise result
    return result
