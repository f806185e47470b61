"""The writer's thread: groups, failures, back-pressure and its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from montra_async import ConfigError, Montra
from montra_async.usage import Event, MemoryOutbox, OutboxError, OutboxFullError, UsageReporter
from montra_async.usage.outbox import OutboxSettings
from montra_async.usage.waiting_thread import WaitingThread
from montra_async.usage.writer import MAX_GROUP, Writer

SETTINGS = OutboxSettings(base_url="http://127.0.0.1:1")
number = itertools.count()


def event() -> Event:
    return Event(f"k{next(number)}", "cust_1", "api-tokens", 1, 0, None, 1.0, False)


class ScriptedOutbox(MemoryOutbox):
    """Notes its groups; may wait or fail when it stores."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.groups: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.problem: Exception | None = None
        self.opened = self.closed = 0

    def open(self, settings: OutboxSettings) -> None:
        self.opened += 1
        super().open(settings)

    def append(self, events: Sequence[Event]) -> None:
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(20)
        if self.problem is not None:
            raise self.problem
        super().append(events)
        self.groups.append(len(events))

    def close(self) -> None:
        self.closed += 1
        super().close()


class Told:
    """What the writer tells."""

    def __init__(self, outbox: ScriptedOutbox, when_full: Any = "raise") -> None:
        self.stored = self.dropped = 0
        self.failed: list[Event] = []
        self.writer = Writer(
            outbox,
            SETTINGS,
            when_full=when_full,
            on_stored=self._count_stored,
            on_failed=self.failed.extend,
            on_dropped=self._count_dropped,
        )

    def _count_stored(self, count: int) -> None:
        self.stored += count

    def _count_dropped(self, count: int) -> None:
        self.dropped += count


def in_threads(count: int, work: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def until(holds: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if holds():
            return
        time.sleep(0.001)
    raise AssertionError("it never held")


def store(writer: Writer, count: int = 1) -> Any:
    waiting = WaitingThread([event() for _ in range(count)])
    writer.submit(waiting)
    return waiting.wait()


def test_what_comes_while_a_group_is_stored_is_stored_together() -> None:
    outbox = ScriptedOutbox()
    told = Told(outbox)
    outbox.gate.clear()
    threads = in_threads(1, lambda: store(told.writer))
    assert outbox.entered.wait(20)
    threads += in_threads(50, lambda: store(told.writer))
    until(lambda: told.writer.pending == 51)
    outbox.gate.set()
    for thread in threads:
        thread.join(20)
    assert outbox.groups == [1, 50]
    assert told.stored == 51
    assert len(outbox.threads) == 1, "one writer"
    assert told.writer.stop(20)


async def test_the_tasks_of_one_turn_are_one_group() -> None:
    outbox = ScriptedOutbox()
    usage = UsageReporter(Montra("sk_test_x", "http://127.0.0.1:1"), outbox, send=False)
    await asyncio.gather(*(usage.record("cust_1", "api-tokens") for _ in range(500)))
    assert outbox.groups == [500]
    await usage.aclose()


def test_an_error_reaches_everybody_who_waits_as_an_object_of_their_own() -> None:
    outbox = ScriptedOutbox()
    outbox.problem = OutboxError("no space left")

    async def main() -> list[Any]:
        usage = UsageReporter(Montra("sk_test_x", "http://127.0.0.1:1"), outbox, send=False)
        results = await asyncio.gather(*(usage.record("c", "m") for _ in range(3)), return_exceptions=True)
        outbox.problem = None
        await usage.record("c", "m")
        await usage.aclose()
        return results

    results = asyncio.run(main())
    assert [str(one) for one in results] == ["no space left"] * 3
    assert len({id(one) for one in results}) == 3
    assert outbox.groups == [1]


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyError("x")])
def test_an_unexpected_error_becomes_one_of_ours(problem: Exception) -> None:
    outbox = ScriptedOutbox()
    outbox.problem = problem
    told = Told(outbox)
    error = store(told.writer)
    assert isinstance(error, OutboxError)
    assert error.__cause__ is problem
    assert len(told.failed) == 1
    with pytest.raises(OutboxError):
        told.writer.call(lambda _: 1 / 0).result(20)
    assert told.writer.call(lambda _: 5).result(20) == 5
    told.writer.stop(20)


def test_an_outbox_that_can_not_be_opened_is_told_and_tried_again() -> None:
    outbox = ScriptedOutbox()
    problems = [ConfigError("another API")]

    def open_(settings: OutboxSettings) -> None:
        if problems:
            raise problems.pop()

    outbox.open = open_  # type: ignore[method-assign]
    told = Told(outbox)
    assert isinstance(store(told.writer), ConfigError)
    assert store(told.writer) is None
    told.writer.stop(20)


def test_events_that_nobody_waits_for_outlast_a_failure() -> None:
    outbox = ScriptedOutbox()
    outbox.problem = OutboxError("locked")
    told = Told(outbox)
    for _ in range(10):
        told.writer.submit_nowait(event())
    assert isinstance(store(told.writer), OutboxError)
    assert told.writer.pending == 10
    outbox.problem = None
    until(lambda: told.stored == 10)
    assert told.writer.pending == 0
    told.writer.stop(20)


