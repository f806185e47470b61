"""A local server with the Montra and paywall APIs: real HTTP, stored state, a clock, webhooks and faults."""

try:
    from .server import API_PREFIX, DEFAULT_API_KEY, DEFAULT_WEBHOOK_SECRET, Sandbox
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"the sandbox needs {_error.name}: pip install 'montra[sandbox]', or in a clone of the SDK: "
        "pip install -e '.[sandbox]'",
        name=_error.name,
    ) from None

from .controls.payer import PaidCheckout
from .controls.paywall import UNSET, Unset
from .controls.scenarios import ScenarioReport
from .problems import Problem
from .request_log import RecordedRequest
from .scenarios.seed_file import parse_seed_file

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
