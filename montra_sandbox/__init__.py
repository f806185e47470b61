"""A local server with the Montra and paywall APIs: real HTTP, stored state, a clock, webhooks and faults.

Public names are imported when they are first used, so that the command can say which extra is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .controls.payer import PaidCheckout
    from .controls.paywall import UNSET, Unset
    from .controls.scenarios import ScenarioReport
    from .problems import Problem
    from .request_log import RecordedRequest
    from .scenarios.seed_file import parse_seed_file
    from .server import API_PREFIX, DEFAULT_API_KEY, DEFAULT_WEBHOOK_SECRET, Sandbox

__all__ = [
    "API_PREFIX",
    "DEFAULT_API_KEY",
    "DEFAULT_WEBHOOK_SECRET",
    "UNSET",
    "PaidCheckout",
    "Problem",
    "RecordedRequest",
    "Sandbox",
    "ScenarioReport",
    "Unset",
    "parse_seed_file",
]

_MODULES = {
    "PaidCheckout": ".controls.payer",
    "Problem": ".problems",
    "RecordedRequest": ".request_log",
    "ScenarioReport": ".controls.scenarios",
    "UNSET": ".controls.paywall",
    "Unset": ".controls.paywall",
    "parse_seed_file": ".scenarios.seed_file",
}
"""Where the public names are; those that are missing are in `.server`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_MODULES.get(name, ".server"), __name__), name)
    except ModuleNotFoundError as error:
        from .missing_extra import missing_extra

        raise missing_extra(error) from None
    globals()[name] = value  # the next access does not call this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
