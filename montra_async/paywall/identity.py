"""For whom a call is made."""

from __future__ import annotations

from typing import Any

import attrs

from ..core import validation
from ..core.errors import InvalidArgumentError
from ..core.redaction import ShownWhenHalfBuilt


def _sendable(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Identities travel in headers, too."""
    if value is None:
        return
    validation.text(attribute.name, value)
    if not value.isprintable() or value != value.strip():
        raise InvalidArgumentError(attribute.name, "without line breaks, control characters and space around it")


def _address(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _sendable(instance, attribute, value)
    if value is not None and ("@" not in value or any(c.isspace() for c in value)):
        raise InvalidArgumentError(attribute.name, "not an email address")


@attrs.frozen(kw_only=True, repr=False)
class Identity(ShownWhenHalfBuilt):
    """A user of the paywall.

    Attributes:
        email: address; checkout needs it.
        user_id: your own id of the user.
        anonymous_id: your id of a visitor that you know nothing else of.
    """

    email: str | None = attrs.field(default=None, validator=_address)
    user_id: str | None = attrs.field(default=None, validator=_sendable)
    anonymous_id: str | None = attrs.field(default=None, validator=_sendable)

    @property
    def known(self) -> bool:
        """Can the service tell who this is?"""
        return self.email is not None or self.user_id is not None


NOBODY = Identity()
