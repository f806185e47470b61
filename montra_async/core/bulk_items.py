"""Where the items of a bulk call come from."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from .errors import InvalidArgumentError
from .type_guards import is_mapping

Items: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
"""Items: a list, a generator, an asynchronous generator, ...; each with the arguments of one call."""


def items_of(items: Any) -> Any:
    """The items, unless they can't be iterated over as such.

    Raises:
        InvalidArgumentError: they can't.
    """
    if is_mapping(items) or isinstance(items, (str, bytes)) or not isinstance(items, (Iterable, AsyncIterable)):
        raise InvalidArgumentError("items", f"a list or generator of dicts, not {type(items).__name__}")
    return items  # pyright: ignore[reportUnknownVariableType]


def copied(item: Any) -> Any:
    """An item as it is now. A generator may use its dict, and the metadata in it, again for the next item.

    Args:
        item: the item; what is not a dict stays as it is.
    """
    if not is_mapping(item):
        return item
    return {name: dict(value) if is_mapping(value) else value for name, value in item.items()}


class ItemSource:
    """Items of an ordinary iterable, which is assumed not to wait.

    Args:
        items: the items.

    Attributes:
        awaited: gives the next item later; None when none is awaited.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)
        self.awaited: asyncio.Future[Any] | None = None

    def take(self, room: int) -> Iterator[Any]:
        """Yield the items that are there, at most `room`. What the iterable raises is raised after them."""
        yield from map(copied, islice(self._items, room))

    def close(self) -> list[asyncio.Task[None]]:
        """Wait for no item any more. Returns at once; the tasks end when the iterable is closed."""
        return []


class AsyncItemSource(ItemSource):
    """Items of an asynchronous iterable: the next one is awaited while calls are in flight.

    One task takes them all, and closes the iterable: a generator may have time-outs, task groups and context variables
    around its `yield`. It takes no item before there is room for it.

    Args:
        items: the items.
    """

    awaited: asyncio.Future[Any] | None

    def __init__(self, items: AsyncIterable[Any]) -> None:
        super().__init__(())
        self._async_items: Any = aiter(items)
        self._has_ended = False
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._early: deque[asyncio.Future[Any]] = deque()  # what came when nothing was awaited
        self._is_inside = False  # the iterable's own code runs, or waits
        self._is_closing = False

    def take(self, room: int) -> Iterator[Any]:
        """Yield the item that has come, if any, and begin to wait for the next one when there is room for it."""
        if self.awaited is None and self._early and room > 0:
            self.awaited = self._early.popleft()
        if self.awaited is not None and self.awaited.done():
            awaited, self.awaited = self.awaited, None
            self._has_ended = True  # unless there was an item
            for item in awaited.result():
                self._has_ended = False
                room -= 1
                yield item
        if self.awaited is None and not self._has_ended and room > 0:
            self.awaited = asyncio.get_running_loop().create_future()
            self._wake()

    def close(self) -> list[asyncio.Task[None]]:
        """Wait for no item any more, and close the iterable if it was left early."""
        if self._has_ended:
            return []
        self._is_closing = True
        self._wake()
        for one in (self.awaited, *self._early):
            if one is not None and one.done() and not one.cancelled():
                one.exception()  # otherwise the loop reports it
        if self._task is None or self._task.done():
            return []
        if self._is_inside:
            self._task.cancel()
        return [self._task]

    def _wake(self) -> None:
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._take_all())
            self._task.add_done_callback(self._note_end)

    async def _take_all(self) -> None:
        try:
            while await self._until_wanted():
                self._hand_over([copied(await self._inside(anext(self._async_items)))])
        except StopAsyncIteration:
            self._hand_over([])
        except Exception as error:
            self._hand_over(error)
        finally:
            # What closing raises is lost: how the iteration ended is what counts.
            if self._is_closing and hasattr(self._async_items, "aclose"):
                with contextlib.suppress(Exception):
                    await self._async_items.aclose()

    async def _until_wanted(self) -> bool:
        """Wait until an item is wanted. Returns False when none will be."""
        while not self._is_closing and (self.awaited is None or self.awaited.done()):
            self._wanted.clear()
            try:
                await self._wanted.wait()
            except asyncio.CancelledError as error:
                if self._is_closing or not hasattr(self._async_items, "athrow"):
                    raise
                # By a time-out in the generator, which turns it into an error of its own; or for good.
                self._hand_over([copied(await self._inside(self._async_items.athrow(error)))])
        return not self._is_closing

    async def _inside(self, step: Awaitable[Any]) -> Any:
        self._is_inside = True
        try:
            return await step
        finally:
            self._is_inside = False

    def _hand_over(self, outcome: list[Any] | Exception) -> None:
        """Give an item in a list, an empty list at the end, or an error to whoever waits now, or later."""
        if self._is_closing:
            return
        future = self._awaited_now_or_later()
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Other code has cancelled the task: that is what whoever waits for an item is told, now or later."""
        if task.cancelled() and not self._is_closing:
            self._awaited_now_or_later().cancel()

    def _awaited_now_or_later(self) -> asyncio.Future[Any]:
        if self.awaited is not None and not self.awaited.done():
            return self.awaited
        self._early.append(asyncio.get_running_loop().create_future())
        return self._early[-1]
