"""Asynchronous context managers in synchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from montra_async import MontraError

from .portal import has_loop, run

Entered = TypeVar("Entered")
Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)


@overload
def manage(manager: AbstractAsyncContextManager[Entered]) -> AbstractContextManager[Entered]: ...


@overload
def manage(
    manager: AbstractAsyncContextManager[Entered], make: Callable[[Entered], Made]
) -> AbstractContextManager[Made]: ...


def manage(
    manager: AbstractAsyncContextManager[Any], make: Callable[[Any], Any] = lambda entered: entered
) -> AbstractContextManager[Any]:
    """Return an asynchronous context manager as a synchronous one.

    Args:
        manager: entered and left in one task of the background loop, so it may hold a time-out or a task group.
        make: makes what `with` gives of what `async with` gives; by default the same.
    """
    return _Managed(manager, make)


class _Managed(AbstractContextManager[Made_co], Generic[Made_co]):
    """A synchronous context manager on an asynchronous one."""

    def __init__(self, manager: AbstractAsyncContextManager[Any], make: Callable[[Any], Made_co]) -> None:
        self._manager = manager
        self._make = make
        self._steps: _Steps | None = None

    def __enter__(self) -> Made_co:
        self._steps = _Steps() if has_loop() else None
        try:
            return self._make(self._run(self._manager.__aenter__))
        except BaseException:
            self._end()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return self._run(partial(self._manager.__aexit__, kind, error, trace))
        finally:
            self._end()

    def _run(self, step: Callable[[], Awaitable[Made]]) -> Made:
        return run(step) if self._steps is None else run(self._steps.run, step)

    def _end(self) -> None:
        if self._steps is not None:
            run(self._steps.end)


class _Steps:
    """A task of the event loop that runs several coroutine functions, one after the other."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Queue[tuple[Callable[[], Awaitable[Any]], asyncio.Event, list[Any]]]

    async def run(self, step: Callable[[], Awaitable[Made]]) -> Made:
        """Run a coroutine function in the task."""
        if self._task is None:
            self._next = asyncio.Queue()
            self._task = asyncio.get_running_loop().create_task(self._serve())
            _tasks.add(self._task)
            self._task.add_done_callback(_tasks.discard)
        elif self._task.get_loop() is not asyncio.get_running_loop():
            raise MontraError("the event loop on which this `with` block began has ended")
        done, outcome = asyncio.Event(), list[Any]()
        self._next.put_nowait((step, done, outcome))
        try:
            await done.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        result, error = outcome
        if error is not None:
            try:
                raise error
            finally:
                del error, outcome  # the error's traceback refers to this frame
        found: Made = result
        return found

    async def end(self) -> None:
        """End the task."""
        if self._task is not None and self._task.get_loop() is asyncio.get_running_loop():
            self._task.cancel()

    async def _serve(self) -> None:
        while True:
            step, done, outcome = await self._next.get()
            try:
                outcome += (await step(), None)
            except BaseException as error:  # also SystemExit: a task would let it out of the loop
                outcome += (None, error)
            done.set()
            del step, done, outcome


_tasks: set[asyncio.Task[None]] = set()
"""The event loop holds its tasks only weakly."""
