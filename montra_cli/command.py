"""How a command is made: its options, help and examples, and what it gets to run with."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperGroup

from .cleaning import clean
from .failures import NOT_CONFIRMED, CliError, Debug, guarded
from .output.output import Output
from .settings import Settings, is_local, load_settings, refuse_blank

if TYPE_CHECKING:
    from montra_sync import Montra
    from montra_sync.paywall import BillingClient

F = TypeVar("F", bound=Callable[..., object])

CONTEXT = {"help_option_names": ["-h", "--help"]}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY

_PROFILE = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="Use this profile (default: $MONTRA_PROFILE).")
]
_DEBUG = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure (default: $MONTRA_DEBUG).")]
_YES = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
_OUTPUT: dict[str, tuple[Any, object]] = {
    "as_json": (Annotated[bool, typer.Option("--json", help="Print JSON.")], False),
    "as_jsonl": (Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line.")], False),
    "as_csv": (Annotated[bool, typer.Option("--csv", help="Print CSV; formulas are made text.")], False),
    "csv_raw": (Annotated[bool, typer.Option("--csv-raw", help="Print CSV with every text as it is.")], False),
    "columns": (
        Annotated[str | None, typer.Option("--columns", metavar="A,B", help="Print only these fields.")],
        None,
    ),
    "header": (Annotated[bool, typer.Option("--header/--no-header", help="Begin with the names of columns.")], True),
}


class Run:
    """What a command runs with.

    Args:
        profile: name of the profile; None for the one in use.
        yes: answer every question with yes.
        output: prints results.

    Raises:
        CliError: the name of the profile is empty.
    """

    def __init__(self, profile: str | None, yes: bool, output: Output) -> None:
        if profile is not None:
            refuse_blank(profile, "--profile")
        self.profile = profile
        self.yes = yes
        self.output = output

    @cached_property
    def settings(self) -> Settings:
        """The settings, read when they are first needed."""
        return load_settings(self.profile)

    def montra(self) -> Montra:
        """A client of the Montra API, to be used in `with`."""
        from montra_sync import Montra

        return Montra(self.settings.api_key, self.settings.base_url)

    def billing(self) -> BillingClient:
        """A client of the paywall service, to be used in `with`."""
        from montra_sync.paywall import BillingClient

        paywall_id, origin, key = self.settings.paywall()
        return BillingClient(paywall_id, origin, key)

    def confirm(self, question: str, *, place: str | None = None) -> None:
        """Ask before something is taken away.

        Args:
            question: the question.
            place: where it happens; by default the service of the settings.

        Raises:
            CliError: the answer is no, or nobody can be asked.
        """
        if self.yes:
            return
        question = clean(question)
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CliError(f"{question} Nobody can be asked: add --yes to do it.", NOT_CONFIRMED)
        if not typer.confirm(f"{question} [{place or self._place()}]", err=True):
            raise CliError("not done.", NOT_CONFIRMED)

    def _place(self) -> str:
        settings = self.settings
        if (settings.api_key or "").startswith("sk_live_"):
            return "LIVE"
        if settings.base_url is not None:
            return "this machine" if is_local(settings.base_url) else clean(settings.base_url)
        return f"profile {settings.profile}"


class LazyGroup(TyperGroup):
    """A group that makes its commands when they are asked for: the options of all would cost every start."""

    def summaries(self) -> dict[str, str]:
        """The commands that are made when they are asked for, with a line about each."""
        raise NotImplementedError

    def make(self, name: str) -> Any:
        """Make one of these commands.

        Args:
            name: its name.
        """
        raise NotImplementedError

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands.

        Args:
            ctx: the context.
        """
        return [*self.summaries(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; None when there is none of this name.

        Args:
            ctx: the context.
            cmd_name: its name.
        """
        if cmd_name not in self.summaries():
            return super().get_command(ctx, cmd_name)
        made = self.make(cmd_name)
        made.name = cmd_name
        return made

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the arguments; suggest similar ones.

        Args:
            ctx: the context.
            args: the arguments.
        """
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            similar = get_close_matches(args[0], known)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean {' or '.join(similar)}?" if similar else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands.

        Args:
            ctx: the context.
            formatter: takes the text.
        """
        others = {name: one.get_short_help_str(limit=80) for name, one in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl(list({**self.summaries(), **others}.items()))


def new_app(help_text: str, examples: Sequence[str] = (), **options: Any) -> typer.Typer:
    """A group of commands, or the holder of one command.

    Args:
        help_text: what the group is for.
        examples: command lines for its help.
        options: further options of `typer.Typer`.
    """
    settings: dict[str, Any] = {"no_args_is_help": True, **options}
    return typer.Typer(
        help=help_text,
        epilog=epilog(examples),
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
        **settings,
    )


def epilog(examples: Sequence[str]) -> str | None:
    """The end of a help text.

    Args:
        examples: command lines.
    """
    return "\b\nExamples:\n" + "\n".join(f"  {one}" for one in examples) if examples else None


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    examples: Sequence[str],
    output: bool = False,
    asks: bool = False,
    callback: bool = False,
    **options: Any,
) -> Callable[[F], F]:
    """Make a function a command. Its first parameter gets the `Run`; its docstring is the help.

    Args:
        app: the group.
        name: the command's name; None in an `app` that holds one command, and with `callback`.
        examples: command lines for the help.
        output: whether it has the options of formats.
        asks: whether it has `--yes`.
        callback: whether it is what the group does without a command.
        options: further options of `typer`.
    """

    def decorate(function: F) -> F:
        hints = get_type_hints(function, include_extras=True)
        own = [
            one.replace(annotation=_annotated(hints[one.name]))
            for one in list(inspect.signature(function).parameters.values())[1:]
        ]
        wrapped = with_common(function, own, output=output, asks=asks)
        settings: dict[str, Any] = {"help": inspect.cleandoc(function.__doc__ or ""), "context_settings": CONTEXT}
        register = app.callback if callback else app.command
        names = [] if callback or name is None else [name]
        register(*names, epilog=epilog(examples), **{**settings, **options})(wrapped)
        return function

    return decorate


def with_common(
    function: Callable[..., object], own: Sequence[inspect.Parameter], *, output: bool, asks: bool
) -> Callable[..., object]:
    """A function with the common options in addition to its own parameters.

    Args:
        function: gets a `Run`, and its own parameters by name.
        own: its parameters, with annotations for typer.
        output: whether it has the options of formats.
        asks: whether it has `--yes`.
    """
    common = [*_added("profile", _PROFILE, None), *_added("debug", _DEBUG, False)]
    if asks:
        common += _added("yes", _YES, False)
    if output:
        for name, (annotation, default) in _OUTPUT.items():
            common += _added(name, annotation, default)

    def run(**values: Any) -> None:
        profile, debug, yes = values.pop("profile"), values.pop("debug"), values.pop("yes", False)
        Debug.enabled = debug or bool(os.environ.get("MONTRA_DEBUG"))
        chosen = {name: values.pop(name) for name in _OUTPUT} if output else {}
        guarded(lambda: function(Run(profile, yes, Output(**chosen)), **values))

    parameters = [*(one.replace(kind=_KEYWORD) for one in own), *common]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__doc__ = function.__doc__
    run.__name__ = getattr(function, "__name__", "command")
    return run


def _annotated(hint: Any) -> Any:
    """What was written: Python 3.10 makes `Annotated[X, ...] = None` an `Optional[Annotated[X, ...]]`."""
    return next((one for one in get_args(hint) if hasattr(one, "__metadata__")), hint)


def _added(name: str, annotation: Any, default: object) -> list[inspect.Parameter]:
    return [inspect.Parameter(name, _KEYWORD, default=default, annotation=annotation)]
