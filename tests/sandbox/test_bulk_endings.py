"""Bulk calls that end early: nothing goes on unseen, and no result is lost without need."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import traceback
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

import montra_sync
from montra_async import ApiResponse, BulkProgress, BulkResult, ConflictError, Customer, Montra, MontraError
from montra_async.core import bulk_calls
from montra_async.core.bulk_calls import BulkRun, run_all

from ..conftest import struck
from ..contract_watch import WatchedSandbox
from .bulk_tools import Calls, collect, numbers, person, running, until


class _Source:
    """An asynchronous source that waits for ever after some items, and notes when it was closed."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.closed = False

    async def __call__(self) -> AsyncIterator[dict[str, int]]:
        try:
            for item in numbers(self._count):
                yield item
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.closed = True


# Cancelled


async def test_a_time_out_of_anyio_ends_the_calls() -> None:
    made, source = Calls(), _Source(3)
    scope = anyio.CancelScope(deadline=anyio.current_time() + 30)  # as of `move_on_after`
    stopper = asyncio.ensure_future(_when(lambda: len(made.going) == 3, scope.cancel))
    with scope:
        async with aclosing(run_all(made.run, source())) as results:
            async for _ in results:
                pass
    assert scope.cancel_called
    await stopper
    await until(lambda: made.cancelled == {0, 1, 2} and source.closed and not running())


async def _when(true: Callable[[], bool], do: Callable[[], object]) -> None:
    await until(true)
    do()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_task_that_is_cancelled_twice_ends_the_calls(is_async: bool) -> None:
    made, source = Calls(), _Source(3)
    made.slow_to_end = 0.05

    async def work() -> None:
        await collect(run_all(made.run, source() if is_async else numbers(3)))

    task = asyncio.create_task(work())
    await until(lambda: len(made.going) == 3)
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gc.collect()
    await until(lambda: made.cancelled == {0, 1, 2} and not running())
    await until(lambda: not bulk_calls._ending_tasks)
    assert source.closed is is_async


async def test_a_call_that_other_code_cancels_is_a_failed_item() -> None:
    made = Calls()
    results = asyncio.ensure_future(collect(run_all(made.run, numbers(3))))
    await until(lambda: len(made.going) == 3)
    made.going[1].cancel()
    made.end(0, 2)
    found = await results
    assert [one.status for one in found] == ["ok", "failed", "ok"]
    assert isinstance(found[1].error, MontraError)
    assert "may have been carried out" in str(found[1].error)
    assert found[1].idempotency_key == "b-1"


async def test_a_call_that_is_cancelled_before_it_begins_is_a_failed_item() -> None:
    made = Calls()
    made.run.start({"number": 0})
    [task] = made.run._tasks
    task.cancel()
    await made.run.wait()
    result = made.run.next_result()
    assert result is not None
    assert (result.status, result.idempotency_key) == ("failed", None)
    assert "carried out" not in str(result.error)


# Sources


async def test_an_asynchronous_source_is_closed_when_the_loop_is_left() -> None:
    """Also when it does not wait at that moment: there is no room for another item."""
    made, source = Calls(concurrency=2), _Source(100)
    async with aclosing(run_all(made.run, source())) as results:
        first = asyncio.ensure_future(anext(results))
        await until(lambda: len(made.going) == 2)
        made.end(0)
        await first
    assert source.closed
    assert made.cancelled == {1}


async def test_what_a_source_raises_when_it_is_closed_is_no_matter(montra: Montra) -> None:
    async def source() -> AsyncIterator[Any]:
        try:
            while True:
                yield person(1)
        finally:
            raise ValueError

    async with aclosing(montra.create_customers(source(), concurrency=1)) as results:
        async for _ in results:
            break


