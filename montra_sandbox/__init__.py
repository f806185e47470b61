"""A local server with the Montra and paywall APIs: real HTTP, stored state, a clock, webhooks and faults.

Names are imported when they are first used: pytest imports this package at each start, for the plugin in it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .paywall_controls import UNSET, Unset
    from .problems import Problem
    from .server import API_PREFIX, DEFAULT_API_KEY, Sandbox

__all__ = ["API_PREFIX", "DEFAULT_API_KEY", "UNSET", "Problem", "Sandbox", "Unset"]

_MODULES = {
    "API_PREFIX": "server",
    "DEFAULT_API_KEY": "server",
    "Sandbox": "server",
    "UNSET": "paywall_controls",
    "Unset": "paywall_controls",
    "Problem": "problems",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f".{_MODULES[name]}", __name__)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__name__):
            raise
        raise ModuleNotFoundError(
            f"the sandbox needs {error.name}: pip install 'montra[sandbox]'", name=error.name
        ) from None
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
