"""A process that uses an `SqliteOutbox`, and prints lines of JSON.

Run as `python -m tests.usage.outbox_worker TASK PATH NUMBER`.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from montra_async.usage.events import Event, KeySource
from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox

from .outbox_helpers import delivered, settings

SETTINGS = settings(coalesce_window=0.01)


def say(what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")  # one call, so that lines of several processes don't mix


def make_events(keys: KeySource, number: int) -> list[Event]:
    return [
        Event(keys.new(), f"cust_{each % 5}", "tokens", each, 0, None, time.time(), each % 2 == 0)
        for each in range(number)
    ]


def claim(outbox: SqliteOutbox, number: int) -> None:
    """Claim, and wait until the end."""
    say([request.key for request in outbox.exchange([], number).requests])
    sys.stdin.read()


def record_and_send(outbox: SqliteOutbox, number: int) -> None:
    """Record and send at the same time as others."""
    keys = KeySource()
    left = number
    claimed = outbox.exchange([], 0)
    while left or claimed.requests:
        if left:
            events = make_events(keys, min(left, 20))
            left -= len(events)
            outbox.append(events)
            say({"recorded": [[event.key, event.units] for event in events]})
        done = claimed.requests
        claimed = outbox.exchange(delivered(*done), 7, flush=True)
        say({"delivered": [[request.key, request.units, request.events] for request in done]})


def record_for_ever(outbox: SqliteOutbox, number: int) -> None:
    """Record and send until the process is killed."""
    keys = KeySource()
    claimed = outbox.exchange([], 0)
    while True:
        events = make_events(keys, number)
        outbox.append(events)
        say({"recorded": [[event.key, event.units] for event in events]})
        done = claimed.requests
        say({"sent": [[request.key, request.units, request.events] for request in done]})
        claimed = outbox.exchange(delivered(*done), 7, flush=True)


def fork_while_writing(outbox: SqliteOutbox, number: int) -> None:
    """Fork again and again while a thread records. Each child records and sends, too."""
    lock, over = threading.Lock(), threading.Event()

    def write() -> None:
        keys = KeySource()
        while not over.is_set():
            with lock:
                _round(outbox, keys)

    thread = threading.Thread(target=write)
    thread.start()
    children: list[int] = []
    for _ in range(number):
        with lock:  # as the engine of a reporter does it
            outbox.before_fork()
            child = os.fork()
            if child == 0:
                outbox.after_fork_in_child()
        if child == 0:
            _in_child(outbox)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    over.set()
    thread.join()
    say({"children": ended})


def fork_without_hooks(outbox: SqliteOutbox, number: int) -> None:
    """Fork as a server written in C does it, without a word to Python, while requests are claimed."""
    keys = KeySource()
    events = make_events(keys, 10)
    outbox.append(events)
    say({"recorded": [[event.key, event.units] for event in events]})
    claimed = outbox.exchange([], 3).requests
    fork: Callable[[], int] = ctypes.PyDLL(None).fork
    ended: list[int] = []
    for _ in range(number):
        child = fork()
        if child == 0:
            _in_child(outbox)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    outbox.exchange(delivered(*claimed), 0)
    say({"delivered": [[request.key, request.units, request.events] for request in claimed]})
    say({"children": ended})


def _in_child(outbox: SqliteOutbox) -> None:
    status = 1
    try:
        keys = KeySource()
        for _ in range(3):
            _round(outbox, keys)
        outbox.close()
        status = 0
    finally:
        os._exit(status)


def _round(outbox: SqliteOutbox, keys: KeySource) -> None:
    events = make_events(keys, 5)
    outbox.append(events)
    say({"recorded": [[event.key, event.units] for event in events]})
    requests = outbox.exchange([], 4, flush=True).requests
    outbox.exchange(delivered(*requests), 0)
    say({"delivered": [[request.key, request.units, request.events] for request in requests]})


TASKS: dict[str, Callable[[SqliteOutbox, int], None]] = {
    task.__name__: task for task in (claim, record_and_send, record_for_ever, fork_while_writing, fork_without_hooks)
}

if __name__ == "__main__":
    name, path, count = sys.argv[1:]
    mine = SqliteOutbox(path, timeout=30.0)
    mine.open(SETTINGS)
    TASKS[name](mine, int(count))
    mine.close()
