"""The command `montra`: which commands there are. A command's module is imported when it is used."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from .calls.catalog import GROUPS
from .command import CONTEXT, epilog
from .failures import guarded

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


class RootGroup(TyperGroup):
    """The root. It knows its commands by name, and imports one when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands.

        Args:
            ctx: the context.
        """
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; None when there is none of this name.

        Args:
            ctx: the context.
            cmd_name: its name.
        """
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in GROUPS and cmd_name not in ("usage", "paywall"):
            from .calls.builder import group_app

            made = get_command(group_app(cmd_name))
        else:
            made = get_command(import_module(f".commands.{cmd_name}_command", __package__).app)
        made.name = cmd_name
        return made

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the arguments; suggest similar ones.

        Args:
            ctx: the context.
            args: the arguments.
        """
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            similar = get_close_matches(args[0], COMMANDS)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean {' or '.join(similar)}?" if similar else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing them.

        Args:
            ctx: the context.
            formatter: takes the text.
        """
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what fails as expected becomes a message and an exit code.

        Args:
            ctx: the context.
        """
        return guarded(lambda: super(RootGroup, self).invoke(ctx))


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
