"""`python -m montra_sandbox`: run the sandbox until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from urllib.parse import quote

from .http.guard import TOKEN_HEADER
from .server import DEFAULT_API_KEY, Sandbox

TOKEN_VARIABLE = "MONTRA_SANDBOX_TOKEN"  # noqa: S105 - the name of a variable


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m montra_sandbox",
        description="Montra and the paywall service on this machine: state, webhooks, checkout pages, clock, faults.",
        epilog="Point a client at it with the environment variables that it prints. "
        "Open its address in a browser to look inside.",
    )
    parser.add_argument("--port", type=int, default=4242, help="0 takes a free one (default: 4242)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: 127.0.0.1)")
    parser.add_argument(
        "--db", default=":memory:", metavar="FILE", help="keep the state in this file (default: in memory)"
    )
    parser.add_argument(
        "--api-key",
        action="append",
        dest="api_keys",
        metavar="KEY",
        help=f"accept this key; several make several merchants (default: {DEFAULT_API_KEY})",
    )
    parser.add_argument("--allow-remote", action="store_true", help="allow --host to let other machines in")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        dest="allow_hosts",
        metavar="NAME[:PORT]",
        help="answer to this host name, too; others than this machine's own are refused (repeatable)",
    )
    parser.add_argument(
        "--control-token",
        default=os.environ.get(TOKEN_VARIABLE),
        metavar="TOKEN",
        help=f"what {TOKEN_HEADER} must hold for /_sandbox/ (default: ${TOKEN_VARIABLE}; else a random one"
        " when other machines can connect, and none when they can't)",
    )
    parser.add_argument("--deliver-anywhere", action="store_true", help="send webhooks to other machines too")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    sandbox = Sandbox(
        api_keys=options.api_keys or [DEFAULT_API_KEY],
        host=options.host,
        port=options.port,
        db=options.db,
        allow_remote=options.allow_remote,
        deliver_anywhere=options.deliver_anywhere,
        allow_hosts=options.allow_hosts,
        control_token=options.control_token or None,
    )
    stop = asyncio.Event()
    async with sandbox:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends asyncio.run instead
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        print(f"Montra sandbox at {sandbox.url}  (Ctrl-C stops it)\n")
        print(f"  export MONTRA_BASE_URL={sandbox.base_url}")
        for key in sandbox.api_keys:
            print(f"  export MONTRA_API_KEY={key}")
        print(f"  export PAYWALL_ORIGIN={sandbox.url}")
        print(f"  export PAYWALL_ID={sandbox.paywall_id}")
        print(f"  export MONETIZE_API_KEY={sandbox.api_key}")
        if sandbox.control_token is not None:
            print(f"  export {TOKEN_VARIABLE}={sandbox.control_token}")
            print(f"\nThe controls want it in the header {TOKEN_HEADER}. To look inside with a browser:")
            print(f"  {sandbox.url}/?token={quote(sandbox.control_token, safe='')}")
        print(f"\nState: {'in memory, gone when it stops' if options.db == ':memory:' else options.db}", flush=True)
        await stop.wait()
    print("Stopped.", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(options))
    except KeyboardInterrupt:
        return 0
    except (OSError, ValueError, sqlite3.Error) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        print(f"The sandbox can't start: {words}{_hint(error)}", file=sys.stderr)
        return 2
    return 0


def _hint(error: Exception) -> str:
    in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    return " (is another one running? --port 0 takes a free port)" if in_use else ""


if __name__ == "__main__":
    sys.exit(main())
