"""The registry of triggers by service and event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from .calls import Calls

Run: TypeAlias = Callable[[Calls, dict[str, Any]], None]


@attrs.frozen(kw_only=True)
class Trigger:
    """How to cause an event.

    Attributes:
        service: `montra` or `paywall`.
        event: the event's type.
        fields: the names of the fields that it takes.
        description: what it does.
        run: does it, inside the caller's transaction.
    """

    service: str
    event: str
    fields: tuple[str, ...]
    description: str
    run: Run


TRIGGERS: dict[tuple[str, str], Trigger] = {}
"""By service and event."""


def causes(service: str, event: str, *fields: str) -> Callable[[Run], Run]:
    """Decorate the function that causes an event. The first line of its docstring is the trigger's description.

    Args:
        service: `montra` or `paywall`.
        event: the event's type.
        fields: the names of the fields that it takes.
    """

    def register(run: Run) -> Run:
        description = (run.__doc__ or "").strip().partition("\n")[0]
        TRIGGERS[service, event] = Trigger(
            service=service, event=event, fields=fields, description=description, run=run
        )
        return run

    return register
