"""Deduplication stores whose methods are coroutine functions, e.g. on asyncpg or redis.asyncio."""

from __future__ import annotations

import asyncio
import inspect
from typing import Protocol

from ..core.durations import Duration
from ..core.errors import ConfigError
from .stores import STORE_METHODS, Claim, retention_seconds


class AsyncDeduplicationStore(Protocol):
    """A `DeduplicationStore` whose methods are coroutine functions. `AsyncStoreAdapter` takes it."""

    async def claim(self, key: str, token: str, claim_ttl: float, /) -> Claim:
        """Claim an event, unless it is claimed or done.

        Args:
            key: the event's key.
            token: identifies this claim.
            claim_ttl: seconds after which the claim expires.
        """
        ...

    async def renew(self, key: str, token: str, claim_ttl: float, /) -> bool:
        """Extend a claim. Returns False when it was lost.

        Args:
            key: the event's key.
            token: identifies the claim.
            claim_ttl: seconds from now after which the claim expires.
        """
        ...

    async def done(self, key: str, token: str, /, *, forever: bool = False) -> bool:
        """Mark an event as handled. Returns False when the claim was lost.

        Args:
            key: the event's key.
            token: identifies the claim.
            forever: never forget the event. Default: False.
        """
        ...

    async def release(self, key: str, token: str, /) -> None:
        """Give a claim back without marking the event.

        Args:
            key: the event's key.
            token: identifies the claim.
        """
        ...


class AsyncStoreAdapter:
    """Makes an `AsyncDeduplicationStore` usable by `WebhookReceiver.handle`, on one event loop only.

        receiver = WebhookReceiver(secret, store=AsyncStoreAdapter(PostgresStore(pool), retention=timedelta(days=30)))

    The adapter belongs to the event loop that is running when it is created, or else to the first one that uses it.
    `handle` on another event loop, and `handle_blocking`, raise `ConfigError`.

    Args:
        store: the store; its four methods are coroutine functions.
        retention: how long the store keeps done events, as a timedelta or seconds. The receiver refuses a store that
            forgets an event earlier than the receiver refuses the event for its age. Default: None, for ever.

    Raises:
        ConfigError: `retention` is not valid.
        TypeError: the methods of `store` are not coroutine functions.
    """

    def __init__(self, store: AsyncDeduplicationStore, *, retention: Duration | None = None) -> None:
        self._store = store
        del store  # a URL with a password, given by mistake, must not be shown by a traceback with local variables
        if isinstance(self._store, type) or not all(
            inspect.iscoroutinefunction(getattr(self._store, name, None)) for name in STORE_METHODS
        ):
            kind = "a class" if isinstance(self._store, type) else type(self._store).__name__
            problem = f"needs coroutine functions claim, renew, done and release, unlike {kind}"
            raise TypeError(f"store: AsyncStoreAdapter {problem}; a receiver takes a store with plain methods itself")
        self.retention: float | None = retention_seconds(retention)
        """Seconds for which a done event stays recorded; None for ever."""
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def on_this_loop(self) -> AsyncDeduplicationStore:
        """Return the store, to be used on the running event loop.

        Raises:
            ConfigError: the adapter belongs to another event loop, or none is running.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError(_NO_LOOP) from None
        if self._loop is None:
            self._loop = running
        if self._loop is not running:
            raise ConfigError(_OTHER_LOOP)
        return self._store

    def __repr__(self) -> str:
        store: object = getattr(self, "_store", None)  # not set yet in the frames of a failing constructor
        return f"<AsyncStoreAdapter of {type(store).__name__}>"


_NO_LOOP = (
    "store: an AsyncStoreAdapter needs an event loop: use `handle`, or a store with plain methods, e.g. SqliteStore"
)
_OTHER_LOOP = (
    "store: this AsyncStoreAdapter belongs to another event loop: make an adapter, and its store, for each event loop"
)
