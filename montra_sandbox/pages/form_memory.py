"""What was entered in forms, so that a page can show it again after a redirect."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping

import attrs

_MAX_FORMS = 200
_MAX_FIELDS = 50
_MAX_LENGTH = 2_000


@attrs.frozen(kw_only=True)
class KeptForm:
    """A form that was sent, and what became of it.

    Attributes:
        fields: what was entered, by name.
        message: what the page says about it; None for nothing.
        status: the HTTP status of the page that shows it.
        succeeded: whether the message reports a success.
    """

    fields: Mapping[str, str] = attrs.field(factory=dict[str, str])
    message: str | None = None
    status: int = 200
    succeeded: bool = False


class FormMemory:
    """The latest forms, in memory only.

    Every form is answered with a redirect, so that a browser's "back" and "reload" never send it again. What was
    entered does not belong into the address of the next page, so the address has a random token instead.
    """

    def __init__(self) -> None:
        self._forms: OrderedDict[str, KeptForm] = OrderedDict()

    def keep(
        self, fields: Mapping[str, str], message: str | None, *, status: int = 200, succeeded: bool = False
    ) -> str:
        """Keep a form; returns its token.

        Args:
            fields: what was entered.
            message: what the page says about it; None for nothing.
            status: the HTTP status of the page that shows it.
            succeeded: whether the message reports a success.
        """
        token = secrets.token_urlsafe(9)
        kept = {name[:100]: value[:_MAX_LENGTH] for name, value in list(fields.items())[:_MAX_FIELDS]}
        self._forms[token] = KeptForm(fields=kept, message=message, status=status, succeeded=succeeded)
        while len(self._forms) > _MAX_FORMS:
            self._forms.popitem(last=False)
        return token

    def get(self, token: str | None) -> KeptForm:
        """A kept form; an empty one for an unknown or forgotten token.

        Args:
            token: what `keep` returned; None for none.
        """
        return self._forms.get(token or "", KeptForm())
