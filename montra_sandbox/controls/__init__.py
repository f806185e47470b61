"""The controls: what a developer or a test may do to the sandbox, in code and below `/_sandbox/`."""

from .montra import MontraControls
from .paywall import PaywallControls
from .scenarios import ScenarioControls
from .state import StateControls
from .webhooks import WebhookControls

__all__ = ["Controls"]


class Controls(StateControls, MontraControls, ScenarioControls, WebhookControls, PaywallControls):
    """All controls. Each takes effect at once, in one transaction.

    Raises:
        Problem: the control was refused.
        RuntimeError: the sandbox is not running.
    """
