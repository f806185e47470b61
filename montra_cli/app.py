"""The command `montra`: which commands there are. A command's module is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

from .calls.call_catalog import GROUPS
from .command import CONTEXT, LazyGroup, epilog

_LOCAL = {
    "sandbox": "Start a local server of both services, and control it",
    "listen": "Forward webhooks of the sandbox to your application",
    "trigger": "Cause an event in the sandbox, objects included",
    "logs": "Follow the requests that the sandbox gets",
    "events": "List, show and replay events of the sandbox",
}
_CHORES = {
    "api": "Send any request: montra api GET /customers",
    "plans": "Plans as code: pull, diff, apply",
    "export": "Customers, invoices or the audit log to a file",
    "config": "Profiles: keys and addresses",
    "help": "Help about a topic: exit-codes, environment, output",
}
SECTIONS: dict[str, dict[str, str]] = {"Objects": GROUPS, "Development": _LOCAL, "Chores": _CHORES}
COMMANDS: dict[str, str] = {name: text for section in SECTIONS.values() for name, text in section.items()}

EXAMPLES = (
    "montra sandbox --open                      a local service to try everything",
    "montra customers list                      every call of the SDK is a command",
    "montra listen --forward-to localhost:8000/webhooks",
    "montra plans diff plans.toml",
    "montra help exit-codes",
)


class RootGroup(LazyGroup):
    """The root. It knows its commands by name, and imports one when it is asked for."""

    def summaries(self) -> dict[str, str]:
        """All commands, with a line about each."""
        return COMMANDS

    def make(self, name: str) -> Any:
        """Make a command: import its module.

        Args:
            name: its name.
        """
        return make_command(name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing them.

        Args:
            ctx: the context.
            formatter: takes the text.
        """
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


def make_command(name: str) -> Any:
    """Make a command: import its module.

    Args:
        name: its name.
    """
    if name in GROUPS and name not in ("usage", "paywall"):
        from .calls.builder import group_app

        return get_command(group_app(name))
    return get_command(import_module(f".commands.{name}_command", __package__).app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from . import print_version

        print_version()
        raise typer.Exit


def root_app() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        cls=RootGroup,
        help="Montra billing in the terminal: every call of the SDK, a local sandbox, plans as code.",
        epilog=epilog(EXAMPLES),
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
    )

    @app.callback()
    def root(
        version: Annotated[
            bool, typer.Option("--version", "-V", help="Show the version.", is_eager=True, callback=_show_version)
        ] = False,
    ) -> None:
        pass

    return app
