"""`montra config`: profiles of keys and addresses."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..cleaning import clean
from ..command import Run, command, new_app
from ..config_file import config_path, profile_tables, read_config, write_config
from ..failures import USAGE, CliError
from ..secrets import mask, remember
from ..settings import (
    DEFAULT_PROFILE,
    FIELDS,
    chosen_profile,
    load_settings,
    origin_of,
    profile_in_use,
    refuse_blank,
)

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

app: typer.Typer = new_app(
    "Profiles: keys and addresses, in ~/.config/montra/config.toml, readable by you only.",
    ("montra config login", "montra config list", "montra config use production"),
)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_SECRET = 4096


@command(
    app,
    "login",
    examples=(
        "montra config login                               # asks for the key",
        "montra config login --profile production --base-url https://api.montra.fi/api/v1",
        "pass show montra/key | montra config login --profile ci",
    ),
)
def login(
    run: Run,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="URL of the API (default: the SDK's).")] = None,
    use: Annotated[
        bool | None,
        typer.Option("--use/--no-use", help="Use this profile from now on (default: only if it is the first)."),
    ] = None,
) -> None:
    """Store a secret key in a profile. The key is asked for, or read from stdin.

    The first profile is the one in use. Another one is used with --use, or from `montra config use` on: a key for the
    real service changes nothing for the commands that are not meant for it.
    """
    name = _profile_name(run)
    if base_url is not None:
        _check_address("base_url", base_url)
    key = _read_secret("Secret key (sk_...)")
    document = read_config()
    is_first = not profile_tables(document) and profile_in_use(document.unwrap()) is None
    table = _table(document, name)
    table["api_key"] = key
    if base_url is not None:
        table["base_url"] = base_url
    if use or (use is None and is_first):
        document["profile"] = name
    write_config(document)
    run.output.note(f"Stored {mask(key)} in the profile {name!r} of {config_path()}.")
    in_use = profile_in_use(document.unwrap()) or DEFAULT_PROFILE
    if in_use == name:
        run.output.note(f"Commands use {name!r} from now on; `montra config use OTHER` changes it.")
    else:
        run.output.note(
            f"Commands still use {in_use!r}. `--profile {name}` uses {name!r} once, `montra config use {name}` always."
        )


@command(
    app,
    "set",
    examples=(
        "montra config set base_url http://127.0.0.1:4242/api/v1",
        "montra config set api_key                         # asks for it",
        "montra config set paywall_id pw_123 --profile production",
    ),
)
def set_value(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(FIELDS))],
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE", help="Leave it out for a secret: it is asked for, or read from stdin."),
    ] = None,
) -> None:
    """Store a setting in a profile. A secret is not taken from the command line, where other users can see it."""
    field = _field(name)
    if field.is_secret and value is not None:
        raise CliError(
            f"{name} is a secret: other users see command lines, and your shell keeps them",
            USAGE,
            f"Run `montra config set {name}` without it: it is asked for, or read from stdin. Then replace this key.",
        )
    if not field.is_secret and value is None:
        raise CliError(f"VALUE: missing; {name} is the {field.help}", USAGE)
    text = _read_secret(field.help) if value is None else value
    if name in ("base_url", "paywall_origin"):
        _check_address(name, text)
    profile = _profile_name(run)
    document = read_config()
    _table(document, profile)[name] = text
    write_config(document)
    run.output.note(f"Stored {name} in the profile {profile!r}.")


@command(app, "unset", examples=("montra config unset base_url", "montra config unset api_key --profile ci"))
def unset_value(run: Run, name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(FIELDS))]) -> None:
    """Remove a setting from a profile."""
    field = _field(name)
    profile = _profile_name(run)
    document = read_config()
    table = _table(document, profile)
    if field.name not in table:
        raise CliError(f"the profile {profile!r} has no {name}")
    del table[field.name]
    write_config(document)
    run.output.note(f"Removed {name} from the profile {profile!r}.")


@command(app, "list", output=True, examples=("montra config list", "montra config list --profile production --json"))
def list_values(run: Run) -> None:
    """Show the settings that commands use, where each comes from, and the profiles. Secrets are masked."""
    settings = run.settings
    rows = [
        {
            "name": field.name,
            "value": None if value is None else mask(value.text) if field.is_secret else value.text,
            "source": None if value is None else value.source,
            "variable": field.variable,
        }
        for field, value in ((field, settings.values.get(field.name)) for field in FIELDS.values())
    ]
    run.output.rows(rows)
    if run.output.is_for_people:
        profiles = profile_tables(read_config())
        names = ", ".join(f"{name} (in use)" if name == settings.profile else name for name in profiles)
        run.output.note(f"Profiles in {config_path()}: {names or 'none'}")


@command(app, "profiles", output=True, examples=("montra config profiles", "montra config profiles --json"))
def list_profiles(run: Run) -> None:
    """List the profiles."""
    in_use = load_settings(None).profile
    rows = [
        {
            "profile": name,
            "in_use": name == in_use,
            "base_url": table.get("base_url"),
            "api_key": mask(str(table["api_key"])) if "api_key" in table else None,
        }
        for name, table in profile_tables(read_config()).items()
    ]
    run.output.rows(rows, empty="No profiles. `montra config login` makes one.")


@command(app, "use", examples=("montra config use production",))
def use_profile(run: Run, name: Annotated[str, typer.Argument(metavar="PROFILE", help="The profile.")]) -> None:
    """Use a profile from now on."""
    refuse_blank(name, "PROFILE")
    document = read_config()
    if name not in (known := profile_tables(document)):
        raise CliError(f"no profile {name!r}; there are: {', '.join(known) or 'none'}", USAGE)
    document["profile"] = name
    write_config(document)
    run.output.note(f"Using the profile {name!r}.")


@command(app, "remove", asks=True, examples=("montra config remove ci --yes",))
def remove_profile(run: Run, name: Annotated[str, typer.Argument(metavar="PROFILE", help="The profile.")]) -> None:
    """Remove a profile with its keys."""
    document = read_config()
    if name not in (known := profile_tables(document)):
        raise CliError(f"no profile {name!r}; there are: {', '.join(known) or 'none'}", USAGE)
    run.confirm(f"Remove the profile {name!r} with its keys?", place=str(config_path()))
    profiles: Any = document["profiles"]
    del profiles[name]
    whole: dict[str, Any] = document.unwrap()
    if whole.get("profile") == name:
        del document["profile"]
    write_config(document)
    run.output.note(f"Removed the profile {name!r}.")


@command(app, "path", examples=("montra config path",))
def show_path(run: Run) -> None:
    """Print where the file is."""
    run.output.value(str(config_path()))


def _field(name: str) -> Any:
    found = FIELDS.get(name.replace("-", "_"))
    if found is None:
        raise CliError(f"NAME: one of {', '.join(FIELDS)}, not {name!r}", USAGE)
    return found


def _profile_name(run: Run) -> str:
    """The profile to be changed: that of the option, else the one in use; it need not exist."""
    whole: dict[str, Any] = read_config().unwrap()
    name = chosen_profile(run.profile) or profile_in_use(whole) or DEFAULT_PROFILE
    if not _NAME.fullmatch(name):
        raise CliError("--profile: letters, digits, - and _", USAGE)
    return name


def _check_address(name: str, url: str) -> None:
    """Refuse an address that the clients refuse, when it is stored and not with every call."""
    from montra_async import ConfigError, Montra
    from montra_async.paywall import BillingClient

    origin_of(url)
    try:
        if name == "base_url":
            Montra("sk_test_0", url)
        else:
            BillingClient("pw_0", url)
    except ConfigError as error:
        problem = re.sub(r"^(invalid_config: )?(base_url|api_origin): ", "", str(error))
        raise CliError(f"{name}: {problem.split(', or allow_insecure_http')[0]}", USAGE) from None


def _table(document: TOMLDocument, profile: str) -> MutableMapping[str, Any]:
    """The table of a profile, made if necessary."""
    import tomlkit

    profile_tables(document)  # checks how it is built
    if "profiles" not in document:
        document["profiles"] = tomlkit.table(is_super_table=True)
    profiles: Any = document["profiles"]
    if profile not in profiles:
        profiles[profile] = tomlkit.table()
    table: MutableMapping[str, Any] = profiles[profile]
    return table


def _read_secret(what: str) -> str:
    """A secret that is typed without an echo, or the first line of stdin."""
    asked = sys.stdin.isatty()
    secret = (getpass.getpass(f"{clean(what)}: ") if asked else sys.stdin.readline(_MAX_SECRET)).strip()
    if not secret:
        raise CliError("no secret was given", USAGE)
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise CliError("that holds characters that no key has; was it copied whole, and nothing else?", USAGE)
    remember(secret)
    return secret
