from __future__ import annotations

import os
import threading

import pytest

from montra_async.core.concurrency import ProcessLock


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


def test_it_excludes_others() -> None:
    lock = ProcessLock()
    with lock:
        assert not lock._lock.acquire(blocking=False)
    assert lock._lock.acquire(blocking=False)
