"""The pool of connections, seen through a client: its bound, the order of waiting calls, cancellations."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import pytest
from aioresponses import CallbackResult, aioresponses
from hypothesis import given, strategies as st

from montra_async import Montra, PoolTimeoutError, Timeout
from montra_async.core.http import sessions
from montra_async.core.http.aiohttp_compat import AnyioSemaphore, new_semaphore

from ..aioresponses_bridge import BridgedResponse

BASE = "https://billing.example.com/api/v1"
FOREVER = Timeout(total=None, pool=None)
SEMAPHORES = {"of this Python": new_semaphore, "before 3.10.8": AnyioSemaphore}


@attrs.define
class Pool:
    """A client of `size` connections whose requests are answered by hand.

    Attributes:
        started: the calls that were made and not cancelled, in order.
        sent: those of them that reached the network, in order.
        open: requests that wait for their response.
    """

    size: int
    client: Montra
    started: list[str] = attrs.field(factory=list)
    sent: list[str] = attrs.field(factory=list)
    open: dict[str, asyncio.Future[None]] = attrs.field(factory=dict)
    tasks: dict[str, asyncio.Task[Any]] = attrs.field(factory=dict)

    async def respond(self, url: Any, **_: Any) -> CallbackResult:
        name = url.name
        assert len(self.open) < self.size, "more requests than connections"
        self.sent.append(name)
        self.open[name] = future = asyncio.get_running_loop().create_future()
        try:
            await future
        finally:
            del self.open[name]
        customer = {"id": name, "name": "n", "email": "e"}
        return CallbackResult(payload={"success": True, "data": customer}, response_class=BridgedResponse)

    async def call(self, timeout: Timeout = FOREVER) -> str:
        name = f"c{len(self.tasks)}"
        self.tasks[name] = asyncio.ensure_future(self.client.with_options(timeout=timeout).get_customer(name))
        self.started.append(name)
        await asyncio.sleep(0)
        return name

    @property
    def waiting(self) -> list[str]:
        return [name for name in self.started if name not in self.sent and not self.tasks[name].done()]

    async def cancel_waiting(self) -> None:
        """In the middle of the queue."""
        if waiting := self.waiting:
            self.cancel(waiting[len(waiting) // 2])

    def cancel(self, name: str) -> None:
        self.started.remove(name)
        self.tasks[name].cancel()

    async def answer(self) -> None:
        """The request that has waited longest."""
        for future in self.open.values():
            if not future.done():
                future.set_result(None)
                break

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        assert self.sent == [name for name in self.started if name in self.sent], "a call overtook another"
        assert len(self.open) == self.size or not self.waiting, "a connection is free, and a call waits"

    async def finish(self) -> None:
        """Answer everything; then all connections are free."""
        while self.waiting or self.open:
            await self.answer()
            await self.settle()
        last = [await self.call() for _ in range(self.size + 1)]
        await self.settle()
        assert [*self.open] == last[:-1]
        assert self.waiting == last[-1:]
        while self.open:
            await self.answer()
            await self.settle()
        results = await asyncio.gather(*(self.tasks[name] for name in self.started), return_exceptions=True)
        assert not [one for one in results if isinstance(one, BaseException) and not isinstance(one, PoolTimeoutError)]


@pytest.fixture(autouse=True, params=SEMAPHORES)
def _semaphore(request: pytest.FixtureRequest) -> Iterator[None]:
    """Also the semaphore of the oldest versions of Python 3.10."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "new_semaphore", SEMAPHORES[request.param])
        yield


async def pool_of(size: int) -> AsyncIterator[Pool]:
    with aioresponses() as mocked:
        async with Montra("sk_test_x", BASE, pool_size=size) as client:
            pool = Pool(size, client)
            mocked.get(re.compile(".*"), callback=pool.respond, repeat=True)
            yield pool


STEPS = st.lists(st.sampled_from(["call", "cancel_waiting", "answer", "settle"]), max_size=40)


@given(size=st.integers(1, 4), steps=STEPS)
def test_no_connection_too_many_and_no_call_is_forgotten(size: int, steps: list[str]) -> None:
    async def main() -> None:
        async for pool in pool_of(size):
            for step in steps:
                await getattr(pool, step)()
            await pool.settle()
            await pool.finish()

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("steps", range(12))
@pytest.mark.parametrize("first", ["response", "cancellation"])
async def test_a_call_cancelled_while_it_gets_its_connection_leaves_it_to_the_next(steps: int, first: str) -> None:
    """At every step of the event loop between a response and what the next call does with the connection."""
    async for pool in pool_of(1):
        await pool.call()
        second, third = await pool.call(), await pool.call()
        await pool.settle()
        if first == "response":
            await pool.answer()
        else:
            pool.cancel(second)
        for _ in range(steps):
            await asyncio.sleep(0)
        if first == "response":
            pool.cancel(second)
            pool.sent = [name for name in pool.sent if name != second]
        else:
            await pool.answer()
        await pool.settle()
        assert [*pool.open] == [third]
        await pool.finish()


async def test_a_pool_time_out_at_the_moment_of_a_response_loses_no_connection() -> None:
    loop = asyncio.get_running_loop()
    async for pool in pool_of(1):
        for offset in (-0.001, -0.0001, 0.0, 0.0001, 0.001):
            await pool.call()
            at = loop.time() + 0.02
            second = await pool.call(Timeout(total=None, pool=0.02))
            [future] = pool.open.values()
            loop.call_at(at + offset, future.set_result, None)
            await asyncio.sleep(0.03)
            await pool.settle()
            while pool.open:
                await pool.answer()
                await pool.settle()
            assert pool.tasks[second].done()
        await pool.finish()
