"""`WebhookReceiver`: from a request's raw body to your handlers, once per event."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, TypeVar, overload

from ..core.durations import CLOCK_SKEW, Duration, positive_seconds
from ..core.errors import ConfigError
from ..resources.event_types import warn_of_unknown
from .async_store import AsyncStoreAdapter
from .claims import EventClaim, event_keys, namespaces, validated_namespace
from .errors import WebhookPayloadError, WebhookSignatureError
from .parsing import MONTRA, Source, age_limit, parse_from
from .processing import Delivery, Handler, Reply, make_reply, process, process_blocking
from .signature import Secrets, SigningSecrets, body_bytes, signing_secrets
from .store_access import store_access
from .stores import STORE_METHODS, DeduplicationStore
from .webhook_event import E, WebhookEvent

log: logging.Logger = logging.getLogger("montra")

MAX_BODY_SIZE = 1024 * 1024
MAX_AGE = timedelta(days=7)
CLAIM_TTL = timedelta(seconds=60)

H = TypeVar("H", bound=Handler)


class WebhookReceiver:
    """Verifies webhooks and calls your handlers once for each event.

        receiver = WebhookReceiver("whsec_of_the_endpoint", store=SqliteStore("webhooks.db"))

        @receiver.on(CheckoutCompleted)
        async def paid(event: CheckoutCompleted) -> None:
            ...

    However often an event is delivered, it is handled once: it is marked as done after all its handlers have succeeded.
    When a handler fails or the process dies, the next delivery is handled by all of them again. While a delivery is
    being handled, other deliveries of the same event get a 503 response, so that the sender comes back.

    Args:
        secret: the endpoint's secret, or several (at most 8) during a rotation.
        store: records which events have been handled: `SqliteStore` on one machine, `RedisStore` for several,
            `MemoryStore` in tests, or a `DeduplicationStore` of yours. A store with coroutine functions is wrapped in
            `AsyncStoreAdapter`.
        source: `MONTRA` or `PAYWALL`. Default: `MONTRA`.
        namespace: a name, e.g. the tenant's id, that keeps this receiver's events apart from those of others with the
            same store. Changing the name, or adding one later, has events that are delivered again handled again.
            Default: None, the secrets keep the events of receivers apart.
        max_body_size: bytes; larger bodies are refused unread. Default: 1 MiB.
        max_age: the greatest age of an event, as a timedelta or seconds; None for any age. The store's retention must
            be at least `max_age` and `clock_skew` together; with None, handled events are never forgotten. With the
            environment variable `MONTRA_SANDBOX=1`, and no live key, any age is accepted. Default: 7 days.
        clock_skew: how far in the future `created_at` may lie, because the sender's clock is ahead, as a timedelta or
            seconds. Default: 5 minutes.
        require_created_at: refuse events without `created_at`. Otherwise they are handled and never forgotten: they
            can't become too old, so that a copy of one must be recognized at any time. Default: False.
        claim_ttl: how long a claim lasts without being renewed, as a timedelta or seconds: an event whose process has
            died may be handled by another one after this time. Claims are renewed while handlers run. Default: 60 s.

    Raises:
        ConfigError: a setting is not valid, e.g. there is no secret, or the store forgets too soon.
        TypeError: `store` is not a store, or `source` not a source.
    """

    def __init__(
        self,
        secret: Secrets,
        *,
        store: DeduplicationStore | AsyncStoreAdapter,
        source: Source = MONTRA,
        namespace: str | None = None,
        max_body_size: int = MAX_BODY_SIZE,
        max_age: Duration | None = MAX_AGE,
        clock_skew: Duration = CLOCK_SKEW,
        require_created_at: bool = False,
        claim_ttl: Duration = CLAIM_TTL,
    ) -> None:
        secrets = signing_secrets(secret)
        del secret  # the code below may raise: a traceback with local variables must not show the secret
        if not isinstance(source, Source):
            raise TypeError(f"source: MONTRA or PAYWALL, not {source!r:.60}")
        self._source = source
        self._namespace = validated_namespace(namespace)
        self._use_secrets(secrets.validated())
        self._age_limit = age_limit(max_age, clock_skew, require_created_at)
        self._store = store
        del store  # a URL with a password, given by mistake, must not be shown either
        self._check_store()
        self._access = store_access(self._store)
        if isinstance(max_body_size, bool) or not isinstance(max_body_size, int) or max_body_size < 1:
            raise ConfigError("max_body_size: bytes, at least 1")
        self.max_body_size: int = max_body_size
        """Bytes; larger bodies are refused."""
        self._claim_ttl = positive_seconds("claim_ttl", claim_ttl)
        self._handlers: list[tuple[str, Handler]] = []
        self._tasks: set[asyncio.Task[Reply]] = set()

    def _check_store(self) -> None:
        is_async = isinstance(self._store, AsyncStoreAdapter)
        if isinstance(self._store, type) or not (is_async or _has_methods(self._store)):
            kind = "a class" if isinstance(self._store, type) else type(self._store).__name__
            raise TypeError(f"store: a deduplication store, e.g. SqliteStore('events.db'), not {kind}")
        retention: float | None = getattr(self._store, "retention", None)
        if retention is not None and self._age_limit.max_age is not None:
            needed = self._age_limit.max_age + self._age_limit.clock_skew
            if retention < needed:
                problem = f"forgets events after {retention:g} s; `max_age` and `clock_skew` need {needed:g} s"
                raise ConfigError(f"store: {problem}: events could be handled again")
        if isinstance(self._store, AsyncStoreAdapter):
            return
        coroutines = [name for name in STORE_METHODS if inspect.iscoroutinefunction(getattr(self._store, name))]
        if coroutines:
            kind = type(self._store).__name__
            if len(coroutines) < len(STORE_METHODS):
                problem = f"{', '.join(coroutines)} of {kind} are coroutine functions, its other methods are not"
                raise TypeError(
                    f"store: {problem}: make all four coroutine functions and give AsyncStoreAdapter(store)"
                )
            raise TypeError(f"store: {kind} has coroutine functions: give AsyncStoreAdapter(store)")
        if "forever" not in _parameters(self._store.done):
            problem = "`done` needs a parameter `forever`, for events without `created_at`"
            raise TypeError(f"store: {problem}")

    @property
    def secrets(self) -> Secrets:
        """The secrets, each in a `Secret`.

        May be set, for example when a new secret is rolled out to a running application: keep the old one beside it as
        long as webhooks arrive that are signed with it.
        """
        return list(self._secrets.usable)

    @secrets.setter
    def secrets(self, secret: Secrets) -> None:
        secrets = signing_secrets(secret)
        del secret
        self._use_secrets(secrets.validated())

    def _use_secrets(self, secrets: SigningSecrets) -> None:
        self._secrets, self._namespaces = secrets, namespaces(self._namespace, secrets)

    @property
    def needs_event_loop(self) -> bool:
        """Whether the store is an `AsyncStoreAdapter`, so that `handle_blocking` can't be used."""
        return isinstance(self._store, AsyncStoreAdapter)

    @overload
    def on(self, *events: type[E]) -> Callable[[Callable[[E], Awaitable[object] | object]], Callable[[E], Any]]: ...
    @overload
    def on(self, *events: str) -> Callable[[H], H]: ...
    def on(self, *events: Any) -> Callable[[Any], Any]:
        """Register a handler: a coroutine function, or a plain function.

        `handle` calls plain functions in threads, so that they don't block the event loop. `handle_blocking` calls
        all handlers in the calling thread.

        Args:
            *events: classes of events, their types, or `"*"` for all events.

        Returns:
            A decorator that returns the handler unchanged.

        Raises:
            ValueError: no event was given, or one of the other service.
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
        raise ValueError(f"on: {event!r} is not an event of {self._source.name}; for the other service, give source=")

    async def handle(self, raw_body: bytes, headers: Mapping[str, str]) -> Reply:
        """Handle a delivery. Never raises for what is in it.

        Cancelling this call, e.g. because the sender has closed the connection, does not cancel the handlers: they go
        on, and the event is marked as done. They are cancelled when the event loop ends; the event is then handled
        again when it is delivered again.

        Args:
            raw_body: the request's body, exactly as it arrived: unparsed.
            headers: the request's headers.

        Returns:
            The response to send.

        Raises:
            ConfigError: the store is an `AsyncStoreAdapter` that belongs to another event loop.
        """
        self._access.check_loop()
        task = asyncio.get_running_loop().create_task(self._handle(raw_body, headers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _handle(self, raw_body: bytes, headers: Mapping[str, str]) -> Reply:
        found = self._verify(raw_body, headers)
        return found if isinstance(found, Reply) else await process(found, self._access)

    def handle_blocking(self, raw_body: bytes, headers: Mapping[str, str]) -> Reply:
        """Handle a delivery in the calling thread, without an event loop. Never raises for what is in it.

        Handlers run one after the other in the calling thread; a coroutine function runs on an event loop of its own.

        Args:
            raw_body: the request's body, exactly as it arrived: unparsed.
            headers: the request's headers.

        Returns:
            The response to send.

        Raises:
            ConfigError: the store is an `AsyncStoreAdapter`, which needs an event loop: use `handle`.
        """
        store = self._store
        if isinstance(store, AsyncStoreAdapter):
            raise ConfigError(
                "store: handle_blocking can't use an AsyncStoreAdapter: use handle, or a store with plain methods"
            )
        found = self._verify(raw_body, headers)
        return found if isinstance(found, Reply) else process_blocking(found, store)

    def too_large(self) -> Reply:
        """Return the response to a body that exceeds `max_body_size`, for adapters that know its size beforehand."""
        return make_reply(413, "too_large", f"at most {self.max_body_size} bytes")

    def _verify(self, raw_body: bytes, headers: Mapping[str, str]) -> Delivery | Reply:
        """Return the delivery of a verified event that has handlers, or the response to anything else."""
        if isinstance(raw_body, (str, bytes, bytearray)) and len(raw_body) > self.max_body_size:
            return self.too_large()
        body = body_bytes(raw_body)
        if body is not None and len(body) > self.max_body_size:  # text has more bytes than characters
            return self.too_large()
        try:
            event = parse_from(
                self._source, raw_body if body is None else body, headers, self._secrets, self._age_limit
            )
        except WebhookSignatureError as error:
            log.warning("a webhook was refused: %s", error)
            return make_reply(401, error.reason, error.problem)
        except WebhookPayloadError as error:
            log.warning("a webhook can't be read: %s", error)
            return make_reply(400, "unreadable", "not an event, or too old")
        handlers = [handler for wanted, handler in self._handlers if wanted in ("*", event.type)]
        if not handlers:
            return make_reply(200, "ignored", "no handler for this type")
        keys = event_keys(self._source.name, self._namespaces, event.id)
        forever = event.created_at is None or self._age_limit.max_age is None
        claim = EventClaim(keys, self._claim_ttl, forever=forever)
        return Delivery(event=event, handlers=handlers, claim=claim)

    def __repr__(self) -> str:
        source: Source | None = getattr(self, "_source", None)  # not set yet in the frames of a failing constructor
        return f"<WebhookReceiver of {source and source.name}>"

    def __reduce__(self) -> Any:
        raise TypeError("a receiver can't be pickled: it holds secrets; make it in the process that needs it")


def _has_methods(store: Any) -> bool:
    return all(callable(getattr(store, name, None)) for name in STORE_METHODS)


def _parameters(function: Callable[..., Any]) -> Collection[str]:
    """Return the names of a function's parameters; `forever` is among them when the function takes any keyword."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ["forever"]
    return [*(one.name for one in found), *("forever" for one in found if one.kind is one.VAR_KEYWORD)]
