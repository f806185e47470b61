"""A local server with the Montra and paywall APIs: real HTTP, stored state, a clock, webhooks and faults."""

try:
    from .server import API_PREFIX, DEFAULT_API_KEY, Sandbox
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"the sandbox needs {_error.name}: pip install 'montra[sandbox]'", name=_error.name
    ) from None

from .paywall_controls import UNSET, Unset
from .problems import Problem

__all__ = ["API_PREFIX", "DEFAULT_API_KEY", "UNSET", "Problem", "Sandbox", "Unset"]
