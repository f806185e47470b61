from __future__ import annotations

import asyncio
import contextlib

import pytest

from montra_async.core.http.timeouts import Deadline, Deadlines, deadlines_of


async def test_a_call_within_its_time_is_left_alone() -> None:
    loop = asyncio.get_running_loop()
    with Deadline(Deadlines(), loop.time() + 60) as deadline:
        await asyncio.sleep(0)
    assert not deadline.expired


async def test_time_is_up() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError), Deadline(Deadlines(), loop.time() + 0.01):
        await asyncio.sleep(60)
    await asyncio.sleep(0)  # no cancellation is left over
    assert _cancelling() == 0


async def test_many_calls_share_one_timer_and_each_ends_at_its_own_time() -> None:
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


async def test_a_cancellation_from_outside_stays_one() -> None:
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


async def test_an_error_of_the_call_wins() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(KeyError), Deadline(Deadlines(), loop.time() + 60):
        raise KeyError("x")


async def test_a_call_that_swallows_the_cancellation_is_not_cancelled_later() -> None:
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
async def test_a_cancellation_in_the_very_moment_of_the_deadline_is_not_lost(first: str) -> None:
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


def test_the_deadlines_of_a_loop_go_with_it() -> None:
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
