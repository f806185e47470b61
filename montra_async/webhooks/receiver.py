"""`WebhookReceiver`: from a request's raw body to your handlers, once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import timedelta
from threading import Event, Thread
from typing import Any, TypeAlias, TypeVar, overload

import attrs

from .errors import WebhookPayloadError, WebhookSignatureError
from .events import E, WebhookEvent
from .parsing import MONTRA, Secrets, Source, checked_secrets, parse_from
from .stores import Claim, EventStore, new_token

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

        receiver = WebhookReceiver("whsec_...", store=SqliteStore("webhooks.db"))

        @receiver.on(CheckoutCompleted)
        async def paid(event: CheckoutCompleted) -> None:
            ...

    An event is handled once, however often it is delivered: it is marked as done after all its handlers have succeeded.
    When one fails, or the process dies, the next delivery is handled again, by all of them; while one is being handled,
    another delivery of it is refused (503), so that the sender comes back.

    Args:
        secret: the endpoint's secret, or several while one is being replaced by another.
        store: what remembers events: `SqliteStore` on one machine, `RedisStore` for several, `MemoryStore` in tests.
        source: `MONTRA` or `PAYWALL`.
        largest: bytes of a body; larger ones are refused unread.
        oldest: how long ago an event may have happened; None for any time. Longer than the store remembers is unwise.
        lease: seconds after which an event whose process has died may be handled by another one. It is renewed while
            a handler runs.
    """

    def __init__(
        self,
        secret: Secrets,
        *,
        store: EventStore,
        source: Source = MONTRA,
        largest: int = LARGEST,
        oldest: timedelta | None = OLDEST,
        lease: float = LEASE,
    ) -> None:
        self.secrets = secret
        if isinstance(store, type) or not callable(getattr(store, "claim", None)):
            raise TypeError(f"store: something that remembers events, e.g. SqliteStore('events.db'), not {store!r}")
        self._store = store
        self._source = source
        self.largest = largest
        self._oldest = oldest
        self._lease = lease
        self._handlers: list[tuple[str, Handler]] = []
        self._under_way: set[asyncio.Task[Reply]] = set()

    @property
    def secrets(self) -> Secrets:
        """What is believed; may be set, e.g. when a new secret is rolled out to a running application."""
        return list(self._secrets)

    @secrets.setter
    def secrets(self, secret: Secrets) -> None:
        self._secrets = checked_secrets(secret)

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

        for unknown in [one for one in types if one != "*" and one not in self._source.events]:
            log.warning("on: this SDK knows no event %r of %s; is it spelt right?", unknown, self._source.name)

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

    async def _handle(self, raw_body: bytes, headers: Mapping[str, str], *, inline: bool) -> Reply:
        if len(raw_body) > self.largest:
            return self.too_large()
        try:
            event = parse_from(self._source, raw_body, headers, self._secrets, max_age=self._oldest)
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
            log.exception("the store of handled events failed at %s %s", event.type, event.id)
            return _reply(500, "failed", "the store failed")

    async def _once(self, event: WebhookEvent, handlers: list[Handler], *, inline: bool) -> Reply:
        token = new_token()
        claim = await self._store.claim(event.id, token, self._lease)
        if claim is Claim.DONE:
            return _reply(200, "duplicate", "handled before")
        if claim is Claim.BUSY:
            return _reply(503, "busy", "being handled right now", retry_after=1)
        try:
            with self._kept(event.id, token, inline=inline):
                for handler in handlers:
                    await _call(handler, event, inline=inline)
        except Exception:
            log.exception("a handler of %s %s failed; it will be delivered again", event.type, event.id)
            await self._store.release(event.id, token)
            return _reply(500, "failed", "a handler failed")
        except BaseException:  # the loop or the process is ending
            await asyncio.shield(self._store.release(event.id, token))
            raise
        if not await self._store.done(event.id, token):
            log.warning("%s %s took longer than its lease, and may have been handled twice", event.type, event.id)
        return _reply(200, "done", "handled")

    @contextlib.contextmanager
    def _kept(self, event_id: str, token: str, *, inline: bool) -> Generator[None]:
        """Renew the claim while the handlers run; from a thread where they block the loop."""

        async def renew() -> None:
            try:
                await self._store.renew(event_id, token, self._lease)
            except Exception:
                log.exception("the claim of event %s could not be renewed; trying again", event_id)

        async def renew_in_task() -> None:
            while True:
                await asyncio.sleep(self._lease / 3)
                await renew()

        def renew_in_thread() -> None:
            while not over.wait(self._lease / 3):
                asyncio.run(renew())

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
    work = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(handler, event))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


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
