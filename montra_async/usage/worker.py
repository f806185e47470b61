"""The command `montra-usage`: sends what other processes recorded, and shows what waits.

Web workers record with `UsageReporter(montra, outbox, send=False)`; one process of this command sends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import attrs

from .._version import __version__
from ..client import Montra
from ..core.errors import MontraError
from ..core.redaction import Secret
from .construction import default_outbox, outbox_at
from .reporter import UsageReporter
from .settings import UsageStats
from .sqlite.sqlite_outbox import SqliteOutbox

log: logging.Logger = logging.getLogger("montra")

_REPORT_SECONDS = 10.0
"""How often `send` logs what it has done."""

_ONCE_SECONDS = 60.0
"""How long `send --once` sends, by default."""

_CLOSE_SECONDS = 5.0
"""How long `send --once` still sends what was recorded while it sent the rest. It counts within its time-out."""

_EPILOG = """
environment:
  MONTRA_API_KEY   secret key, needed for sending
  MONTRA_BASE_URL  URL of the API
  MONTRA_OUTBOX    path or URL of the outbox, if --outbox is not given

examples:
  montra-usage                                     send until SIGTERM or Ctrl-C
  montra-usage send --once                         send what waits, then exit; 3 when something is left
  montra-usage status                              what waits, as JSON
  montra-usage parked                              what needs a decision, one JSON object per line
  montra-usage parked --retry 17 18                send those again
  montra-usage --outbox redis://10.0.0.5/0 send    an outbox in Redis

exit codes: 0 done, 1 failed, or no such outbox (status, parked, send --once), 2 wrong usage,
            3 something is left (send --once), or not all of these were parked (parked --retry, --drop)

