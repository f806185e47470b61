"""`Identity`: the user that a call is made for."""

from __future__ import annotations

from typing import Any

import attrs

from ..core import validation
from ..core.errors import InvalidArgumentError
from ..core.redaction import ShownWhenHalfBuilt


def _validate_text(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept text that can be sent in a header."""
    if value is None:
        return
    validation.text(attribute.name, value)
    if not value.isprintable() or value != value.strip():
        raise InvalidArgumentError(attribute.name, "without line breaks, control characters and space around it")


def _validate_email(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _validate_text(instance, attribute, value)
    if value is not None and ("@" not in value or any(c.isspace() for c in value)):
        raise InvalidArgumentError(attribute.name, "not an email address")


@attrs.frozen(kw_only=True, repr=False)
class Identity(ShownWhenHalfBuilt):
    """A user of the paywall.

    Attributes:
        email: the user's email address. Checkout requires it. Default: None.
        user_id: your own id of the user. Default: None.
        anonymous_id: your id of an anonymous visitor. Default: None.

    Raises:
        InvalidArgumentError: a value is not a string, is empty, or can't be sent in a header.
    """

    email: str | None = attrs.field(default=None, validator=_validate_email)
    user_id: str | None = attrs.field(default=None, validator=_validate_text)
    anonymous_id: str | None = attrs.field(default=None, validator=_validate_text)

    @property
    def known(self) -> bool:
        """Whether the service can identify the user: `email` or `user_id` is set."""
        return self.email is not None or self.user_id is not None


NO_IDENTITY = Identity()
