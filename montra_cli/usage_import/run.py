"""An import from the command line: opens the file, shows how far it is, and reports."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Context, Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..cleaning import clean
from ..command import Run
from ..failures import DIFFERENT, USAGE, CliError
from ..output.encoding import to_json
from ..output.files import write_file
from ..output.progress import ProgressBar
from ..output.text import count_of, plain
from .importer import Importer, Source, digest_of, digest_of_first, replay_trace
from .progress_file import Progress, ProgressFile
from .records import AMOUNT_DIGITS, Layout, Record, read_records, reject_lines

if TYPE_CHECKING:
    from montra_async import Montra

_SHOWN = 20
_EXACT = Context(prec=2 * AMOUNT_DIGITS + 400)
"""Adds amounts without rounding: each is below 1e64, with at most 400 decimals."""


@dataclass(frozen=True)
class ImportOptions:
    """How a file is imported.

    Attributes:
        layout: how it is read.
        rejects: where refused lines are written; None for nowhere.
        concurrency: how many records are sent at once.
        progress: where progress is kept; None for beside the file.
        import_id: name of the import; None for one that is made of the content.
        dedupe_window: seconds for which the service remembers idempotency keys.
        resend_uncertain: whether to send what may have been counted.
    """

    layout: Layout
    rejects: str | None
    concurrency: int
    progress: str | None
    import_id: str | None
    dedupe_window: float
    resend_uncertain: bool


def check_file(run: Run, path: str, layout: Layout, rejects: str | None) -> None:
    """Read a file and send nothing.

    Args:
        run: the output.
        path: path of the file.
        layout: how it is read.
        rejects: where wrong lines are written; None for nowhere.

    Raises:
        CliError: it can't be read, or lines are wrong.
    """
    totals: dict[str, Decimal] = {}
    count = 0
    wrong: dict[int, tuple[int, str]] = {}
    _refuse_same(path, {"--rejects": rejects})
    with _opened(path) as file:
        for record in read_records(file, layout):
            if record.usage is None:
                wrong[record.number] = (record.line, record.problem)
                continue
            count += 1
            totals[record.usage.meter_slug] = _EXACT.add(
                totals.get(record.usage.meter_slug, Decimal(0)), record.usage.amount
            )
        run.output.note(f"{count_of(count, 'line')} can be sent.")
        for slug, total in totals.items():
            run.output.note(f"  {slug}: {plain(total)}")
        _report_refused(run, file, layout, wrong, rejects)
    if wrong:
        raise CliError(f"{count_of(len(wrong), 'line')} can't be sent", DIFFERENT)


def import_file(run: Run, path: str, options: ImportOptions) -> None:
    """Import a file, or go on with it.

    Args:
        run: the settings and the output.
        path: path of the file.
        options: how it is imported.

    Raises:
        CliError: it was interrupted and can be resumed, or lines were refused.
    """
    from montra_async import Montra

    with _opened(path) as file:
        client = Montra(
            run.settings.api_key,
            run.settings.base_url,
            max_attempts=1,
            timeout=30,
            pool_size=options.concurrency,
            trace_configs=[replay_trace()],
        )
        target = _target(client.base_url, run.settings.api_key or "")
        place = _progress_path(path, options, target)
        _refuse_same(path, {"--progress": str(place), "--rejects": options.rejects})
        _refuse_same(str(place), {"--rejects": options.rejects})
        source = _source(file, options)
        progress_file = ProgressFile(
            place,
            {"import": source.import_id, "digest": source.digest, "target": target, "size": source.size},
            import_of=lambda digest: _import_id(digest, options),
            digest_of_first=lambda size: digest_of_first(file, size, whole_lines=True),
        )
        source = replace(source, import_id=progress_file.import_id)
        try:
            if progress_file.progress.finished_at is not None:
                _tell_finished(run, progress_file.progress, place)
            else:
                _run(run, client, source, progress_file, options)
            _report(run, file, options, progress_file.progress)
        finally:
            progress_file.close()


def _run(run: Run, client: Montra, source: Source, progress_file: ProgressFile, options: ImportOptions) -> None:
    before = progress_file.progress.count
    if progress_file.has_grown:
        run.output.note("The file begins with what was imported; going on with the lines behind.")
    elif before:
        run.output.note(f"{count_of(before, 'line')} were done before; going on.")
    began = time.monotonic()
    with ProgressBar("Importing", source.records, before) as bar:
        importer = Importer(
            client,
            source,
            progress_file,
            concurrency=options.concurrency,
            dedupe_window=options.dedupe_window,
            resend_uncertain=options.resend_uncertain,
            on_progress=bar.update,
        )
        try:
            asyncio.run(_run_and_close(importer, client))
        except KeyboardInterrupt:
            progress_file.flush()
            run.output.note("Stopped. The same command goes on from here.")
            raise
    seconds = max(time.monotonic() - began, 1e-9)
    rate = importer.delivered / seconds
    counted = importer.delivered - importer.replayed
    run.output.note(f"{count_of(counted, 'line')} counted in {seconds:.1f} s ({rate:,.0f} sent/s).")
    if importer.replayed:
        run.output.note(f"{count_of(importer.replayed, 'line')} had been counted before, and not again.")
    if importer.uncertain:
        _tell_uncertain(importer.uncertain)
    progress_file.finish(time.time())


async def _run_and_close(importer: Importer, client: Montra) -> None:
    async with client:
        await importer.run()


def _tell_uncertain(uncertain: list[tuple[int, int]]) -> None:
    lines = ", ".join(str(line) for _, line in sorted(uncertain)[:_SHOWN])
    more = f" and {len(uncertain) - _SHOWN} more" if len(uncertain) > _SHOWN else ""
    raise CliError(
        f"{count_of(len(uncertain), 'line')} may have been counted by an attempt that was interrupted, and the"
        f" service may have forgotten their keys since: {lines}{more}",
        DIFFERENT,
        "Compare with the service's records. --resend-uncertain sends them, and counts twice what was counted.",
    )


def _tell_finished(run: Run, progress: Progress, place: Path) -> None:
    at = datetime.fromtimestamp(progress.finished_at or 0, timezone.utc)
    run.output.note(
        f"This file was imported completely at {at:%Y-%m-%d %H:%M:%S} UTC ({place.name}); nothing is sent.\n"
        "To import the same content once more: --import-id NAME."
    )


def _report(run: Run, file: IO[bytes], options: ImportOptions, progress: Progress) -> None:
    _report_refused(run, file, options.layout, progress.refused, options.rejects)
    if progress.refused:
        raise CliError(f"{count_of(len(progress.refused), 'line')} refused", DIFFERENT)


def _report_refused(
    run: Run, file: IO[bytes], layout: Layout, refused: dict[int, tuple[int, str]], rejects: str | None
) -> None:
    for line, reason in sorted(refused.values())[:_SHOWN]:
        run.output.note(f"line {line}: {clean(reason)}")
    if len(refused) > _SHOWN:
        run.output.note(
            f"... and {len(refused) - _SHOWN} more" + ("" if rejects else "; --rejects FILE writes them all")
        )
    if rejects is not None:
        file.seek(0)
        found = _with_reasons(read_records(file, layout), refused)
        write_file(rejects, reject_lines(found, layout))
        run.output.note(f"Wrote {count_of(len(refused), 'refused line')} to {rejects}.")


def _with_reasons(records: Iterator[Record], refused: dict[int, tuple[int, str]]) -> Iterator[tuple[Record, str]]:
    for record in records:
        if record.number in refused:
            yield record, refused[record.number][1]


def _opened(path: str) -> IO[bytes]:
    """A regular file: it is read several times, and again after a crash."""
    try:
        is_regular = Path(path).is_file()  # opening a FIFO would wait for a writer
        if not is_regular and Path(path).exists():
            raise CliError(f"{path}: not a regular file; an import must be able to read it again", USAGE)
        file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}", USAGE) from None
    return file


def _refuse_same(path: str, written: dict[str, str | None]) -> None:
    """Refuse to write a file that is read, whatever name or link it has."""
    for option, name in written.items():
        if name is None:
            continue
        try:
            is_same = os.path.samefile(path, name)
        except OSError:  # one of them does not exist yet
            is_same = os.path.realpath(path) == os.path.realpath(name)
        if is_same:
            raise CliError(f"{option} {name}: would overwrite {path}", USAGE, "Give another file.")


def _source(file: IO[bytes], options: ImportOptions) -> Source:
    size = os.fstat(file.fileno()).st_size
    digest = digest_of(file)
    records = sum(1 for _ in read_records(file, options.layout))
    file.seek(0)
    return Source(file, options.layout, digest, records, _import_id(digest, options), size)


def _import_id(digest: str, options: ImportOptions) -> str:
    layout = options.layout
    named = {**(layout.names or {})}
    content = [digest, layout.format, layout.delimiter, named, layout.meter, options.import_id]
    return hashlib.sha256(to_json(content).encode()).hexdigest()[:32]


def _target(base_url: str, key: str) -> str:
    """Which merchant of which service: not its key, and nothing that the key could be found from."""
    return hashlib.sha256(f"{base_url}\n{hashlib.sha256(key.encode()).hexdigest()}".encode()).hexdigest()[:16]


def _progress_path(path: str, options: ImportOptions, target: str) -> Path:
    if options.progress is not None:
        return Path(options.progress)
    name = hashlib.sha256(f"{target}\n{options.import_id or ''}".encode()).hexdigest()[:8]
    return Path(f"{path}.{name}.progress")
