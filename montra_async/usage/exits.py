"""The end of the process: reporters send what they can within their `exit_timeout`, at exit and at SIGTERM.

Whatever is left stays in the outbox, and is sent by another process or after the next start.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
import time
import weakref
from types import FrameType
from typing import Protocol


class Closable(Protocol):
    """What is closed at the end."""

    def close_at_exit(self) -> None:
        """Send what can be sent, within a time limit. Never raises."""
        ...


_LONGEST = 60.0
"""Seconds that reporters may take at most. Each has its own time limit; this is for those whose outbox hangs."""

_open: weakref.WeakSet[Closable] = weakref.WeakSet()
_terminating = False


def register(reporter: Closable, *, handle_sigterm: bool) -> None:
    """Close a reporter at the end of the process.

    Args:
        reporter: the reporter.
        handle_sigterm: also at SIGTERM, if nobody else handles it and this is the main thread.
    """
    _open.add(reporter)
    if (
        handle_sigterm
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        with contextlib.suppress(ValueError):  # an interpreter other than the main one
            signal.signal(signal.SIGTERM, _on_sigterm)


def unregister(reporter: Closable) -> None:
    """Forget a reporter that was closed."""
    _open.discard(reporter)


def _close_all() -> None:
    """Close all reporters at the same time, so that their time limits don't add up."""
    reporters = list(_open)
    threads: list[threading.Thread] = []
    for reporter in reporters[1:]:
        thread = threading.Thread(target=reporter.close_at_exit, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down
            reporter.close_at_exit()
        else:
            threads.append(thread)
    if reporters:
        reporters[0].close_at_exit()
    until = time.monotonic() + _LONGEST
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _on_sigterm(_: int, __: FrameType | None) -> None:
    """Drain in a thread, because the interrupted code may hold any lock; then die of the signal.

    The application goes on meanwhile: what it records is stored, too. A second SIGTERM ends the process at once.
    """
    global _terminating
    if not _terminating:
        _terminating = True
        try:
            threading.Thread(target=_drain_and_die, name="montra-usage-exit", daemon=True).start()
            return
        except RuntimeError:
            pass
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _drain_and_die() -> None:
    _close_all()
    os.kill(os.getpid(), signal.SIGTERM)


def _in_forked_child() -> None:
    global _terminating
    _terminating = False


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
