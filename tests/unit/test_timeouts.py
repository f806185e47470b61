from __future__ import annotations

import asyncio
import contextlib

import pytest

from montra_async.core.http.timeouts import Deadline, Deadlines, deadlines_of


async def test_a_block_that_ends_in_time_is_not_cancelled() -> None:
    loop = asyncio.get_running_loop()
    with Deadline(Deadlines(), loop.time() + 60) as deadline:
        await asyncio.sleep(0)
    assert not deadline.expired


async def test_a_block_that_takes_too_long_raises() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError), Deadline(Deadlines(), loop.time() + 0.01):
        await asyncio.sleep(60)
    await asyncio.sleep(0)  # no cancellation is left over
    assert _cancelling() == 0


async def test_deadlines_share_one_timer_and_end_at_their_own_times() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines()
    ended: list[int] = []

    async def call(number: int, seconds: float) -> None:
        try:
            with Deadline(deadlines, loop.time() + seconds):
                await asyncio.sleep(60)
        except TimeoutError:
            ended.append(number)

    await asyncio.gather(*(call(number, seconds) for number, seconds in enumerate((0.09, 0.03, 0.06, 0.0))))
    assert ended == [3, 1, 2, 0]
    assert deadlines._timer is None


async def test_a_cancellation_from_outside_stays_a_cancellation() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines()

    async def call() -> None:
        with Deadline(deadlines, loop.time() + 60):
            await asyncio.sleep(60)

    task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not deadlines.open


async def test_an_error_of_the_block_passes_through() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(KeyError), Deadline(Deadlines(), loop.time() + 60):
        raise KeyError("x")


async def test_a_block_that_swallows_the_cancellation_is_not_cancelled_again() -> None:
    loop = asyncio.get_running_loop()
    with Deadline(Deadlines(), loop.time() + 0.01) as deadline, contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    assert deadline.expired
    await asyncio.sleep(0.01)
    assert _cancelling() == 0


def _cancelling() -> int:
    task = asyncio.current_task()
    return getattr(task, "cancelling", lambda: 0)()


@pytest.mark.parametrize("first", ["the deadline", "the cancellation"])
async def test_a_cancellation_at_the_time_of_the_deadline_is_not_lost(first: str) -> None:
    loop = asyncio.get_running_loop()
    entered = asyncio.Event()

    async def call() -> None:
        with Deadline(deadlines_of(loop), loop.time() + 60):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(call())
    await entered.wait()
    [deadline] = deadlines_of(loop).open
    steps = [deadline.expire, task.cancel]
    for step in steps if first == "the deadline" else steps[::-1]:
        step()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_inner_deadline_ends_its_own_block_only() -> None:
    loop = asyncio.get_running_loop()
    deadlines = deadlines_of(loop)
    with Deadline(deadlines, loop.time() + 60) as outer:
        with pytest.raises(TimeoutError), Deadline(deadlines, loop.time() + 0.01):
            await asyncio.sleep(60)
        await asyncio.sleep(0)
    assert not outer.expired


async def test_the_outer_of_two_deadlines_at_once_wins() -> None:
    loop = asyncio.get_running_loop()
    deadlines, at = deadlines_of(loop), loop.time() + 0.02
    reached = False
    with pytest.raises(TimeoutError), Deadline(deadlines, at):
        with Deadline(deadlines, at):
            await asyncio.sleep(60)
        reached = True
    assert not reached


def test_deadlines_are_garbage_collected_with_their_loop() -> None:
    import gc
    import weakref

    async def call() -> object:
        loop = asyncio.get_running_loop()
        with Deadline(deadlines_of(loop), loop.time() + 60):
            await asyncio.sleep(0)
        return weakref.ref(deadlines_of(loop))

    left = asyncio.run(call())
    asyncio.run(call())
    gc.collect()
    assert left() is None  # type: ignore[operator]
