"""The base class of all events. It is separate from `events` because clients name it in their type hints, and creating
the classes of all events takes time that most programs need not spend.

Annotations are evaluated here: subclasses in other modules inherit them, where names like `datetime` are not defined.
"""

from datetime import datetime
from typing import Any, TypeVar

import attrs

from ..core.models.model import HashedByValue


def _empty() -> dict[str, Any]:
    return {}


@attrs.frozen(kw_only=True)
class WebhookEvent(HashedByValue):
    """An event. An event whose type this SDK doesn't know is an instance of this class, with `data` as parsed JSON.

    Attributes:
        id: the event's id; the same in every delivery of the event.
        type: the event's type, e.g. `customer.created`.
        created_at: when the event happened, in UTC; None when the body doesn't say, or when it can't be read.
        data: the object that the event is about.
        raw_body: the signed body, unparsed.
        extra: fields of the body that this SDK doesn't know.
    """

    id: str
    type: str
    created_at: datetime | None = None
    data: Any
    raw_body: bytes = attrs.field(default=b"", repr=False, eq=False)
    extra: dict[str, Any] = attrs.field(factory=_empty, repr=False, hash=False)


E = TypeVar("E", bound=WebhookEvent)
