"""Sends the records of a file, several at once, and notes what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from ..failures import DENIED, FAILED, NETWORK, CliError
from .progress_file import CLAIM, GOES_ON, ProgressFile
from .records import Layout, Record, key_of, read_records

if TYPE_CHECKING:
    import aiohttp

    from montra_async import Montra
    from montra_async.usage.clocks import Clock, Timestamp

_FLUSH = 0.2
_MOST_FAILURES = 8
"""Attempts of one record, each with a longer pause, before the import stops. It can be resumed."""
_LONGEST_PAUSE = 20.0
_MARGIN = 300.0


@dataclass(frozen=True)
class Source:
    """A file that is imported.

    Attributes:
        file: the open file.
        layout: how it is read.
        digest: SHA-256 of its content.
        records: number of its records.
        import_id: identifies the import in idempotency keys.
        size: number of its bytes.
    """

    file: IO[bytes]
    layout: Layout
    digest: str
    records: int
    import_id: str
    size: int


@dataclass
class _Answer:
    """What the headers of the answer to a record say."""

    is_replayed: bool = False


_ANSWER: ContextVar[_Answer | None] = ContextVar("answer", default=None)
"""The answer that a worker waits for."""


def replay_trace() -> aiohttp.TraceConfig:
    """Notes for each record whether the service has counted its key before; for `Montra(trace_configs=...)`."""
    import aiohttp

    async def note(session: object, context: object, ended: aiohttp.TraceRequestEndParams) -> None:
        answer = _ANSWER.get()
        if answer is not None:
            answer.is_replayed = ended.response.headers.get("Idempotent-Replayed", "").lower() == "true"

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(note)
    return trace


def digest_of(file: IO[bytes]) -> str:
    """SHA-256 of a file.

    Args:
        file: the file; it is at its beginning afterwards.
    """
    digest = digest_of_first(file, os.fstat(file.fileno()).st_size)
    assert digest is not None
    return digest


def digest_of_first(file: IO[bytes], size: int, *, whole_lines: bool = False) -> str | None:
    """SHA-256 of the first bytes of a file.

    Args:
        file: the file; it is at its beginning afterwards.
        size: how many bytes.
        whole_lines: whether these must be whole lines.

    Returns:
        None if there are not so many, or no whole lines.
    """
    file.seek(0)
    digest = hashlib.sha256()
    left, last = size, b""
    while left and (chunk := file.read(min(left, 1024 * 1024))):
        digest.update(chunk)
        left, last = left - len(chunk), chunk[-1:]
    is_cut = whole_lines and last != b"\n" and file.read(1) != b"\n"
    file.seek(0)
    return None if left or is_cut else digest.hexdigest()


class Importer:
    """One run of an import.

    Args:
        client: the service. Its calls have one attempt: the importer repeats them.
        source: the file.
        progress_file: how far it is.
        concurrency: how many records are sent at once.
        dedupe_window: seconds for which the service remembers idempotency keys.
        resend_uncertain: whether to send what may have been counted, and whose key may be forgotten.
        on_progress: called with the number of records that are done.
        clock: tells the time, also that of a suspended machine. Default: the system's.

    Attributes:
        delivered: how many this run has had counted.
        replayed: how many of these had been counted before, under the same keys.
        uncertain: numbers and lines of records that may have been counted, and were left.
    """

    def __init__(
        self,
        client: Montra,
        source: Source,
        progress_file: ProgressFile,
        *,
        concurrency: int,
        dedupe_window: float,
        resend_uncertain: bool,
        on_progress: Callable[[int], object],
        clock: Clock | None = None,
    ) -> None:
        from montra_async.usage.clocks import SystemClock

        self._client, self._source, self._file = client, source, progress_file
        self._concurrency, self._window = concurrency, dedupe_window
        self._resend = resend_uncertain
        self._on_progress = on_progress
        self._clock = SystemClock() if clock is None else clock
        self._stat = os.fstat(source.file.fileno())
        self._claimed_before = progress_file.progress.claimed_up_to
        self._records = self._open_records()
        self.delivered: int = 0
        self.replayed: int = 0
        self.uncertain: list[tuple[int, int]] = []

    async def run(self) -> None:
        """Send all records that are not done.

        Raises:
            CliError: the service can't be reached or refuses the key, the file has changed, or progress can't be
                written; it can be resumed.
        """
        tasks = [asyncio.create_task(self._worker()) for _ in range(self._concurrency)]
        flusher = asyncio.create_task(self._flush_regularly())
        try:
            await _all_done(tasks, flusher)
        finally:
            for task in [*tasks, flusher]:
                task.cancel()
            await asyncio.gather(*tasks, flusher, return_exceptions=True)
            self._show_progress()
            self._file.flush()
        self._check_unchanged()

    async def _worker(self) -> None:
        for record in self._records:
            await self._send(record)

    def _open_records(self) -> Iterator[Record]:
        """What is to be sent, in the order of the file. Claims it, and notes what is wrong, before it is taken."""
        progress = self._file.progress
        for record in read_records(self._source.file, self._source.layout):
            if progress.is_done(record.number):
                continue
            if record.number > progress.claimed_up_to:
                self._check_unchanged()
                self._file.flush()
                up_to = min(record.number + CLAIM - 1, max(self._source.records, record.number))
                self._file.claim(up_to, self._clock.wall())
            elif not self._resend and self._is_forgotten(record.number):
                self.uncertain.append((record.number, record.line))
                continue
            if record.usage is None:
                self._file.refuse(record.number, record.line, record.problem)
                continue
            yield record

    def _is_forgotten(self, number: int) -> bool:
        """Whether an earlier run may have had a record counted, and the service may have forgotten its key since."""
        at = self._file.progress.claimed_at(number)
        if at is None or number > self._claimed_before:
            return False
        return not -_MARGIN <= self._clock.wall() - at <= self._surely_remembered

    def _is_too_late(self, number: int, first: Timestamp | None) -> bool:
        """Whether this run may have had a record counted, and the service may have forgotten its key since.

        Pauses between attempts are short, but the machine or the process may have been suspended meanwhile. What
        `resend_uncertain` allows is what earlier runs have left, and a person has looked at.
        """
        from montra_async.usage.clocks import age

        if first is not None and age(first, self._now()) > self._surely_remembered:
            return True
        return not self._resend and self._is_forgotten(number)

    @property
    def _surely_remembered(self) -> float:
        return self._window - min(_MARGIN, self._window / 10)

    def _now(self) -> Timestamp:
        from montra_async.usage.clocks import Timestamp

        return Timestamp(self._clock.wall(), self._clock.boot(), 1)  # within one start of the machine

    def _check_unchanged(self) -> None:
        now = os.fstat(self._source.file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._stat.st_size, self._stat.st_mtime_ns):
            raise CliError("the file was changed while it was imported", FAILED)

    async def _send(self, record: Record) -> None:
        """Send a record until the service has counted or refused it."""
        from montra_async import MontraError
        from montra_async.usage.events import Outcome
        from montra_async.usage.sending.verdicts import Signal, describe, verdict_of

        usage = record.usage
        assert usage is not None
        key = key_of(record, self._source.import_id)
        answer = _Answer()
        _ANSWER.set(answer)
        first: Timestamp | None = None  # of the attempts that may have had it counted
        for attempt in range(1, _MOST_FAILURES + 1):
            if attempt > 1 and self._is_too_late(record.number, first):
                self.uncertain.append((record.number, record.line))
                return
            began = self._now()
            try:
                await self._client.report_usage(
                    usage.customer_id,
                    usage.meter_slug,
                    amount=usage.amount,
                    metadata=usage.metadata,
                    idempotency_key=key,
                )
            except MontraError as error:
                verdict = verdict_of(error)
                if verdict.outcome is Outcome.REFUSED:
                    self._file.refuse(record.number, record.line, describe(verdict))
                    return
                if verdict.outcome is not Outcome.DELIVERED:
                    first = began if first is None and verdict.sent else first
                    if verdict.signal is Signal.BLOCKED or attempt == _MOST_FAILURES:
                        raise _stopped(verdict.signal is Signal.BLOCKED, str(error)) from None
                    await asyncio.sleep(_pause(attempt, verdict.retry_after))
                    continue
            self._file.add(record.number)
            self.delivered += 1
            self.replayed += answer.is_replayed and attempt == 1  # later, this run may have had it counted itself
            return

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH)
            self._file.flush()
            self._show_progress()

    def _show_progress(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads stderr any more; the import goes on
            self._on_progress(self._file.progress.count)


async def _all_done(workers: list[asyncio.Task[None]], flusher: asyncio.Task[None]) -> None:
    """Wait for the workers. The first failure of anyone ends it: without the flusher, nothing would be noted."""
    left = set(workers)
    while left:
        done, _ = await asyncio.wait({*left, flusher}, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
        left -= done


def _pause(attempt: int, retry_after: float | None) -> float:
    """Seconds before the next attempt: what the service asks for, else longer and longer."""
    longest = min(_LONGEST_PAUSE, 0.25 * 2.0**attempt)
    asked = min(retry_after or 0.0, 60.0)
    return max(asked, longest * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret


def _stopped(is_blocked: bool, message: str) -> CliError:
    return CliError(message, DENIED if is_blocked else NETWORK, GOES_ON)
