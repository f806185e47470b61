"""How far a long command is: a bar on a terminal, else a line now and then, always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_INTERVAL = 10.0


class ProgressBar:
    """Shows how far a command is, in `with`.

    Args:
        title: what is done.
        total: how many there are; None if nobody knows.
        done: how many were done before.
    """

    def __init__(self, title: str, total: int | None, done: int = 0) -> None:
        self._title, self._total, self._done, self._first = title, total, done, done
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._began = self._told = time.monotonic()

    def __enter__(self) -> ProgressBar:
        if sys.stderr.isatty():
            self._progress, self._task = _begin(self._title, self._total, self._done)
        return self

    def update(self, done: int) -> None:
        """So many are done.

        Args:
            done: the number.
        """
        self._done = done
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, rate=self._rate())
        elif time.monotonic() - self._told >= _INTERVAL:
            self._told = time.monotonic()
            total = "" if self._total is None else f" of {self._total:,}"
            print(f"{self._title}: {done:,}{total}, {self._rate():,.0f}/s", file=sys.stderr, flush=True)

    def _rate(self) -> float:
        seconds = time.monotonic() - self._began
        return (self._done - self._first) / seconds if seconds > 0 else 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


def _begin(title: str, total: int | None, done: int) -> tuple[Progress, TaskID]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .tables import console

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s", markup=False),
        TimeRemainingColumn(),
        console=console(stderr=True),
    )
    progress.start()
    return progress, progress.add_task(title, total=total, completed=done, rate=0.0)
