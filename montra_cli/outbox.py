"""Opens an outbox of recorded usage, as `montra-usage` does, to look at it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import TYPE_CHECKING

from .command import Run
from .failures import NOT_FOUND, USAGE, CliError
from .secrets import remember

if TYPE_CHECKING:
    from montra_sync.usage import UsageReporter


@contextlib.contextmanager
def open_outbox(run: Run, place: str | None, name: str) -> Generator[UsageReporter, None, None]:
    """A reporter that sends nothing.

    Args:
        run: the settings.
        place: path of an outbox; None for that of the environment.
        name: name of the outbox in Redis.

    Raises:
        CliError: there is no such outbox, or its address holds a password.
        MontraError: it can't be used.
    """
    from montra_async.core.redaction import Secret
    from montra_async.usage.construction import outbox_at
    from montra_async.usage.sqlite.sqlite_outbox import SqliteOutbox
    from montra_sync import Montra
    from montra_sync.usage import UsageReporter

    if place is not None and "://" in place and "@" in place:
        raise CliError("--outbox: a URL with a password; other users see command lines: set MONTRA_OUTBOX", USAGE)
    given = place if place is not None else os.environ.get("MONTRA_OUTBOX", "")
    remember(given if "@" in given else "")
    outbox = outbox_at(Secret(given), name)
    if isinstance(outbox, SqliteOutbox) and not os.path.lexists(outbox.path):
        raise CliError(f"no such outbox: {outbox.path}", NOT_FOUND)
    # An outbox belongs to an API; the key is not needed to look at it.
    with Montra(run.settings.api_key or "unused", run.settings.base_url) as client:
        reporter = UsageReporter(client, outbox, send=False)
        try:
            yield reporter
        finally:
            reporter.close()
