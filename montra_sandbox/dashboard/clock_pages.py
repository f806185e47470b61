"""The clock, snapshots and reset."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from ..datetimes import add_months, parse_datetime
from ..problems import Problem, invalid
from .routing import Done, form, page
from .view import View

_SHOWN = 15
_STEPS = {
    "hour": ("1 hour", timedelta(hours=1)),
    "day": ("1 day", timedelta(days=1)),
    "week": ("1 week", timedelta(weeks=1)),
}
_NEXT = """
SELECT * FROM (SELECT subscription.current_period_end AS due_at, 'period' AS kind, customer.name AS name,
    '/dashboard/customers/' || customer.id AS path
  FROM subscriptions subscription JOIN customers customer ON customer.id = subscription.customer_id
  WHERE subscription.status IN ('active', 'trialing', 'past_due', 'paused')
  ORDER BY subscription.current_period_end LIMIT :limit)
UNION ALL SELECT * FROM (SELECT change.scheduled_for, 'change', customer.name, '/dashboard/customers/' || customer.id
  FROM scheduled_changes change JOIN subscriptions subscription ON subscription.id = change.subscription_id
  JOIN customers customer ON customer.id = subscription.customer_id
  WHERE change.status = 'pending' ORDER BY change.scheduled_for LIMIT :limit)
UNION ALL SELECT * FROM (SELECT purchase.current_period_end, 'purchase', coalesce(user.email, user.id),
    '/dashboard/paywalls/' || user.paywall_id || '/users/' || user.id
  FROM paywall_purchases purchase JOIN paywall_users user ON user.id = purchase.user_id
  WHERE purchase.status IN ('active', 'trialing') AND purchase.current_period_end IS NOT NULL
  ORDER BY purchase.current_period_end LIMIT :limit)
ORDER BY 1 LIMIT :limit"""


async def show_clock(view: View) -> web.StreamResponse:
    """Show the clock, what is due next, and the snapshots.

    Args:
        view: the request.
    """
    return view.page(
        "clock.html",
        section="clock",
        steps=[(name, text) for name, (text, _) in _STEPS.items()],
        due=_due(view),
        snapshots=view.controls.snapshots(),
    )


def _due(view: View) -> list[dict[str, Any]]:
    """What happens next as time passes."""
    rows = view.db.all(_NEXT.replace(":limit", str(_SHOWN)))
    return [dict(row) for row in rows]


async def advance(view: View) -> Done:
    """Move the clock forward by a step, to the end of the next period, or to a date.

    Args:
        view: the request.
    """
    step = view.fields.get("step", "")
    if step == "month":
        now = view.controls.advance(to=add_months(view.now, 1))
    elif step == "period":
        now = view.controls.advance(to=_next_period(view))
    elif step in _STEPS:
        now = view.controls.advance(to=view.now + _STEPS[step][1])
    else:
        now = view.controls.advance(to=_datetime(view, "to"))
    return Done(f"The clock shows {_words(now)}.")


def _next_period(view: View) -> datetime:
    due = _due(view)
    if not due:
        raise Problem(409, "nothing_is_due", "No period ends: there is no running subscription or purchase.")
    return max(view.now, parse_datetime(due[0]["due_at"]))


def _datetime(view: View, name: str) -> datetime:
    text = view.text(name)
    try:
        if text is not None:
            return parse_datetime(text)
    except ValueError:
        pass
    raise invalid("Give a date and a time, such as 2027-01-31T12:00.")


def _words(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


async def freeze(view: View) -> Done:
    """Let the clock stand still, or go on.

    Args:
        view: the request.
    """
    if view.fields.get("action") == "unfreeze":
        view.controls.unfreeze()
        return Done("The clock goes on.")
    at = view.controls.freeze(_datetime(view, "at") if view.text("at") else None)
    return Done(f"The clock stands still at {_words(at)}.")


async def take_snapshot(view: View) -> Done:
    """Keep the whole state.

    Args:
        view: the request.
    """
    return Done(f"The snapshot {view.controls.snapshot(view.text('name'))} was taken.")


async def use_snapshot(view: View) -> Done:
    """Go back to a snapshot, or delete it.

    Args:
        view: the request.
    """
    name = view.path_value("name")
    if view.fields.get("action") == "delete":
        view.controls.delete_snapshot(name)
        return Done(f"The snapshot {name} was deleted.")
    view.controls.restore(name)
    return Done(f"The sandbox is as it was in the snapshot {name}.")


async def reset(view: View) -> Done:
    """Delete everything except the API keys.

    Args:
        view: the request.

    Raises:
        Problem: 400, it was not confirmed.
    """
    if view.text("sure") is None:
        raise invalid("Confirm that everything is to be deleted.")
    view.controls.reset()
    return Done("Everything was deleted.", "/")


ROUTES = (
    page("/dashboard/clock", show_clock),
    form("/dashboard/clock/advance", advance),
    form("/dashboard/clock/freeze", freeze),
    form("/dashboard/snapshots", take_snapshot),
    form("/dashboard/snapshots/{name}", use_snapshot),
    form("/dashboard/reset", reset),
)
