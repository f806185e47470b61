"""Checks that the client and the reporter of an `Access`, of either package, fit to it."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from ..core.errors import ConfigError
from ..core.twins import Twin, is_of, name_of_class

_RECORDER = ("record", "add_observer", "remove_observer")


def check_parts(package: Twin, montra: Any, usage: Any) -> None:
    """Check that a client and a reporter work in the `Access` of a package.

    A mistake would otherwise show with the first hold, after the work was done: or never, because a coroutine that
    nobody awaits records nothing.

    Args:
        package: the package of the `Access`. A synchronous one takes a client of both.
        montra: the client, or an object with its methods.
        usage: the reporter, or an object with its methods; None for none.

    Raises:
        ConfigError: one of them does not work.
    """
    if _is_recorder(montra) and usage is not None and not _is_recorder(usage):
        raise ConfigError("montra, usage: the arguments are in the wrong order: Access(montra, usage)")
    mixed = package == "montra_async" and is_of("montra_sync", montra)
    if mixed or not _is_client(montra):
        raise ConfigError(f"montra: a client of {package}.access.Access is a {package}.Montra, not {_name(montra)}")
    if usage is not None and not _fits(package, usage):
        raise ConfigError(
            f"usage: a reporter of {package}.access.Access is a {package}.usage.UsageReporter, not {_name(usage)}"
        )


def _name(thing: Any) -> str:
    return "None" if thing is None else name_of_class(thing)


def _is_client(thing: Any) -> bool:
    client = getattr(thing, "_async", thing)  # which a synchronous client has
    return hasattr(client, "check_entitlement") or hasattr(client, "check_feature_access")


def _is_recorder(thing: Any) -> bool:
    return all(callable(getattr(thing, name, None)) for name in _RECORDER)


def _fits(package: Twin, usage: Any) -> bool:
    if not _is_recorder(usage):
        return False
    if package == "montra_async":
        return not is_of("montra_sync", usage)
    return not iscoroutinefunction(usage.record)
