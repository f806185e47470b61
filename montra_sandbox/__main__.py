"""The command line: `python -m montra_sandbox` and `montra-sandbox` run the sandbox until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from urllib.parse import quote

from .http.browser_protection import TOKEN_HEADER
from .server import DEFAULT_API_KEY, DEFAULT_WEBHOOK_SECRET, Sandbox

_WAKE_INTERVAL = 0.5
_TOKEN_VARIABLE = "MONTRA_SANDBOX_TOKEN"  # noqa: S105 - the name of a variable


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m montra_sandbox",
        description="The Montra and paywall APIs on this machine, with stored state, webhooks, checkout pages, a clock"
        " and faults.",
        epilog="Set the environment variables that it prints to point a client at it. "
        "Open its address in a browser for an overview.",
    )
    parser.add_argument("--port", type=int, default=4242, help="port to bind; 0 for a free one (default: 4242)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: 127.0.0.1)")
    parser.add_argument("--db", default=":memory:", metavar="FILE", help="file of the database (default: in memory)")
    parser.add_argument(
        "--api-key",
        action="append",
        dest="api_keys",
        metavar="KEY",
        help=f"accept this API key; repeat it for several merchants (default: {DEFAULT_API_KEY})",
    )
    parser.add_argument("--allow-remote", action="store_true", help="allow a --host that other machines can connect to")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        dest="allow_hosts",
        metavar="NAME[:PORT]",
        help="answer to this host name besides this machine's own; all others are refused (repeatable)",
    )
    parser.add_argument(
        "--control-token",
        default=os.environ.get(_TOKEN_VARIABLE),
        metavar="TOKEN",
        help=f"required in the header {TOKEN_HEADER} for /_sandbox/ (default: ${_TOKEN_VARIABLE}; else a random one"
        " if other machines can connect, and none if they can't)",
    )
    parser.add_argument(
        "--webhook-secret",
        default=DEFAULT_WEBHOOK_SECRET,
        metavar="SECRET",
        help=f"signs webhooks of endpoints that the controls add (default: {DEFAULT_WEBHOOK_SECRET})",
    )
    parser.add_argument("--deliver-anywhere", action="store_true", help="send webhooks to other machines too")
    return parser.parse_args(arguments)


def _serve(options: argparse.Namespace) -> None:
    sandbox = Sandbox(
        api_keys=options.api_keys or [DEFAULT_API_KEY],
        host=options.host,
        port=options.port,
        db=options.db,
        allow_remote=options.allow_remote,
        webhook_secret=options.webhook_secret,
        deliver_anywhere=options.deliver_anywhere,
        allow_hosts=options.allow_hosts,
        control_token=options.control_token or None,
    )
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():  # others can't handle signals
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _, __: stop.set())
    with sandbox:
        print(f"Montra sandbox at {sandbox.url}  (Ctrl-C stops it)\n")
        for name, value in sandbox.environment.items():
            print(f"  export {name}={value}")
        for key in sandbox.api_keys[1:]:
            print(f"  export MONTRA_API_KEY={key}  # another merchant")
        if sandbox.control_token is not None:
            print(f"  export {_TOKEN_VARIABLE}={sandbox.control_token}")
            print(f"\nThe controls need it in the header {TOKEN_HEADER}. The overview for a browser:")
            print(f"  {sandbox.url}/?token={quote(sandbox.control_token, safe='')}")
        print(f"\nState: {'in memory, lost when it stops' if options.db == ':memory:' else options.db}", flush=True)
        while not stop.wait(_WAKE_INTERVAL):  # Windows sees Ctrl-C between two waits
            pass
    print("Stopped.", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line until the sandbox is stopped.

    Args:
        arguments: the arguments without the program's name; those of the process by default.

    Returns:
        The exit code: 0 after a stop, 2 when the sandbox can't start.

    Raises:
        SystemExit: after `--help`, or for arguments that can't be parsed.
    """
    options = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        _serve(options)
    except (OSError, ValueError, sqlite3.Error) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"The sandbox can't start: {message}{_hint(error)}", file=sys.stderr)
        return 2
    return 0


def _hint(error: Exception) -> str:
    in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    return " (another sandbox may be running; --port 0 takes a free port)" if in_use else ""


if __name__ == "__main__":
    sys.exit(main())
