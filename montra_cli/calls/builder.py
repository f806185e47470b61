"""Makes typer's commands of the catalog."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.main import get_command

from ..command import CONTEXT, LazyGroup, Run, epilog, new_app, with_common
from .call_catalog import CALLS, GROUPS
from .shapes import Call, Parameter

IDENTITY = {
    "email": "email address of the user",
    "user_id": "your own id of the user",
    "anonymous_id": "id of a visitor who is not signed in",
}
"""Options of every call of the paywall service: whose purchases and tokens are meant."""

_METAVARS = {
    "flag": None,
    "text": "TEXT",
    "id": "ID",
    "whole": "N",
    "number": "NUMBER",
    "date": "DATE",
    "datetime": "DATETIME",
    "file": "FILE",
    "files": "FILE",
    "texts": "TEXT",
    "object": "KEY=TEXT|KEY:=JSON|JSON|@FILE",
    "objects": "KEY=VALUE,...|JSON|@FILE",
}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def group_app(name: str) -> typer.Typer:
    """The commands of a group.

    Args:
        name: the group.
    """
    calls = CALLS[name]
    app = new_app(GROUPS[name] + ".", [call.example for call in list(calls.values())[:3]], cls=CallGroup)

    # With a callback, typer keeps a group that has no other command.
    @app.callback()
    def group() -> None:
        pass

    return app


class CallGroup(LazyGroup):
    """The commands of a group's calls, besides those that are written by hand."""

    def summaries(self) -> dict[str, str]:
        """The calls, with a line about each."""
        return {name: call.summary for name, call in CALLS[self.name or ""].items()}

    def make(self, name: str) -> Any:
        """Make the command of a call.

        Args:
            name: its name.
        """
        app = new_app("")
        add_call(app, name, CALLS[self.name or ""][name])
        return get_command(app)


def add_call(app: typer.Typer, name: str, call: Call) -> None:
    """Add the command of a call.

    Args:
        app: the group.
        name: the command's name.
        call: the call.
    """
    own = [_option_of(one) for one in call.parameters if not (call.client == "paywall" and one.name in IDENTITY)]
    if any(one.clearable for one in call.parameters):
        names = ", ".join(one.name for one in call.parameters if one.clearable)
        own.append(_added("clear", Annotated[list[str], typer.Option(metavar="FIELD", help=f"Clear: {names}.")], []))
    if call.client == "paywall":
        for identity, text in IDENTITY.items():
            option = typer.Option("--" + identity.replace("_", "-"), metavar="TEXT", help=text + ".")
            own.append(_added(identity, Annotated[str | None, option], None))
    wrapped = with_common(_executor(call), own, output=True, asks=call.asks is not None)
    app.command(name, help=_help(call), epilog=epilog([call.example]), context_settings=CONTEXT)(wrapped)


def _executor(call: Call) -> Callable[..., None]:
    def execute_call(run: Run, **given: Any) -> None:
        from .execute import execute

        execute(run, call, given)

    return execute_call


def _help(call: Call) -> str:
    parts = [call.summary, call.description, call.endpoint and f"Sends {call.endpoint}."]
    return "\n\n".join(part for part in parts if part)


def _option_of(one: Parameter) -> inspect.Parameter:
    text = _sentence(one)
    metavar = "|".join(one.choices) or _METAVARS[one.kind]
    complete: dict[str, Any] = {"autocompletion": _completing(one.choices)} if one.choices else {}
    if one.positional:
        shown = one.name.upper()
        argument = typer.Argument(metavar=shown, help=text, show_default=False, **complete)
        annotation: Any = Annotated[str, argument] if one.required else Annotated[str | None, argument]
        return _added(one.name, annotation, inspect.Parameter.empty if one.required else None)
    if one.kind == "flag":
        flag = typer.Option(f"{one.option}/--no-{one.option[2:]}", help=text, show_default=False)
        return _added(one.name, Annotated[bool | None, flag], None)
    option = typer.Option(one.option, metavar=metavar, help=text, show_default=False, **complete)
    if one.is_list:
        return _added(one.name, Annotated[list[str], option], inspect.Parameter.empty if one.required else [])
    if one.required:
        return _added(one.name, Annotated[str, option], inspect.Parameter.empty)
    return _added(one.name, Annotated[str | None, option], None)


def _sentence(one: Parameter) -> str:
    """The help of a parameter with a capital letter, unless it begins with a value, such as `cust_...`."""
    first = one.help.partition(" ")[0].rstrip(".,:;")
    is_value = first in one.choices or "_" in first or first == "e.g"
    return one.help if is_value else one.help[:1].upper() + one.help[1:]


def _completing(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [one for one in choices if one.startswith(incomplete)]

    return complete


def _added(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, _KEYWORD, default=default, annotation=annotation)
