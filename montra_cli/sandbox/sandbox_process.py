"""Runs a sandbox in this process, until Ctrl-C."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..failures import FAILED, USAGE, CliError
from .browser import Browser

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
        forward_to: URL to which webhooks are sent; None for nowhere.
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
        from montra_sandbox import Problem, Sandbox
        from montra_sandbox.foreground import run_in_foreground, start_problem
    except ImportError as error:
        raise CliError(str(error), FAILED) from None
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        with Browser() as browser:
            run_in_foreground(Sandbox(**options.settings), lambda sandbox: _prepare(sandbox, options, browser))
    except (OSError, ValueError, Problem, sqlite3.Error) as error:
        message, hint = start_problem(error)
        raise CliError(f"the sandbox can't start: {message}", USAGE, hint) from None


def _prepare(sandbox: Sandbox, options: ServerOptions, browser: Browser) -> str:
    """Create what was asked for, and open the browser; returns what was made, for people."""
    made: list[str] = []
    if options.demo:  # needs an empty sandbox
        made.append(f"Demo data: {_summary(sandbox.demo())}")
    if options.seed is not None:
        made.append(f"Created from the file: {_summary(sandbox.load_seed(options.seed))}")
    if options.forward_to is not None:
        endpoint = sandbox.add_webhook_endpoint(options.forward_to, service=None)
        made.append(f"Webhooks: sent to {endpoint['url']}, signed with {endpoint['secret']}")
    if options.open_browser:
        from montra_sandbox.foreground import front_page

        browser.open(front_page(sandbox), is_secret=sandbox.control_token is not None)
    return "\n".join(made)


def _summary(made: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in made.items()) or "nothing"