async def test_a_source_that_does_not_end_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_calls, "_SECONDS_TO_END", 0.01)
    made = Calls(concurrency=1)
    closing: list[asyncio.Event] = []

    async def source() -> AsyncIterator[Any]:
        try:
            yield {"number": 0}
        finally:
            closing.append(asyncio.Event())
            await closing[0].wait()

    async with aclosing(run_all(made.run, source())) as results:
        first = asyncio.ensure_future(anext(results))
        await until(lambda: len(made.going) == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert closing
    await until(lambda: not bulk_calls._ending_tasks)


# Results


@pytest.mark.parametrize("kind", ["async", "async source", "sync"])
async def test_a_hook_that_raises_ends_it_and_loses_no_result(sandbox: WatchedSandbox, kind: str) -> None:
    class Stop(Exception):
        pass

    calls: list[int] = []
    seen: list[BulkResult[Customer]] = []

    def stop(progress: BulkProgress) -> None:
        calls.append(progress.done)
        if progress.done == 3:
            raise Stop

    async def later() -> AsyncIterator[Any]:
        for i in range(20):
            yield person(i)
        await asyncio.Event().wait()

    with pytest.raises(Stop):
        if kind == "sync":
            await asyncio.to_thread(_extend, seen, sandbox, stop)
        else:
            async with Montra(sandbox.api_key, sandbox.base_url) as montra:
                items: Any = later() if kind == "async source" else map(person, range(20))
                async for one in montra.create_customers(items, concurrency=5, on_progress=stop):
                    seen.append(one)
    assert calls == [1, 2, 3]
    assert [one.index for one in sorted(seen)] == list(range(len(seen)))
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        assert {one.unwrap().id for one in seen} == {one.id for one in await montra.list_customers()}
    assert 3 <= len(seen) <= 8


def _extend(seen: list[BulkResult[Customer]], sandbox: WatchedSandbox, stop: Any) -> None:
    with montra_sync.Montra(sandbox.api_key, sandbox.base_url) as client:
        for one in client.create_customers(map(person, range(20)), concurrency=5, on_progress=stop):
            seen.append(one)


async def test_unwrap_raises_the_error_with_the_frames_of_this_time_only(montra: Montra) -> None:
    await montra.create_customer(**person(1))
    [result] = await collect(montra.create_customers([person(1)]))
    assert result.error is not None
    assert result.error.__traceback__ is None
    depths: set[int] = set()
    for _ in range(5):
        with pytest.raises(ConflictError) as caught:
            result.unwrap()
        depths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert depths == {2}


async def test_a_failed_result_keeps_no_frame_alive() -> None:
    class Big:
        pass

    kept: list[weakref.ref[Big]] = []

    async def call(number: int, idempotency_key: str = "") -> int:
        return number

    async def send(call: Any, **arguments: Any) -> ApiResponse[int]:
        big = Big()
        kept.append(weakref.ref(big))
        try:
            raise KeyError(1)
        except KeyError:
            raise ValueError(2)  # noqa: B904 - with a context

    bulk: BulkRun[int] = BulkRun(call, send, pool_size=1, concurrency=1, batch_key=None, on_progress=None)
    [result] = await collect(run_all(bulk, [{"number": 1}]))
    assert isinstance(result.error, ValueError)
    gc.collect()
    assert kept[0]() is None


# The end of the process, and subclasses


def test_an_exit_handler_takes_no_more_items_than_are_in_flight(served: str) -> None:
    code = (
        "import atexit, montra_sync\n"
        f"client = montra_sync.Montra('sk_test_sandbox', {served!r})\n"
        "pulled = []\n"
        "def people():\n"
        "    for i in range(30):\n"
        "        pulled.append(i)\n"
        "        yield {'name': 'A', 'email': f'exit-in-parts-{i}@example.com'}\n"
        "@atexit.register\n"
        "def last():\n"
        "    ahead, done = [], 0\n"
        "    for one in client.create_customers(people(), concurrency=4):\n"
        "        ahead.append(len(pulled) - done)\n"
        "        done += one.status == 'ok'\n"
        "    print(done, max(ahead))\n"
        "from montra_sync import portal\n"
        "atexit.register(portal._background.end)\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("30 4\n", "")


def test_the_call_of_a_subclass_is_used(served: str) -> None:
    class Own(montra_sync.Montra):
        def create_customer(self, **given: Any) -> Customer:
            return super().create_customer(**{**given, "name": "Own " + given["name"]})

    class AsyncOwn(Montra):
        async def create_customer(self, **given: Any) -> Customer:
            return await super().create_customer(**{**given, "name": "Own " + given["name"]})

    def people(kind: str) -> Iterator[dict[str, str]]:
        for i in range(40):
            yield {"name": f"{i}", "email": f"{kind}-of-a-subclass-{i}@example.com"}

    async def asynchronously() -> list[BulkResult[Customer]]:
        async with AsyncOwn("sk_test_sandbox", served) as montra:
            return await collect(montra.create_customers(people("async"), batch_key="async"))

    with Own("sk_test_sandbox", served) as client:
        for results in (
            sorted(client.create_customers(people("sync"), concurrency=20, batch_key="sync")),
            asyncio.run(asynchronously()),
        ):
            assert [one.unwrap().name for one in results] == [f"Own {i}" for i in range(40)]
        again = list(client.create_customers(people("sync"), batch_key="sync"))
        assert {one.replayed for one in again} == {True}


def test_an_overridden_call_is_refused_at_the_end_of_the_process(served: str) -> None:
    code = (
        "import atexit, montra_sync\n"
        "class Own(montra_sync.Montra):\n"
        "    def create_customer(self, **given):\n"
        "        return super().create_customer(**given)\n"
        f"client = Own('sk_test_sandbox', {served!r})\n"
        "@atexit.register\n"
        "def last():\n"
        "    [one] = client.create_customers([{'name': 'A', 'email': 'never@example.com'}])\n"
        "    print(one.status, one.error)\n"
        "from montra_sync import portal\n"
        "atexit.register(portal._background.end)\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    words = "failed the interpreter is shutting down: no more calls of the overridden create_customer\n"
    assert (run.stdout, run.stderr) == (words, "")


async def test_calls_in_flight_are_cancelled_when_the_loop_is_left(montra: Montra, sandbox: WatchedSandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=60, times=1)
    async with aclosing(montra.create_customers(map(person, range(2)), concurrency=2)) as results:
        async for one in results:
            assert one.index in {0, 1}
            break
        await struck(sandbox)
    assert not running()
