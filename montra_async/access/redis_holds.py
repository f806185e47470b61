"""`RedisHolds`: counters and holds in Redis, for processes that must not exceed a limit together. `montra[redis]`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.durations import Duration, positive_seconds
from ..core.errors import ConfigError
from ..core.redaction import Secret, SecretText
from . import redis_scripts as scripts
from .decision import Key
from .errors import AccessUnavailableError

log = logging.getLogger("montra.access")

_MAX_BATCH = 512
"""Maximum number of scripts in one round trip."""
_MAX_KEYS = 10_000
"""Maximum number of customers and meters whose keys are kept in memory."""
MAX_WAITING = 100_000
"""Maximum number of scripts that wait for Redis."""

_ALL = (scripts.RESERVE, scripts.SETTLE, scripts.RENEW, scripts.COUNT, scripts.ASK, scripts.ANSWER, scripts.FORGET)
_SHA: dict[str, str] = {one: hashlib.sha1(one.encode()).hexdigest() for one in _ALL}  # noqa: S324 - Redis names scripts so


class _Call(NamedTuple):
    script: str
    keys: tuple[bytes, bytes, bytes]
    args: str
    future: asyncio.Future[Any]


class RedisHolds:
    """Keeps what a fleet of processes holds and has recorded, so that together they never exceed a limit.

        access = Access(montra, usage, fleet=RedisHolds("redis://localhost:6379/0"))

    A hold takes one round trip, and so does its end; what many tasks do at once shares one. All keys of a customer and
    meter are in one slot of a cluster. Redis must not evict them (`noeviction`). What Redis forgets, because it is
    restarted without persistence, is asked from the service again; holds at that time don't count any more.

    Usage that is recorded without a hold counts in Redis a moment later, and does not count in a process that has no
    `Access` with the same Redis.

    Args:
        client: a URL, or a `redis.asyncio.Redis` (or `RedisCluster`), which is used on its event loop only. Give a
            client of your own time-outs.
        prefix: the prefix of the keys. Default: "montra:access:".
        lease: how long the holds of a process that has died stay held, as a timedelta or seconds. Open blocks renew
            theirs. Default: 60 s.
        timeout: how long a call waits for Redis, as a timedelta or seconds. Default: 2 s.

    Raises:
        ConfigError: the URL or a duration is not valid.
        ImportError: a URL was given, and redis is not installed.
        TypeError: `client` is neither.
    """

    def __init__(
        self,
        client: SecretText | Any,
        *,
        prefix: str = "montra:access:",
        lease: Duration = 60.0,
        timeout: Duration = 2.0,
    ) -> None:
        given: Any = Secret(client) if isinstance(client, str) else client
        del client  # a URL may contain a password, which a traceback with local variables must not show
        self.lease: float = positive_seconds("lease", lease)
        """Seconds that a hold lasts without being renewed."""
        self._timeout = positive_seconds("timeout", timeout)
        self._prefix = prefix
        self._given = given
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}
        self._keys: dict[Key, tuple[bytes, bytes, bytes]] = {}
        if isinstance(given, Secret):
            _from_url(given, self._timeout)  # refuses a wrong URL now
        elif not type(given).__module__.startswith("redis.asyncio") and not hasattr(given, "pipeline"):
            raise TypeError(f"client: a URL or a redis.asyncio.Redis, not {type(given).__name__}")

    async def run(self, script: str, key: Key, *args: Any) -> Any:
        """Run a script for a customer and meter.

        It is carried out, or will be, also if this call is cancelled.

        Args:
            script: one of `redis_scripts`.
            key: customer, kind and slug.
            args: the script's arguments.

        Raises:
            AccessUnavailableError: Redis can't be reached, refuses, or takes too long.
        """
        return await self.send(script, key, *args)

    def send(self, script: str, key: Key, *args: Any) -> asyncio.Future[Any]:
        """Begin to run a script. Scripts of an event loop run in their order.

        Args:
            script: one of `redis_scripts`.
            key: customer, kind and slug.
            args: the script's arguments.
        """
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            for ended in [one for one in list(self._lines) if one.is_closed()]:
                self._lines.pop(ended, None)
            client = _from_url(self._given, self._timeout) if isinstance(self._given, Secret) else self._given
            line = self._lines[loop] = _Line(client, self._timeout)
        future: asyncio.Future[Any] = loop.create_future()
        line.add(_Call(script, self._keys.get(key) or self._keys_of(key), " ".join(map(str, args)), future))
        return future

    def _keys_of(self, key: Key) -> tuple[bytes, bytes, bytes]:
        digest = hashlib.sha256(f"{key[0]}\0{key[2]}".encode(errors="replace")).hexdigest()[:32]
        name = f"{self._prefix}{{{digest}}}".encode()
        if len(self._keys) >= _MAX_KEYS:
            self._keys.clear()
        keys = self._keys[key] = (name + b":sums", name + b":units", name + b":ends")
        return keys

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections, without closing them."""
        self._lines = {}

    async def aclose(self) -> None:
        """Finish what is under way on this event loop, and close its connections, unless the client is yours."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.finish()
            if isinstance(self._given, Secret):
                await line.client.aclose()

    def __repr__(self) -> str:
        return f"<RedisHolds {getattr(self, '_prefix', '')}>"


class _Line:
    """The scripts of an event loop. What is begun during a round trip goes with the next one."""

    def __init__(self, client: Any, timeout: float) -> None:
        self.client = client
        self._timeout = timeout
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, call: _Call) -> None:
        if len(self._waiting) >= MAX_WAITING:
            call.future.set_exception(AccessUnavailableError(f"{MAX_WAITING} calls wait for Redis"))
            return
        self._waiting.append(call)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def finish(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            try:
                results = await asyncio.wait_for(self._execute(batch), self._timeout)
            except asyncio.CancelledError:
                for call in (*batch, *self._waiting):
                    call.future.cancel()
                self._waiting = []
                raise
            except Exception as error:
                # Without the error itself: its frames contain the connection's password.
                results = [f"{type(error).__name__}: {error!s:.200}"] * len(batch)
                _resolve_failed(batch, results[0])
                continue
            for call, result in zip(batch, results, strict=True):
                if call.future.done():
                    continue
                if isinstance(result, Exception):
                    call.future.set_exception(
                        AccessUnavailableError(f"Redis: {type(result).__name__}: {result!s:.200}")
                    )
                else:
                    call.future.set_result(result)

    async def _execute(self, batch: Sequence[_Call]) -> list[Any]:
        results = await self._pipeline(batch)
        missing = [i for i, result in enumerate(results) if type(result).__name__ == "NoScriptError"]
        if missing:
            for one in {batch[i].script for i in missing}:
                await self.client.script_load(one)
            for i, result in zip(missing, await self._pipeline([batch[i] for i in missing]), strict=True):
                results[i] = result
        return results

    async def _pipeline(self, batch: Sequence[_Call]) -> list[Any]:
        pipeline = self.client.pipeline(transaction=False)
        for call in batch:
            pipeline.evalsha(_SHA[call.script], 3, *call.keys, call.args)
        results: list[Any] = await pipeline.execute(raise_on_error=False)
        return results


def _resolve_failed(batch: Sequence[_Call], problem: str) -> None:
    for call in batch:
        if not call.future.done():
            call.future.set_exception(AccessUnavailableError(f"Redis can't be used: {problem}"))


def _from_url(url: Secret, timeout: float) -> Any:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise ImportError("RedisHolds needs redis: pip install 'montra[redis]'") from None
    try:
        return Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url.reveal(),
            socket_timeout=None,  # the time-out is for a batch: one per reply takes longer than reading it
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # redis-py repeats by default, which would exceed the time-out
        )
    except Exception as error:
        problem = f"client: not the URL of a Redis, e.g. redis://localhost:6379/0 ({type(error).__name__})"
    raise ConfigError(problem)
