"""Locks that survive a fork, and threads for functions that may never return."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import wait

import pytest
from hypothesis import given, strategies as st

from montra_async import InvalidArgumentError
from montra_async.core import concurrency
from montra_async.core.concurrency import DaemonThreads, ProcessLock, helper_threads
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_what_helpers_do() -> None:
    """The C library looks up hosts under locks that a child would inherit."""
    threads, looking_up, done = helper_threads(1, "test-helper"), threading.Event(), threading.Event()

    def look_up() -> None:
        looking_up.set()
        time.sleep(0.1)
        done.set()

    work = threads.submit(look_up)
    assert looking_up.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(0 if done.is_set() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    wait([work], 30)
    threads.shutdown()
    assert _gone("test-helper")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_wait_for_long() -> None:
    """A look-up that hangs keeps no server from starting its workers, and those not from theirs."""
    threads, looking_up, done = helper_threads(1, "test-helper"), threading.Event(), threading.Event()

    def look_up() -> None:
        looking_up.set()
        done.wait(60)

    work = threads.submit(look_up)
    assert looking_up.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(1 if threads.busy and concurrency._helpers else 0)
    _, status = os.waitpid(child, 0)
    assert not done.is_set()
    assert os.waitstatus_to_exitcode(status) == 0
    done.set()
    wait([work], 30)
    threads.shutdown()
    assert _gone("test-helper")


def test_it_excludes_others() -> None:
    lock = ProcessLock()
    with lock:
        assert not lock._lock.acquire(blocking=False)
    assert lock._lock.acquire(blocking=False)
