"""Where each name of `montra_async.access` comes from."""

from .access import Access as Access
from .decision import AccessDecision as AccessDecision, AccessSource as AccessSource
from .errors import (
    AccessDeniedError as AccessDeniedError,
    AccessError as AccessError,
    AccessUnavailableError as AccessUnavailableError,
    HoldEndedError as HoldEndedError,
    LimitExceededError as LimitExceededError,
)
from .hold import Hold as Hold
from .redis_answers import RedisAnswers as RedisAnswers
from .redis_holds import RedisHolds as RedisHolds
from .settings import OnUnavailable as OnUnavailable
