"""Runs a sandbox in this process, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..failures import FAILED, USAGE, CliError
from .control_client import ControlClient, with_scheme

if TYPE_CHECKING:
    from montra_sandbox import Sandbox


@dataclass(frozen=True)
class ServerOptions:
    """What to start.

    Attributes:
        settings: arguments of `Sandbox`.
        open_browser: whether to open its address in the browser.
        seed: what to create; None for nothing.
        demo: whether to create demo data.
        forward_to: where to send webhooks; None for nowhere.
    """

    settings: dict[str, Any]
    open_browser: bool
    seed: dict[str, Any] | None
    demo: bool
    forward_to: str | None


def serve(options: ServerOptions) -> None:
    """Run a sandbox until Ctrl-C or SIGTERM.

    Args:
        options: what to start.

    Raises:
        CliError: it can't start.
    """
    try:
        from montra_sandbox import Sandbox
    except ImportError as error:
        raise CliError(str(error), FAILED, "Run: pip install 'montra[sandbox]'") from None
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve(Sandbox(**options.settings), options))
    except KeyboardInterrupt:  # Windows, where it has no signal handler
        print("Stopped.")
    except (OSError, ValueError, sqlite3.Error) as error:
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        hint = "Another sandbox may be running; --port 0 takes a free port." if in_use else ""
        message = " ".join(str(error).split()) or type(error).__name__
        raise CliError(f"the sandbox can't start: {message}", USAGE, hint) from None


async def _serve(sandbox: Sandbox, options: ServerOptions) -> None:
    stop = asyncio.Event()
    async with sandbox:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends asyncio.run instead
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        _print_addresses(sandbox, options)
        await _prepare(sandbox, options)
        print("\nCtrl-C stops it.", flush=True)
        await stop.wait()
    print("Stopped.", flush=True)


async def _prepare(sandbox: Sandbox, options: ServerOptions) -> None:
    """Create what was asked for, over HTTP and in a thread: the server may run on this event loop."""
    controls = ControlClient(sandbox.url, sandbox.control_token)
    steps: list[tuple[str, Callable[[], Any]]] = []
    seed = options.seed
    if seed is not None:
        steps.append(("Created from the file", lambda: controls.post("/seed", {"data": seed}, timeout=600)))
    if options.demo:
        steps.append(("Demo data", lambda: controls.post("/demo", {}, timeout=600)))
    if options.forward_to is not None:
        url = with_scheme(options.forward_to)
        steps.append(("Webhooks", lambda: controls.post_all("/webhooks", {"url": url, "service": None})))
    for title, step in steps:
        done = await asyncio.to_thread(step)
        print(f"{title}: {_summary(done)}", flush=True)
    if options.open_browser:
        import webbrowser

        await asyncio.to_thread(webbrowser.open, _front_page(sandbox))


def _summary(done: Any) -> str:
    if "url" in done:
        return f"sent to {done['url']}, signed with {done.get('secret')}"
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in done.items()) or "nothing"


def _print_addresses(sandbox: Sandbox, options: ServerOptions) -> None:
    print(f"Montra sandbox at {_front_page(sandbox)}\n")
    print(f"  export MONTRA_BASE_URL={sandbox.base_url}")
    for key in sandbox.api_keys:
        print(f"  export MONTRA_API_KEY={key}")
    print(f"  export PAYWALL_ORIGIN={sandbox.url}")
    print(f"  export PAYWALL_ID={sandbox.paywall_id}")
    print(f"  export MONETIZE_API_KEY={sandbox.api_key}")
    if sandbox.control_token is not None:
        print(f"  export MONTRA_SANDBOX_TOKEN={sandbox.control_token}")
    db = options.settings["db"]
    print(f"\nState: {'in memory, lost when it stops' if db == ':memory:' else db}", flush=True)


def _front_page(sandbox: Sandbox) -> str:
    token = sandbox.control_token
    return sandbox.url if token is None else f"{sandbox.url}/?token={quote(token, safe='')}"
