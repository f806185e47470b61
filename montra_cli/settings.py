"""Which service a command talks to, and with which key: the environment wins over the profile, value by value."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from .cleaning import clean
from .config_file import config_path, profile_tables, read_config
from .failures import DENIED, USAGE, CliError
from .secrets import remember

DEFAULT_PROFILE = "default"
DEFAULT_SANDBOX = "http://127.0.0.1:4242"
SANDBOX_KEY = "sk_test_sandbox"
SANDBOX_PAYWALL = "pw_sandbox"


@dataclass(frozen=True)
class Field:
    """A setting.

    Attributes:
        name: its name in a profile.
        variable: its environment variable.
        help: what it is.
        is_secret: whether it is never printed.
    """

    name: str
    variable: str
    help: str
    is_secret: bool = False


FIELDS: dict[str, Field] = {
    one.name: one
    for one in (
        Field("api_key", "MONTRA_API_KEY", "secret key, sk_test_... or sk_live_...", is_secret=True),
        Field("base_url", "MONTRA_BASE_URL", "URL of the Montra API"),
        Field("paywall_id", "PAYWALL_ID", "id of the paywall, pw_..."),
        Field("paywall_origin", "PAYWALL_ORIGIN", "URL of the paywall service"),
        Field("paywall_api_key", "MONETIZE_API_KEY", "secret key of the paywall's owner", is_secret=True),
        Field("sandbox_token", "MONTRA_SANDBOX_TOKEN", "token of the sandbox's controls", is_secret=True),
    )
}


@dataclass(frozen=True)
class Value:
    """A setting's value.

    Attributes:
        text: the value.
        source: where it comes from, for people.
        from_environment: whether an environment variable holds it.
    """

    text: str = field(repr=False)
    source: str
    from_environment: bool


@dataclass(frozen=True)
class Settings:
    """The settings of a command.

    Attributes:
        profile: name of the profile.
        values: those that are set.
    """

    profile: str
    values: dict[str, Value] = field(repr=False)

    def get(self, name: str) -> str | None:
        """A setting's text; None when it is not set.

        Args:
            name: its name in a profile.
        """
        found = self.values.get(name)
        return None if found is None else found.text

    @property
    def base_url(self) -> str | None:
        """The API's URL; None for the SDK's default."""
        return self.get("base_url")

    @property
    def api_key(self) -> str | None:
        """The API's key; None without any.

        Raises:
            CliError: the profile's key would be sent to another address than the profile's.
        """
        return self._key("api_key", "base_url")

    @property
    def sandbox_url(self) -> str:
        """The sandbox's address, without a path."""
        return DEFAULT_SANDBOX if self.base_url is None else origin_of(self.base_url)

    @property
    def sandbox_token(self) -> str | None:
        """The token of the sandbox's controls; None without any.

        Raises:
            CliError: the profile's token would be sent to another address than the profile's.
        """
        return self._key("sandbox_token", "base_url")

    def paywall(self) -> tuple[str | None, str | None, str | None]:
        """Id, address and key of the paywall. With a sandbox, its own are the default.

        Raises:
            CliError: the profile's key would be sent to another address than the profile's.
        """
        address = self.values.get("paywall_origin")
        if address is None and self.base_url is not None and is_local(self.base_url):
            given = self.values["base_url"]
            address = Value(origin_of(given.text), given.source, given.from_environment)
        origin = None if address is None else address.text
        local = origin is not None and is_local(origin)
        key = self._key_for("paywall_api_key", address)
        if local and key is None:
            # A sandbox is both services with the same keys; any other listener on this machine is a stranger.
            key = self.api_key if _same_origin(self.base_url, origin) else SANDBOX_KEY
        return self.get("paywall_id") or (SANDBOX_PAYWALL if local else None), origin, key

    def _key(self, name: str, address_name: str) -> str | None:
        return self._key_for(name, self.values.get(address_name))

    def _key_for(self, name: str, address: Value | None) -> str | None:
        key = self.values.get(name)
        mixed = key is not None and address is not None and address.from_environment and not key.from_environment
        if address is not None and is_local(address.text) and (key is None or mixed):
            return SANDBOX_KEY if name == "api_key" else None
        if mixed and address is not None:
            raise CliError(
                f"the {name} of the profile {self.profile!r} would be sent to the address in ${address.source}",
                DENIED,
                f"Set ${FIELDS[name].variable} too, or unset ${address.source}.",
            )
        return None if key is None else key.text


