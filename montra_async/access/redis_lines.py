"""`RedisLines`: runs Lua scripts in Redis, those of one event loop in their order and many in one round trip."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..core.errors import ConfigError
from ..core.hints import missing_extra
from ..core.redaction import Secret
from .errors import AccessUnavailableError
from .redis_scripts import TOO_LARGE

_MAX_BATCH = 512
"""Maximum number of scripts in one round trip."""
MAX_WAITING = 100_000
"""Maximum number of scripts that wait for Redis."""
_LOAD_FIRST = ("NoScriptError", "NoPermissionError")
"""Names of the errors of a script that may succeed after `SCRIPT LOAD`."""


class UnitsTooLargeError(AccessUnavailableError):
    """A number in Redis would be too large, now and every time."""


class _Call(NamedTuple):
    script: str
    keys: tuple[bytes, ...]
    args: tuple[Any, ...]
    future: asyncio.Future[Any]


class RedisLines:
    """Connections to a Redis, one for each event loop.

    Args:
        given: the URL, or a `redis.asyncio.Redis`.
        timeout: seconds that a round trip may take.
        owner: name of the class that the user has made, for messages.

    Raises:
        ConfigError: the URL is not valid.
        ImportError: a URL was given, and redis is not installed.
        TypeError: the client is neither.
    """

    def __init__(self, given: Secret | Any, timeout: float, owner: str) -> None:
        self._given = given
        self._timeout = timeout
        self._owner = owner
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}
        if isinstance(given, Secret):
            _from_url(given, timeout, owner)  # refuses a wrong URL now
        elif not type(given).__module__.startswith("redis.asyncio") and not hasattr(given, "pipeline"):
            raise TypeError(f"client: a URL or a redis.asyncio.Redis, not {type(given).__name__}")

    def send(self, script: str, keys: tuple[bytes, ...], *args: Any) -> asyncio.Future[Any]:
        """Begin to run a script. Scripts of an event loop run in their order.

        It is carried out also if the future is cancelled.

        Args:
            script: the script.
            keys: its keys, all of one slot of a cluster.
            args: its arguments.

        Returns:
            Fails with `AccessUnavailableError` if Redis can't be reached, refuses, or takes too long.
        """
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            for ended in [one for one in list(self._lines) if one.is_closed()]:
                self._lines.pop(ended, None)
            given = self._given
            client = _from_url(given, self._timeout, self._owner) if isinstance(given, Secret) else given
            line = self._lines[loop] = _Line(client, self._timeout)
        future: asyncio.Future[Any] = loop.create_future()
        future.add_done_callback(_retrieve)
        line.add(_Call(script, keys, args, future))
        return future

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections, without closing them."""
        self._lines = {}

    async def aclose(self) -> None:
        """Finish what is under way on this event loop, and close its connections, unless the client is the user's."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.finish()
            if isinstance(self._given, Secret):
                await line.client.aclose()


class _Line:
    """The scripts of an event loop. What is begun during a round trip goes with the next one."""

    def __init__(self, client: Any, timeout: float) -> None:
        self.client = client
        self._timeout = timeout
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None
        self._loaded: set[str] = set()

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
                self._loaded = set()  # Redis may have restarted
                # Without the error itself: its frames contain the connection's password.
                results = [f"{type(error).__name__}: {error!s:.200}"] * len(batch)
                _resolve_failed(batch, results[0])
                continue
            for call, result in zip(batch, results, strict=True):
                if call.future.done():
                    continue
                if isinstance(result, Exception):
                    kind = UnitsTooLargeError if TOO_LARGE in str(result) else AccessUnavailableError
                    call.future.set_exception(kind(f"Redis: {type(result).__name__}: {result!s:.200}"))
                else:
                    call.future.set_result(result)

    async def _execute(self, batch: Sequence[_Call]) -> list[Any]:
        results = await self._pipeline(batch)
        # Another node of the cluster has the key, the scripts were flushed, or the user may not run EVAL.
        again = [i for i, result in enumerate(results) if type(result).__name__ in _LOAD_FIRST]
        if again:
            for one in {batch[i].script for i in again}:
                await self.client.script_load(one)
            for i, result in zip(again, await self._pipeline([batch[i] for i in again]), strict=True):
                results[i] = result
        return results

    async def _pipeline(self, batch: Sequence[_Call]) -> list[Any]:
        """Run scripts in their order. The text of one that was not run yet goes with it, so it has its turn."""
        pipeline = self.client.pipeline(transaction=False)
        loaded = set(self._loaded)
        for call in batch:
            # Not `evalsha(...)`: the pipeline of a cluster refuses the method, not the command.
            name, script = ("EVALSHA", _sha(call.script)) if call.script in loaded else ("EVAL", call.script)
            pipeline.execute_command(name, script, len(call.keys), *call.keys, *call.args)
            loaded.add(call.script)
        results: list[Any] = await pipeline.execute(raise_on_error=False)
        self._loaded = loaded
        return results


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Nobody may be waiting for it."""
    if not future.cancelled():
        future.exception()


def _resolve_failed(batch: Sequence[_Call], problem: str) -> None:
    for call in batch:
        if not call.future.done():
            call.future.set_exception(AccessUnavailableError(f"Redis can't be used: {problem}"))


@lru_cache(maxsize=64)
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()  # noqa: S324 - Redis names scripts so


def _from_url(url: Secret, timeout: float, owner: str) -> Any:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise missing_extra(owner, "redis", error) from None
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
