"""A local server that speaks Montra's wire contract: real HTTP, real state, a clock, webhooks and faults."""

try:
    from .server import API_PREFIX, DEFAULT_API_KEY, Sandbox
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the sandbox needs {error.name}: pip install 'montra[sandbox]'", name=error.name
    ) from None

from .problems import Problem

__all__ = ["API_PREFIX", "DEFAULT_API_KEY", "Problem", "Sandbox"]