def load_settings(profile: str | None) -> Settings:
    """The settings of the environment and of a profile.

    Args:
        profile: name of the profile; None for that of `MONTRA_PROFILE`, or the one in use.

    Raises:
        CliError: no such profile, an empty name, or the file can't be used.
    """
    chosen, table = _profile(chosen_profile(profile))
    values: dict[str, Value] = {}
    for name, one in FIELDS.items():
        text = os.environ.get(one.variable, "").strip()
        if text:
            values[name] = Value(text, one.variable, from_environment=True)
        elif name in table:
            values[name] = Value(str(table[name]), f"profile {chosen}", from_environment=False)
        if one.is_secret and name in values:
            remember(values[name].text)
    return Settings(chosen, values)


def chosen_profile(option: str | None) -> str | None:
    """The profile that the option or `MONTRA_PROFILE` names; None for the one in use.

    Args:
        option: the option; None when it was not given.

    Raises:
        CliError: a name is empty, as that of a variable that a script has not set; the one in use is not meant then.
    """
    for name, source in ((option, "--profile"), (os.environ.get("MONTRA_PROFILE"), "$MONTRA_PROFILE")):
        if name is not None:
            refuse_blank(name, source)
            return name
    return None


def refuse_blank(name: str, source: str) -> None:
    """Refuse an empty name of a profile.

    Args:
        name: the name.
        source: where it was given.

    Raises:
        CliError: it is empty, or nothing but spaces.
    """
    if not name.strip():
        raise CliError(
            f"{source}: the name of a profile, not an empty text", USAGE, "`montra config profiles` lists them."
        )


def profile_in_use(document: dict[str, Any]) -> str | None:
    """The profile that the file says is in use; None when it says nothing.

    Args:
        document: the file.
    """
    in_use: Any = document.get("profile")
    return None if in_use is None else str(in_use)


def _profile(name: str | None) -> tuple[str, dict[str, Any]]:
    if not config_path().exists():
        if name not in (None, DEFAULT_PROFILE):
            raise CliError(f"no profile {name!r}: {config_path()} does not exist", USAGE, "Run: montra config login")
        return DEFAULT_PROFILE, {}
    document = read_config()
    profiles = profile_tables(document)
    in_use = profile_in_use(document.unwrap())
    chosen = name if name is not None else DEFAULT_PROFILE if in_use is None else in_use
    if chosen not in profiles and (name is not None or in_use is not None):
        known = ", ".join(sorted(profiles)) or "none"
        raise CliError(f"no profile {chosen!r}; there are: {known}", USAGE)
    table = profiles.get(chosen, {})
    for key, value in table.items():
        if key not in FIELDS:  # of a newer version, or mistyped
            known = ", ".join(FIELDS)
            print(clean(f"{config_path()}: profiles.{chosen}.{key} is not known; there are: {known}"), file=sys.stderr)
        elif not isinstance(value, str):
            raise CliError(f"{config_path()}: profiles.{chosen}.{key}: a string", USAGE)
    return chosen, table


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL.

    Args:
        url: the URL.

    Raises:
        CliError: it is not one.
    """
    problem = CliError("the address is not an http:// or https:// URL", USAGE)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise problem
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


def is_local(url: str) -> bool:
    """Whether a URL is one of this machine.

    Args:
        url: the URL.
    """
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere: 127.0.0.1.example.com
        return False


def _same_origin(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    return _with_port(origin_of(one)) == _with_port(origin_of(other))


def _with_port(origin: str) -> tuple[str, str | None, int]:
    parts = urlsplit(origin)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
