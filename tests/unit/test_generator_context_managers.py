"""The generator makes context managers of asynchronous ones: generated from, imported, entered and left."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import typing
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from montra_sync.context_managers import _Steps

from .generating import client_source, load_sample


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """Generates a facade of `Client`, and of `Charge` where the source has one, and imports it."""

    return partial(load_sample, tmp_path)


def test_context_managers(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
@asynccontextmanager
async def charging(self, amount: int) -> AsyncIterator[Charge]:
    log.append('in')
    try:
        yield Charge(amount)
    except KeyError:
        log.append('swallowed')
    finally:
        log.append('out')

@contextmanager
def plain(self) -> Iterator[int]:
    yield 1

def other(self) -> AbstractAsyncContextManager[Charge]:
    return self.charging(2)
""",
            head="from collections.abc import AsyncIterator, Iterator\n"
            "from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager\nlog = []",
            charge=True,
        )
    )
    client = made.Client()
    with client.charging(4) as charge:
        assert (type(charge), charge.debit()) == (made.Charge, 4)
        raise KeyError
    with pytest.raises(OSError, match="x"), client.other():
        raise OSError("x")
    with client.plain() as one:
        assert one == 1
    log = __import__(made.__name__.replace("facade", "client"), fromlist=["log"]).log
    assert log == ["in", "swallowed", "out", "in", "out"]
    hints = typing.get_type_hints(made.Client.charging)
    assert hints["return"] == AbstractContextManager[made.Charge]


def test_a_context_manager_is_entered_and_left_in_one_task(load: Callable[..., Any]) -> None:
    """Cancel scopes, time-outs and task groups insist on it."""
    made = load(
        client_source(
            """
@asynccontextmanager
async def scope(self, seconds: float) -> AsyncIterator[str]:
    task = asyncio.current_task()
    with anyio.move_on_after(seconds):
        yield str(id(task))
    log.append(asyncio.current_task() is task)

@asynccontextmanager
async def broken(self) -> AsyncIterator[int]:
    raise SystemExit(3)
    yield 1

async def tasks(self) -> int:
    await asyncio.sleep(0)
    return len(asyncio.all_tasks())
""",
            head="import asyncio\nimport anyio\nfrom collections.abc import AsyncIterator\n"
            "from contextlib import asynccontextmanager\nlog = []",
        )
    )
    client = made.Client()
    before = client.tasks()
    with client.scope(60) as first, client.scope(60) as second:
        assert first != second
    with pytest.raises(KeyboardInterrupt), client.scope(60):
        raise KeyboardInterrupt
    with pytest.raises(SystemExit), client.broken():
        pytest.fail("entered")
    log = __import__(made.__name__.replace("facade", "client"), fromlist=["log"]).log
    assert log == [True, True]
    assert client.tasks() == before


TRANSACTION = """
from types import TracebackType

class Client:
    def __init__(self) -> None:
        self._log: list[str] = []

    async def log(self) -> list[str]:
        return self._log

    async def aclose(self) -> None:
        self._log.append("close")

    async def __aenter__(self) -> "Client":
        self._log.append("connect")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._log.append("commit" if error is None else "rollback")
        await self.aclose()
        return isinstance(error, KeyError)
"""


def test_a_client_that_does_more_than_close_runs_both_methods(load: Callable[..., Any]) -> None:
    made = load(TRANSACTION)
    client = made.Client()
    with client as entered:
        assert entered is client
        raise KeyError
    with pytest.raises(OSError, match="x"), client:
        raise OSError("x")
    with client:
        pass
    ends = ["connect", "rollback", "close", "connect", "rollback", "close", "connect", "commit", "close"]
    assert client.log() == ends
    assert typing.get_type_hints(made.Client.__exit__)["return"] is bool


ENDED = """
import contextlib
from montra_async import MontraError
from montra_sync import portal
from montra_sync.context_managers import manage

@contextlib.asynccontextmanager
async def number():
    yield 1

try:
    with manage(number()) as one:
        portal._background.end()
        portal._background = portal._Background()
except MontraError as error:
    print(one, error)
portal._background.end()
with manage(number(), lambda found: -found) as one:
    print(one)
"""


def test_a_block_may_outlive_its_event_loop() -> None:
    """After a fork, say; and at the interpreter's end, when each call has an event loop of its own."""
    run = subprocess.run([sys.executable, "-W", "error", "-c", ENDED], capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines() == ["1 the event loop on which this `with` block began has ended", "-1"], run.stderr
    assert not run.stderr


async def test_a_cancelled_step_cancels_what_it_runs() -> None:
    steps, began, ended = _Steps(), asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(steps.run(wait))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended.wait()
    await steps.end()
