"""The settings of `Access`."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import attrs

from ..core import validation
from ..core.errors import ConfigError
from ..core.redaction import ShownWhenHalfBuilt

OnUnavailable: TypeAlias = Literal["deny", "allow", "raise"]
"""What to decide when the service can't be asked and there is no usable answer."""


_DENY: OnUnavailable = "deny"


def _seconds(_: Any, attribute: attrs.Attribute[float], value: Any) -> None:
    number = not isinstance(value, bool) and isinstance(value, (int, float))
    if not number or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{attribute.name}: seconds, at least 0, not {value!r:.60}")


def _positive(owner: Any, attribute: attrs.Attribute[float], value: Any) -> None:
    _seconds(owner, attribute, value)
    if value <= 0:
        raise ConfigError(f"{attribute.name}: seconds, more than 0")


def _count(_: Any, attribute: attrs.Attribute[int], value: Any) -> None:
    validation.whole(attribute.name, value, minimum=1, maximum=10_000_000)


def _policy(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in ("deny", "allow", "raise"):
        raise ConfigError(f"{attribute.name}: 'deny', 'allow' or 'raise', not {value!r:.60}")


@attrs.frozen(kw_only=True, repr=False)
class AccessSettings(ShownWhenHalfBuilt):
    """The settings of `Access`, checked. See there.

    Raises:
        ConfigError: a setting is invalid.
    """

    ttl: float = attrs.field(default=30.0, validator=_seconds)
    deny_ttl: float = attrs.field(default=5.0, validator=_seconds)
    stale_ttl: float = attrs.field(default=60.0, validator=_seconds)
    max_stale: float = attrs.field(default=3600.0, validator=_seconds)
    on_unavailable: OnUnavailable = attrs.field(default=_DENY, validator=_policy)
    timeout: float = attrs.field(default=5.0, validator=_positive)
    max_entries: int = attrs.field(default=10_000, validator=_count)
    hold_ttl: float = attrs.field(default=600.0, validator=_positive)
    local_usage_ttl: float = attrs.field(default=3600.0, validator=_positive)
