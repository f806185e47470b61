"""Whether a customer may: answers at memory speed, and holds that keep concurrent requests below a limit."""

from typing import TYPE_CHECKING

__all__ = [
    "Access",
    "AccessDecision",
    "AccessDeniedError",
    "AccessError",
    "AccessSource",
    "AccessUnavailableError",
    "Hold",
    "HoldEndedError",
    "LimitExceededError",
    "OnUnavailable",
    "RedisAnswers",
    "RedisHolds",
]

if TYPE_CHECKING:
    from ._public import *
else:
    from .._lazy import lazily

    __getattr__, __dir__ = lazily(__name__, __all__)
