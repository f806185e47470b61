"""Runs a sandbox in the foreground, as command lines do, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import errno
import shlex
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from urllib.parse import quote

from .http.browser_protection import TOKEN_HEADER
from .server import Sandbox

TOKEN_VARIABLE: str = "MONTRA_SANDBOX_TOKEN"  # noqa: S105 - the name of a variable
_WAKE_INTERVAL = 0.5


def run_in_foreground(sandbox: Sandbox, prepare: Callable[[Sandbox], str] | None = None) -> None:
    """Start a sandbox, print how to use it, and stop it at Ctrl-C or SIGTERM.

    Args:
        sandbox: the sandbox, which is not running.
        prepare: called once it runs, before its address is printed, e.g. to create data; what it returns is printed
            below the address. What it can't do stops the sandbox: whoever reads the address may use it.

    Raises:
        OSError: the port is in use, or the database file can't be opened.
        Problem: a setting does not fit to the data.
        sqlite3.Error: the file is not a database.
    """
    stop = threading.Event()
    with _handled_signals(stop), sandbox:
        made = prepare(sandbox) if prepare is not None else ""
        print(introduction(sandbox), flush=True)
        if made:
            print(made, flush=True)
        print("Ctrl-C stops it.", flush=True)
        while not stop.wait(_WAKE_INTERVAL):  # Windows sees Ctrl-C between two waits
            pass
    print("Stopped.", flush=True)


@contextmanager
def _handled_signals(stop: threading.Event) -> Generator[None]:
    """SIGINT and SIGTERM set an event. In other threads than the main one, signals can't be handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda _, __: stop.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def introduction(sandbox: Sandbox) -> str:
    """Where a running sandbox is, and the environment variables that lead to it.

    Args:
        sandbox: the sandbox.
    """
    lines = [f"Montra sandbox, with its dashboard, at {front_page(sandbox)}", ""]
    lines += [f"  export {name}={shlex.quote(value)}" for name, value in sandbox.environment.items()]
    lines += [f"  export MONTRA_API_KEY={shlex.quote(key)}  # another merchant" for key in sandbox.api_keys[1:]]
    if sandbox.control_token is not None:
        token = shlex.quote(sandbox.control_token)
        lines += [f"  export {TOKEN_VARIABLE}={token}  # for the header {TOKEN_HEADER} of the controls"]
    return "\n".join([*lines, "", f"State: {sandbox.database or 'in memory, lost when it stops'}", ""])


def front_page(sandbox: Sandbox) -> str:
    """The address of the dashboard, with the token that opens it if there is one.

    Args:
        sandbox: the sandbox.
    """
    token = sandbox.control_token
    return sandbox.url if token is None else f"{sandbox.url}/?token={quote(token, safe='')}"


def start_problem(error: Exception) -> tuple[str, str]:
    """Why a sandbox can't start, on one line, and what to do; empty if there is nothing to say.

    Args:
        error: what was raised.
    """
    in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    hint = "another sandbox may be running; --port 0 takes a free port" if in_use else ""
    return " ".join(str(error).split()) or type(error).__name__, hint