A path that is not absolute is that of a file in the folder where the command is started. Start the processes that
record in the same folder, or give an absolute path. `python -m montra_async.usage.worker` is the same command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line. Default: those of the process.

    Returns:
        The exit code.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if getattr(given, "timeout", None) is not None and not given.once:
        parser.error("argument --timeout: only with --once")
    logging.basicConfig(
        level=given.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    outbox = None if given.outbox is None else Secret(given.outbox)
    given.outbox = None  # a URL may hold a password
    try:
        return asyncio.run(_run(given, outbox))
    except MontraError as error:
        _print(f"montra-usage: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the loop handles it
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="montra-usage",
        description="Send recorded usage to Montra, and show what waits.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"montra {__version__}")
    parser.set_defaults(outbox=None, name="default", log_level="info")
    _add_common(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_send(commands.add_parser("send", help="send what waits and what comes (the default)"))
    _add_common(commands.add_parser("status", help="print what waits, as JSON"))
    _add_parked(commands.add_parser("parked", help="list, retry or drop requests that need a decision"))
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that may be given before and after the command. The later one counts."""
    unset: Any = argparse.SUPPRESS  # a default of the command's parser would replace what is given before the command
    parser.add_argument(
        "--outbox",
        metavar="PATH|URL",
        default=unset,
        help="an SQLite file, or a Redis (default: the file of this user)",
    )
    parser.add_argument("--name", default=unset, help="name of the outbox in Redis (default: default)")
    parser.add_argument("--log-level", default=unset, choices=["debug", "info", "warning", "error"])


def _add_send(send: argparse.ArgumentParser) -> None:
    _add_common(send)
    send.add_argument("--once", action="store_true", help="end when nothing waits")
    send.add_argument(
        "--timeout", type=_positive, metavar="SECONDS", help="with --once: end after so long (default: 60)"
    )
    send.add_argument(
        "--concurrency", type=_one_to_1000, default=32, metavar="N", help="requests at once (default: 32)"
    )
    send.add_argument(
        "--dedupe-window",
        type=_positive,
        default=24 * 3600.0,
        metavar="SECONDS",
        help="how long the service remembers idempotency keys (default: 86400)",
    )
    send.add_argument(
        "--coalesce-window",
        type=_positive,
        default=1.0,
        metavar="SECONDS",
        help="how long sums stay open, as given to the reporters that record (default: 1)",
    )


def _add_parked(parked: argparse.ArgumentParser) -> None:
    _add_common(parked)
    parked.add_argument("--limit", type=_one_to_1000, default=100, metavar="N", help="list at most N (default: 100)")
    choice = parked.add_mutually_exclusive_group()
    choice.add_argument("--retry", nargs="+", metavar="ID", help="send these again; `all` for all")
    choice.add_argument("--drop", nargs="+", metavar="ID", help="delete these; `all` for all")


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < 1e9:
            return seconds
    raise argparse.ArgumentTypeError(f"a number of seconds, more than 0, not {text!r}")


def _one_to_1000(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= (number := int(text)) <= 1000:
            return number
    raise argparse.ArgumentTypeError(f"1 to 1000, not {text!r}")


async def _run(given: argparse.Namespace, outbox: Secret | None) -> int:
    command = given.command or "send"
    options: dict[str, Any] = {"send": command == "send", "handle_sigterm": False}
    if command == "send" and given.command is not None:
        options |= {
            "concurrency": given.concurrency,
            "dedupe_window": given.dedupe_window,
            "coalesce_window": given.coalesce_window,
        }
    place = default_outbox() if outbox is None else outbox_at(outbox, given.name)
    creates = command == "send" and not getattr(given, "once", False)
    if not creates and isinstance(place, SqliteOutbox) and _is_missing(place.path):
        _print(f"montra-usage: no such outbox: {place.path}", file=sys.stderr)
        return 1
    async with _client(command) as montra, UsageReporter(montra, place, **options) as usage:
        if command == "status":
            _print(json.dumps(attrs.asdict(await usage.stats())))
            return 0
        if command == "parked":
            return await _parked(usage, given)
        if getattr(given, "once", False):
            left = await _send_once(usage, _ONCE_SECONDS if given.timeout is None else given.timeout)
            return 3 if left else 0
        return await _send(usage)


def _client(command: str) -> Montra:
    """The client. A key is needed for sending only."""
    key = os.environ.get("MONTRA_API_KEY")
    return Montra() if command == "send" or key else Montra("unused")


def _is_missing(path: str) -> bool:
    return not os.path.lexists(path)


async def _send_once(usage: UsageReporter, timeout: float) -> int:
    """Send what waits, and close the reporter, both within `timeout`. Returns how many events are left."""
    until = time.monotonic() + timeout
    left = await usage.flush(timeout)
    log.info("%d events are left", left)
    # What others have recorded meanwhile may be under way.
    await usage.aclose(min(_CLOSE_SECONDS, max(0.0, until - time.monotonic())))
    return left


async def _send(usage: UsageReporter) -> int:
    """Send until a signal arrives."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(one, stop.set)
    log.info("sending recorded usage")
    last = UsageStats()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), _REPORT_SECONDS)
        try:
            stats = await usage.stats()
        except MontraError as error:
            log.warning("the outbox can't be looked at: %s", error)
            continue
        if (stats.delivered, stats.waiting, stats.parked) != (last.delivered, last.waiting, last.parked):
            log.info(
                "%d events sent, %d waiting (the oldest for %.0f s), %d parked, circuit %s",
                stats.delivered,
                stats.waiting,
                stats.oldest_age,
                stats.parked,
                stats.circuit,
            )
        last = stats
    return 0


async def _parked(usage: UsageReporter, given: argparse.Namespace) -> int:
    if given.retry or given.drop:
        change = usage.retry_parked if given.retry else usage.drop_parked
        ids = given.retry or given.drop
        wanted = None if ids == ["all"] else list(dict.fromkeys(ids))
        count = await change("all" if wanted is None else wanted)
        _print(json.dumps({"retried" if given.retry else "dropped": count}))
        missing = (1 if wanted is None else len(wanted)) > count
        if missing:
            what = (
                "no request is parked" if wanted is None else f"{len(wanted) - count} of {len(wanted)} are not parked"
            )
            _print(f"montra-usage: {what}", file=sys.stderr)
        return 3 if missing else 0
    for one in await usage.list_parked(limit=given.limit):
        _print(json.dumps(attrs.asdict(one), default=str))
    return 0


def _print(text: str, file: Any = None) -> None:
    (file or sys.stdout).write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
