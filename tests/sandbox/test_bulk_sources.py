"""Asynchronous sources of bulk calls: one task takes all their items and closes them, and takes none too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, strategies as st

from montra_async.core.bulk_calls import run_all

from .bulk_tools import Calls, collect, numbers, running, until

VALUE: ContextVar[str] = ContextVar("value", default="unset")


def statuses(results: list[Any]) -> list[str]:
    return [one.status for one in results]


async def ending(made: Calls, count: int) -> None:
    """End each call as soon as it has begun."""
    for number in range(count):
        await until(lambda: number in made.going)  # noqa: B023 - awaited at once
        made.end(number)


# One task


async def with_time_out() -> AsyncIterator[Any]:
    with anyio.fail_after(30):
        for item in numbers(5):
            yield item


async def with_scope() -> AsyncIterator[Any]:
    with anyio.CancelScope():
        for item in numbers(5):
            await anyio.lowlevel.checkpoint()
            yield item


async def with_task_group() -> AsyncIterator[Any]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)
        for item in numbers(5):
            yield item


async def in_another() -> AsyncIterator[Any]:
    async with aclosing(with_task_group()) as inner:  # type: ignore[type-var]
        with anyio.fail_after(30):
            async for item in inner:
                yield item


@pytest.mark.parametrize("source", [with_time_out, with_scope, with_task_group, in_another])
@pytest.mark.parametrize("concurrency", [1, 2, 10])
async def test_scopes_around_the_items(source: Callable[[], AsyncIterator[Any]], concurrency: int) -> None:
    made = Calls(concurrency)
    ender = asyncio.create_task(ending(made, 5))
    assert statuses(await collect(run_all(made.run, source()))) == ["ok"] * 5
    await ender


@pytest.mark.parametrize("source", [with_time_out, with_scope, with_task_group, in_another])
async def test_scopes_around_the_items_when_it_ends_early(source: Callable[[], AsyncIterator[Any]]) -> None:
    made = Calls(2)
    async with aclosing(run_all(made.run, source())) as results:
        first = asyncio.ensure_future(anext(results))
        await until(lambda: len(made.going) == 2)
        made.end(0)
        assert (await first).status == "ok"
    assert made.cancelled == {1}
    assert not running()


async def test_a_source_is_in_one_task_and_in_the_callers_context() -> None:
    made = Calls(2)
    tasks: set[Any] = set()
    values: list[str] = []

    async def source() -> AsyncIterator[Any]:
        try:
            for item in numbers(4):
                tasks.add(asyncio.current_task())
                values.append(VALUE.get())
                VALUE.set(f"after {item['number']}")
                yield item
        finally:
            tasks.add(asyncio.current_task())
            values.append(VALUE.get())

    VALUE.set("the caller's")
    ender = asyncio.create_task(ending(made, 3))
    async with aclosing(run_all(made.run, source())) as results:
        async for one in results:
            if one.index == 2:
                break
    await ender
    assert len(tasks) == 1
    assert len(values) >= 4  # the last item may not have been taken yet
    assert values == ["the caller's", *(f"after {number}" for number in range(len(values) - 1))]
    assert VALUE.get() == "the caller's"


# Time-outs of the source's own


async def test_a_time_out_while_the_source_waits() -> None:
    made = Calls(5)

    async def source() -> AsyncIterator[Any]:
        with anyio.fail_after(0.02):
            for item in numbers(2):
                yield item
            await anyio.sleep_forever()

    results = asyncio.ensure_future(_until_raised(made, source(), TimeoutError))
    await until(lambda: len(made.going) == 2)
    made.end(0, 1)
    assert statuses(await results) == ["ok", "ok"]


@pytest.mark.parametrize("fails", [True, False])
async def test_a_time_out_while_there_is_no_room(fails: bool) -> None:
    """The source is not running: its scope can only be told of the cancellation."""
    made = Calls(2)
    over = asyncio.Event()

    async def source() -> AsyncIterator[Any]:
        try:
            with anyio.fail_after(0.02) if fails else anyio.move_on_after(0.02):
                for item in numbers(5):
                    yield item
        finally:
            over.set()

    results = asyncio.ensure_future(
        _until_raised(made, source(), TimeoutError) if fails else collect(run_all(made.run, source()))
    )
    await until(lambda: len(made.going) == 2)
    await over.wait()
    assert not results.done()
    made.end(0, 1)
    assert statuses(await results) == ["ok", "ok"]
    assert len(made.going) == 2


async def test_what_a_source_yields_when_it_is_cancelled_is_kept_until_there_is_room() -> None:
    made = Calls(1)
    fired = 0

    async def source() -> AsyncIterator[Any]:
        nonlocal fired
        yield {"number": 0}
        for number in (1, 2):
            try:
                yield {"number": number}
            except asyncio.CancelledError:
                fired += 1
        yield {"number": 3}

    given = source()
    results = asyncio.ensure_future(collect(run_all(made.run, given)))
    await until(lambda: 0 in made.going)
    (pump,) = [one for one in asyncio.all_tasks() if "_take_all" in repr(one)]
    made.end(0)
    await until(lambda: 1 in made.going)
    for expected in (1, 2):  # at `yield 1`, and at `yield 2`, while nothing is wanted
        pump.cancel()
        await until(lambda: fired == expected)  # noqa: B023 - awaited at once
    assert len(made.going) == 2
    await ending_from(made, 1, 4)
    assert statuses(await results) == ["ok"] * 4


async def ending_from(made: Calls, first: int, end: int) -> None:
    for number in range(first, end):
        await until(lambda: number in made.going)  # noqa: B023 - awaited at once
        made.end(number)


async def _until_raised(made: Calls, source: Any, kind: type[BaseException]) -> list[Any]:
    results: list[Any] = []
    with pytest.raises(kind):
        async for one in run_all(made.run, source):
            results.append(one)
    return results


# Ends


@pytest.mark.parametrize("waits", [True, False])
async def test_cancelled_half_way(waits: bool) -> None:
    """While the source waits, and while it does not because there is no room."""
    made = Calls(10 if waits else 3)
    closed_in: list[Any] = []

    async def source() -> AsyncIterator[Any]:
        task = asyncio.current_task()
        try:
            with anyio.CancelScope():
                for item in numbers(3):
                    yield item
                await anyio.sleep_forever()
        finally:
            await asyncio.sleep(0)
            closed_in.append(task is asyncio.current_task())

    task = asyncio.create_task(collect(run_all(made.run, source())))
    await until(lambda: len(made.going) == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed_in == [True]
    assert made.cancelled == {0, 1, 2}
    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_source_that_raises(count: int) -> None:
    made = Calls(5)

    async def source() -> AsyncIterator[Any]:
        for item in numbers(count):
            yield item
        raise LookupError("of the source")

    results = asyncio.ensure_future(_until_raised(made, source(), LookupError))
    await until(lambda: len(made.going) == count)
    for number in range(count):
        made.end(number)
    assert statuses(await results) == ["ok"] * count


async def test_a_source_that_is_cancelled_by_its_own_code() -> None:
    async def source() -> AsyncIterator[Any]:
        yield {"number": 0}
        raise asyncio.CancelledError

    made = Calls(5)
    with pytest.raises(asyncio.CancelledError):
        await collect(run_all(made.run, source()))


@pytest.mark.parametrize("waits", [True, False])
async def test_other_code_cancels_the_task_of_the_source(waits: bool) -> None:
    """Whoever waits for items is told, and does not wait for ever."""
    made = Calls(5 if waits else 1)

    async def source() -> AsyncIterator[Any]:
        yield {"number": 0}
        await asyncio.Event().wait()

    results = asyncio.ensure_future(collect(run_all(made.run, source())))
    await until(lambda: bool(made.going))
    (pump,) = [one for one in asyncio.all_tasks() if "_take_all" in repr(one)]
    pump.cancel()
    await until(pump.done)
    if not waits:
        made.end(0)
    with pytest.raises(asyncio.CancelledError):
        await results
    await until(lambda: not running())


async def endless() -> AsyncIterator[Any]:
    number = 0
    while True:
        yield {"number": number}
        number += 1
        await asyncio.sleep(0)


async def test_a_source_that_never_ends() -> None:
    made = Calls(3)
    pulled = 0

    async def source() -> AsyncIterator[Any]:
        nonlocal pulled
        async for item in endless():
            pulled += 1
            yield item

    done = 0
    ender = asyncio.create_task(ending(made, 20))
    async with aclosing(run_all(made.run, source())) as results:
        async for _ in results:
            done += 1
            assert pulled - done < 3
            if done == 20:
                break
    await ender
    assert not running()


async def test_a_slow_source_holds_no_result_up() -> None:
    made = Calls(5)
    more = asyncio.Event()

    async def source() -> AsyncIterator[Any]:
        yield {"number": 0}
        await more.wait()
        yield {"number": 1}

    async with aclosing(run_all(made.run, source())) as results:
        first = asyncio.ensure_future(anext(results))
        await until(lambda: 0 in made.going)
        made.end(0)
        assert (await first).index == 0
        more.set()
        second = asyncio.ensure_future(anext(results))
        await until(lambda: 1 in made.going)
        made.end(1)
        assert (await second).index == 1
        with pytest.raises(StopAsyncIteration):
            await anext(results)


class _Iterator:
    """An iterator that is no generator."""

    def __init__(self) -> None:
        self.closed = 0
        self.count = 0

    def __aiter__(self) -> _Iterator:
        return self

    async def __anext__(self) -> Any:
        await asyncio.sleep(0)
        self.count += 1
        return {"number": self.count - 1}

    async def aclose(self) -> None:
        self.closed += 1


async def test_an_iterator_that_is_no_generator() -> None:
    made, source = Calls(1), _Iterator()
    async with aclosing(run_all(made.run, source)) as results:
        first = asyncio.ensure_future(anext(results))
        await until(lambda: 0 in made.going)
        made.end(0)
        await first
    assert (source.closed, source.count) == (1, 1)


# How far it reads ahead


@given(
    concurrency=st.integers(1, 6),
    count=st.integers(0, 25),
    pauses=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    calls=st.lists(st.integers(0, 4), min_size=1, max_size=6),
)
def test_no_item_is_taken_too_early(concurrency: int, count: int, pauses: list[int], calls: list[int]) -> None:
    made = Calls(concurrency)
    pulled = done = ahead = 0

    async def source() -> AsyncIterator[Any]:
        nonlocal pulled, ahead
        for item in numbers(count):
            for _ in range(pauses[item["number"] % len(pauses)]):
                await asyncio.sleep(0)
            pulled += 1
            ahead = max(ahead, pulled - done)
            yield item

    async def end(number: int) -> None:
        while number not in made.going:  # noqa: ASYNC110 - a step of the loop each
            await asyncio.sleep(0)
        for _ in range(calls[number % len(calls)]):
            await asyncio.sleep(0)
        made.end(number)

    async def main() -> list[int]:
        nonlocal done
        enders = [asyncio.create_task(end(number)) for number in range(count)]
        found: list[int] = []
        async for one in run_all(made.run, source()):
            found.append(one.index)
            done += 1
        await asyncio.gather(*enders)
        return sorted(found)

    assert asyncio.run(main()) == list(range(count))
    assert ahead <= concurrency
