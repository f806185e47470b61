"""Errors of access.

MontraError
  AccessError
    AccessDeniedError          the customer has no access
      LimitExceededError       fewer units are free than were asked for
    AccessUnavailableError     nobody knows: the service, or Redis, can't be asked
    HoldEndedError             the hold is settled, released or expired
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..core.errors import MontraError, rebuild
from .decision import AccessDecision


class AccessError(MontraError):
    """Base class of the errors of `montra_async.access`."""


class AccessDeniedError(AccessError):
    """The customer has no access.

    Args:
        message: what happened.
        decision: the decision, which says why.
    """

    def __init__(self, message: str, decision: AccessDecision) -> None:
        super().__init__(message)
        self.decision = decision

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


class LimitExceededError(AccessDeniedError):
    """Fewer units of the meter are free than were asked for. Nothing is held.

    Args:
        message: what happened.
        decision: the decision, which has `usage`, `limit` and `remaining`.
        requested: number of units that were asked for.
    """

    def __init__(self, message: str, decision: AccessDecision, requested: int | Decimal) -> None:
        super().__init__(message, decision)
        self.requested = requested
        self.usage: int | Decimal | None = decision.usage
        """Units used, those included that the service does not know of yet."""
        self.limit: int | Decimal | None = decision.limit
        """Units that the plan includes."""
        self.remaining: int | Decimal | None = decision.remaining
        """Units that are neither used nor held."""
        self.held: int | Decimal | None = decision.held
        """Units that are not used, but held at the moment. A retry may succeed if `requested <= remaining + held`."""


class AccessUnavailableError(AccessError):
    """Access can't be determined: the service or Redis can't be reached, and there is no answer that is new enough."""


class HoldEndedError(AccessError):
    """The hold is settled or released, or it has expired, or it was made before a fork by the parent process."""