def test_events_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("montra_async.usage.writer.MAX_PENDING", 5)
    outbox = ScriptedOutbox()
    outbox.gate.clear()
    told = Told(outbox)
    told.writer.submit_nowait(event())
    assert outbox.entered.wait(20)
    for _ in range(5):
        told.writer.submit_nowait(event())
    with pytest.raises(OutboxFullError, match="5 events wait"):
        told.writer.submit_nowait(event())
    outbox.gate.set()
    told.writer.stop(20)
    assert told.stored == 6


def test_whoever_is_told_can_not_end_the_writer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("of whoever is told")

    outbox = ScriptedOutbox()
    writer = Writer(outbox, SETTINGS, when_full="raise", on_stored=fail, on_failed=fail, on_dropped=fail)
    assert store(writer) is None
    outbox.problem = OutboxError("locked")
    assert isinstance(store(writer), OutboxError)
    outbox.problem = None
    assert store(writer) is None
    assert writer.stop(20)
    assert len([one for one in caplog.records if "is told" in one.message]) == 3


def test_a_loss_at_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    outbox = ScriptedOutbox()
    outbox.problem = OutboxError("locked")
    told = Told(outbox)
    for _ in range(3):
        told.writer.submit_nowait(event())
    assert told.writer.stop(20)
    assert len(told.failed) == 3
    assert [one.message for one in caplog.records if "3 events" in one.message and "lost" in one.message]


@pytest.mark.parametrize("room", [0, 1, 7, 99])
def test_a_full_outbox_takes_what_fits(room: int) -> None:
    outbox = ScriptedOutbox(max_events=max(1, room))
    if not room:
        outbox.append([event()])
    told = Told(outbox)
    errors: list[Any] = []
    waiting = [WaitingThread([event() for _ in range(20)]) for _ in range(5)]
    outbox.gate.clear()
    for one in waiting:
        told.writer.submit(one)
    outbox.gate.set()
    errors = [one.wait() for one in waiting]
    assert told.stored == room
    assert len(told.failed) == 100 - room
    assert sum(error is None for error in errors) == room // 20
    told.writer.stop(20)


def test_waiting_for_room_ends_when_the_reporter_closes() -> None:
    outbox = ScriptedOutbox(max_events=1)
    told = Told(outbox, when_full="wait")
    assert store(told.writer) is None
    results: list[Any] = []
    threads = in_threads(1, lambda: results.append(store(told.writer)))
    until(lambda: told.writer.pending == 1)
    assert told.writer.stop(20)
    threads[0].join(20)
    assert isinstance(results[0], OutboxFullError)


def test_what_waits_for_room_is_told_of_an_end_that_came_just_after_it_was_tried() -> None:
    outbox = ScriptedOutbox(max_events=1)
    told = Told(outbox, when_full="wait")
    assert store(told.writer) is None
    ends: list[bool] = []

    def end_now(record: logging.LogRecord) -> bool:  # called by the writer's thread, which has put the event back
        ending.start()
        until(lambda: told.writer._stopping)
        return True

    ending = threading.Thread(target=lambda: ends.append(told.writer.stop(20)))
    results: list[Any] = []
    with filtered(end_now):
        threads = in_threads(1, lambda: results.append(store(told.writer)))
        threads[0].join(20)
    ending.join(20)
    assert isinstance(results[0], OutboxFullError)
    assert ends == [True]


@contextlib.contextmanager
def filtered(function: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    log = logging.getLogger("montra")
    log.addFilter(function)
    try:
        yield
    finally:
        log.removeFilter(function)


def test_the_oldest_make_room() -> None:
    outbox = ScriptedOutbox(max_events=10)
    told = Told(outbox, when_full="drop_oldest")
    for _ in range(4):
        assert store(told.writer, 4) is None
    assert (told.stored, told.dropped, outbox.counts().events) == (16, 8, 8)
    told.writer.stop(20)


def test_it_starts_again_after_its_end() -> None:
    outbox = ScriptedOutbox()
    told = Told(outbox)
    for _ in range(3):
        assert store(told.writer) is None
        assert told.writer.stop(20)
    assert (outbox.opened, outbox.closed, told.stored) == (3, 3, 3)


def test_what_is_handed_over_during_its_end_is_stored() -> None:
    outbox = ScriptedOutbox()
    told = Told(outbox)
    done = threading.Event()
    results: list[Any] = []

    def load() -> None:
        while not done.is_set():
            results.append(store(told.writer))

    threads = in_threads(4, load)
    for _ in range(20):
        assert told.writer.stop(20)
    done.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert results == [None] * told.stored
    told.writer.stop(20)


def test_large_backlogs_are_stored_in_several_groups() -> None:
    outbox = ScriptedOutbox()
    outbox.gate.clear()
    told = Told(outbox)
    told.writer.submit_nowait(event())
    assert outbox.entered.wait(20)
    for _ in range(MAX_GROUP + 10):
        told.writer.submit_nowait(event())
    outbox.gate.set()
    told.writer.stop(20)
    assert outbox.groups == [1, MAX_GROUP, 10]
