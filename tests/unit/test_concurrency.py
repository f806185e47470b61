"""Locks that survive a fork, and threads for functions that may never return."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from montra_async import InvalidArgumentError
from montra_async.core import concurrency
from montra_async.core.concurrency import DaemonThreads, ProcessLock
from montra_async.core.http.files import in_a_thread


def _named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def _gone(name: str) -> bool:
    for thread in _named(name):
        thread.join(30)
    return not _named(name)


@given(most=st.integers(1, 5), works=st.lists(st.sampled_from(["quick", "slow", "fails"]), max_size=30))
def test_all_work_is_done_and_the_number_of_threads_is_bounded(most: int, works: list[str]) -> None:
    threads = DaemonThreads(most, "test-most")
    running: list[int] = []
    now = 0
    lock = threading.Lock()

    def work(n: int, kind: str) -> int:
        nonlocal now
        with lock:
            now += 1
            running.append(now)
        if kind == "slow":
            time.sleep(0.001)
        with lock:
            now -= 1
        if kind == "fails":
            raise LookupError(n)
        return n

    futures = [threads.submit(work, n, kind) for n, kind in enumerate(works)]
    for n, (future, kind) in enumerate(zip(futures, works, strict=True)):
        if kind == "fails":
            assert isinstance(future.exception(30), LookupError)
        else:
            assert future.result(30) == n
    assert len(_named("test-most")) <= most
    assert max(running, default=0) <= most
    threads.shutdown()
    assert _gone("test-most")


@given(hanging=st.integers(0, 4))
def test_work_that_hangs_delays_no_other_while_there_are_threads(hanging: int) -> None:
    threads = DaemonThreads(5, "test-hang")
    over = threading.Event()
    stuck = [threads.submit(over.wait, 60) for _ in range(hanging)]
    for n in range(20):
        assert threads.submit(lambda n=n: n).result(30) == n
    over.set()
    assert not wait(stuck, 30).not_done
    threads.shutdown()
    assert _gone("test-hang")


def test_threads_are_used_again() -> None:
    threads = DaemonThreads(5, "test-again")
    idents = {threads.submit(threading.get_ident).result(30) for _ in range(3)}
    assert len(_named("test-again")) <= 5
    assert idents <= {thread.ident for thread in _named("test-again")}
    threads.shutdown()
    assert _gone("test-again")


def test_work_that_was_cancelled_before_it_began() -> None:
    threads = DaemonThreads(1, "test-cancel")
    over = threading.Event()
    threads.submit(over.wait, 60)
    ran: list[int] = []
    later = threads.submit(ran.append, 1)
    assert later.cancel()
    over.set()
    assert threads.submit(lambda: "done").result(30) == "done"
    assert ran == []
    threads.shutdown()


def test_without_a_thread_the_caller_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the interpreter, and where the system has no thread left."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = DaemonThreads(2, "test-none")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert [threads.submit(threading.get_ident).result(0) for _ in range(3)] == [threading.get_ident()] * 3
    assert threads.submit(threading.get_ident).result(30) != threading.get_ident()
    threads.shutdown()


async def test_it_is_a_default_executor() -> None:
    """asyncio accepts only subclasses of ThreadPoolExecutor."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(DaemonThreads(1, "test-default"))

    async def work() -> str:
        return await asyncio.to_thread(lambda: threading.current_thread().name)

    assert await asyncio.to_thread(loop.run_until_complete, work()) == "test-default"
    loop.close()
    assert _gone("test-default")


async def test_opening_a_file_has_a_time_out() -> None:
    """A path on a network drive that is gone: even `stat` doesn't return."""
    over = threading.Event()
    with pytest.raises(
        InvalidArgumentError, match=r"file: it could not be opened within the total time-out of 0\.05 s"
    ):
        await in_a_thread("file", lambda: over.wait(60), 0.05)
    over.set()
    assert await in_a_thread("file", lambda: 5, None) == 5
    with pytest.raises(LookupError):
        await in_a_thread("file", {}.popitem, 30)
    assert _gone("montra-file")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_forked_while_a_thread_holds_the_lock_gets_a_new_one() -> None:
    lock, held, done = ProcessLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    child = os.fork()
    if child == 0:
        taken = lock._lock.acquire(timeout=5)
        os._exit(0 if taken else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join(30)
    assert os.waitstatus_to_exitcode(status) == 0


class LookUps:
    """A thread that looks up a host until it is told to end."""

    def __init__(self) -> None:
        self.began, self.end, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._threads = DaemonThreads(1, "test-look-up")
        self.work = self._threads.submit(self.getaddrinfo)
        assert self.began.wait(30)

    def getaddrinfo(self) -> None:
        """The name is that of the function of `socket`."""
        self.began.set()
        self.end.wait(60)
        self.ended.set()

    def close(self) -> None:
        self.end.set()
        wait([self.work], 30)
        self._threads.shutdown()
        assert _gone("test-look-up")


def forked(check: Callable[[], bool]) -> bool:
    """What a forked child found."""
    child = os.fork()
    if child == 0:
        os._exit(not check())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
threaded = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@forks
@threaded
def test_a_fork_waits_for_look_ups() -> None:
    """The C library looks up hosts under locks that a child would inherit."""
    look_ups = LookUps()
    threading.Timer(0.1, look_ups.end.set).start()
    assert forked(look_ups.ended.is_set)
    look_ups.close()


@forks
@threaded
def test_a_look_up_that_hangs_delays_one_fork_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that starts its workers does not wait for it again and again, and its workers don't at all."""
    look_ups = LookUps()
    assert look_ups.work in concurrency._lookups
    assert forked(lambda: not concurrency._lookups)
    assert not concurrency._lookups
    slept: list[float] = []
    monkeypatch.setattr(concurrency, "time", SimpleNamespace(monotonic=time.monotonic, sleep=slept.append))
    assert forked(lambda: not look_ups.ended.is_set())
    assert not slept
    look_ups.close()


@forks
def test_a_fork_in_a_signal_handler_inside_the_lock() -> None:
    lock = ProcessLock()

    def leaves_it() -> bool:
        lock.__exit__()
        return lock._lock.acquire(timeout=5)

    with lock:
        assert forked(leaves_it)


def test_it_excludes_others() -> None:
    lock = ProcessLock()
    with lock:
        assert not lock._lock.acquire(blocking=False)
    assert lock._lock.acquire(blocking=False)
