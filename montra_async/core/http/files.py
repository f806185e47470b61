"""Reads a caller's files, any of which may block for ever, in threads that are abandoned when they block."""

from __future__ import annotations

import asyncio
import io
import os
import select
import stat
from collections.abc import AsyncGenerator, Callable
from typing import Any, BinaryIO, TypeVar, cast

from ..concurrency import DaemonThreads
from ..errors import InvalidArgumentError

T = TypeVar("T")

_PIECE = 64 * 1024
_LOOK_SECONDS = 0.1
"""How often a thread that waits for a FIFO checks whether its content is still wanted."""


def open_regular(parameter: str, path: str) -> BinaryIO:
    """Open a regular file: opening a FIFO may block, and opening a device may have effects.

    Args:
        parameter: name of the argument, for errors.
        path: of the file.

    Raises:
        InvalidArgumentError: no such file, or not a regular one.
    """
    try:
        _expect_regular(parameter, path, os.stat(path).st_mode)
        file = open(path, "rb", opener=_without_blocking)  # noqa: SIM115 - the caller closes it
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidArgumentError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidArgumentError(parameter, f"can't read {path!r}: {reason}") from None
    try:
        _expect_regular(parameter, path, os.fstat(file.fileno()).st_mode)  # it may have been replaced
    except BaseException:
        file.close()
        raise
    return file


def _without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _expect_regular(parameter: str, path: str, mode: int) -> None:
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a directory says so itself
        problem = f"{path!r} is not a regular file; open it with mode 'rb', and give the open file"
        raise InvalidArgumentError(parameter, problem)


async def in_a_thread(parameter: str, work: Callable[[], T], seconds: float | None) -> T:
    """Run a function that uses a file in a thread, which is abandoned when it takes too long.

    Args:
        parameter: name of the argument, for errors.
        work: the function.
        seconds: time-out; None for no limit.

    Raises:
        InvalidArgumentError: it took longer than `seconds`.
    """
    threads = DaemonThreads(1, "montra-file")
    future = asyncio.get_running_loop().run_in_executor(threads, work)
    threads.shutdown()
    done, _ = await asyncio.wait([future], timeout=seconds)
    if not done:
        future.cancel()
        raise InvalidArgumentError(parameter, f"it could not be opened within the total time-out of {seconds:g} s")
    return future.result()


async def pieces(
    parameter: str, opened: Callable[[], BinaryIO], *, size: int | None, close: bool
) -> AsyncGenerator[bytes, None]:
    """The content of a file in pieces, read in a thread.

    When the generator is closed while the thread reads, the thread is abandoned; it ends when the file stops blocking.

    Args:
        parameter: name of the argument, for errors.
        opened: returns the file, positioned at its first byte; called in the thread.
        size: number of bytes to read; None for all.
        close: whether to close the file afterwards.

    Raises:
        InvalidArgumentError: the file can't be read, returns something else than bytes, or ends before `size`.
    """
    threads = DaemonThreads(1, "montra-file")
    reader = _Reader(parameter, opened, close=close)
    loop = asyncio.get_running_loop()
    left = size
    try:
        while left is None or left > 0:
            piece = await loop.run_in_executor(threads, reader.read, _PIECE if left is None else min(left, _PIECE))
            if not piece:
                break
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            yield piece
        if left:
            raise InvalidArgumentError(parameter, f"it ended {left} bytes before its size of {size}")
    finally:
        reader.wanted = False
        threads.submit(reader.end)
        threads.shutdown()


class _Reader:
    """The part of `pieces` that runs in the thread. It stops waiting when `wanted` is unset."""

    def __init__(self, parameter: str, opened: Callable[[], BinaryIO], *, close: bool) -> None:
        self.wanted = True
        self._parameter = parameter
        self._opened = opened
        self._close = close
        self._file: BinaryIO | None = None
        self._wait: Callable[[int], object] | None = None
        self._read: Callable[[int], object] = self._open_and_read

    def read(self, size: int) -> bytes:
        try:
            self._wait_until_readable()
            piece: Any = self._read(size) if self.wanted else b""
        except InvalidArgumentError:
            raise
        except BaseException as error:
            # Any exception: aiohttp would hide it, and let SystemExit end the event loop.
            raise self._problem(f"reading it failed with {type(error).__name__}: {error}") from error
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise self._problem("its read() gave no bytes; open it in binary mode, and not as non-blocking")
        return bytes(cast("bytes", piece))

    def end(self) -> None:
        if self._close and self._file is not None:
            self._file.close()

    def _open_and_read(self, size: int) -> object:
        self._file = file = self._opened()
        self._read = cast("Any", file).read
        if _may_wait(file):
            self._read = getattr(file, "read1", file.read)  # `read1` returns what there is
            poll = select.poll()
            poll.register(file, select.POLLIN)
            self._wait = poll.poll
            self._wait_until_readable()
        return self._read(size) if self.wanted else b""

    def _wait_until_readable(self) -> None:
        """Poll, because nobody could close the file while this thread is inside its `read`."""
        if self._wait is not None:
            while self.wanted and not self._wait(int(_LOOK_SECONDS * 1000)):
                pass

    def _problem(self, problem: str) -> InvalidArgumentError:
        return InvalidArgumentError(self._parameter, problem)


def _may_wait(file: Any) -> bool:
    """Whether a file is a FIFO, pipe, socket or terminal that can be polled.

    Only Python's own file objects: others may have read ahead of their `fileno`.
    """
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    if type(raw) is not io.FileIO or not hasattr(select, "poll"):
        return False
    mode = os.fstat(raw.fileno()).st_mode
    return not stat.S_ISREG(mode)
