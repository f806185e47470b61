"""The command line of the sandbox: runs it until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
import sys
from collections.abc import Sequence

from .foreground import TOKEN_VARIABLE, run_in_foreground, start_problem
from .http.browser_protection import TOKEN_HEADER
from .problems import Problem
from .server import DEFAULT_API_KEY, DEFAULT_WEBHOOK_SECRET, Sandbox


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
        default=os.environ.get(TOKEN_VARIABLE),
        metavar="TOKEN",
        help=f"required in the header {TOKEN_HEADER} for /_sandbox/ (default: ${TOKEN_VARIABLE}; else a random one"
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
    run_in_foreground(sandbox)


def run(arguments: Sequence[str] | None = None) -> int:
    """`main` of `__main__`, once it is known that everything is installed."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        _serve(options)
    except (OSError, ValueError, Problem, sqlite3.Error) as error:
        message, hint = start_problem(error)
        print(f"The sandbox can't start: {message}{hint and f' ({hint})'}", file=sys.stderr)
        return 2
    return 0
