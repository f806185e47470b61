"""A thread that is started by whoever needs it first, and ends when it has nothing to do."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable


class OnDemandThread:
    """Runs a function in a daemon thread, one at a time.

    Starting takes no lock, because a signal handler may interrupt it and need the thread, too. Several callers may
    start threads at once: the first of these runs the function, the others end.

    Args:
        name: name of the thread.
        run: the function. Before it returns, it calls `release`.
        on_failure: called when no thread can be started.

    Attributes:
        running: whether a thread runs the function, or is about to.
    """

    def __init__(self, name: str, run: Callable[[], None], on_failure: Callable[[RuntimeError], None]) -> None:
        self._name = name
        self._run = run
        self._on_failure = on_failure
        self._tickets = [object()]
        self.running: bool = False

    def start(self) -> None:
        """Start the thread, unless it runs."""
        self.running = True  # from now on, nobody starts another, which would fail when the interpreter ends right now
        try:
            # `Thread.start` takes a lock of `threading`, and waits. A thread that started one in its turn would be too
            # late when the interpreter ends right now.
            _thread.start_new_thread(self._launch, ())
        except RuntimeError as error:
            self.running = False
            self._on_failure(error)
        except BaseException:  # of a signal handler
            self.running = False
            raise

    def release(self) -> None:
        """The function is about to return: from now on, another thread may be started."""
        self.running = False
        self._tickets.append(object())

    def reclaim(self) -> bool:
        """Take `release` back. Returns False when another thread was started meanwhile."""
        try:
            self._tickets.pop()
        except IndexError:
            return False
        self.running = True
        return True

    def wait(self, timeout: float) -> bool:
        """Wait until no thread runs the function.

        Args:
            timeout: seconds.

        Returns:
            Whether none runs it.
        """
        until = time.monotonic() + timeout
        pause = 0.0005
        while self.running and time.monotonic() < until:
            time.sleep(pause)
            pause = min(0.02, pause * 1.5)
        return not self.running

    def _launch(self) -> None:
        if self.reclaim():
            threading.current_thread().name = self._name
            # As in the threads of `threading`: else debuggers, profilers and coverage don't see this one.
            if (profile := threading.getprofile()) is not None:
                sys.setprofile(profile)
            if (trace := threading.gettrace()) is not None:
                sys.settrace(trace)
            self._run()
