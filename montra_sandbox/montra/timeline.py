"""What happens by itself: periods end, scheduled changes apply, pauses are over.

Everything that has come due is done in the order of its moment, each at that moment, whether the clock crept there or
was advanced by a year. Runs before every request and from the server's ticker, inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from ..clock import from_text, to_text
from ..context import Context
from ..periods import period_at
from ..store import Row, Store
from .billing import invoice_period, plan_during, record_mrr
from .plans import price_of
from .pricing import exactly
from .subscriptions import RUNNING, announce, change_plan, find, resume, show_change

_Step: TypeAlias = Callable[[Context, Row], None]

MOST_STEPS = 10_000
"""Bounds what one advance may set off."""

# At the same moment a change of plan comes before the new period's invoice, and so does the end of a pause.
_DUE = """
SELECT * FROM (SELECT 'change' AS kind, 1 AS turn, id, merchant_id, scheduled_for AS moment FROM scheduled_changes
  WHERE status = 'pending' ORDER BY scheduled_for LIMIT 1)
UNION ALL
SELECT * FROM (SELECT 'resume', 2, id, merchant_id, resume_at FROM subscriptions
  WHERE status = 'paused' AND resume_at IS NOT NULL ORDER BY resume_at LIMIT 1)
UNION ALL
SELECT * FROM (SELECT 'period', 3, id, merchant_id, current_period_end FROM subscriptions
  WHERE status IN ('active', 'trialing', 'past_due', 'paused') ORDER BY current_period_end LIMIT 1)
ORDER BY moment, turn LIMIT 1"""


def next_due(store: Store) -> datetime | None:
    row = store.one(_DUE)
    return None if row is None else from_text(row["moment"])


def catch_up(store: Store, now: datetime, origin: str) -> int:
    """Do all that is due; how many things happened."""
    with exactly():
        return _catch_up(store, to_text(now), origin)


def _catch_up(store: Store, limit: str, origin: str) -> int:
    for done in range(MOST_STEPS):
        due = store.one(_DUE)
        if due is None or due["moment"] > limit:
            return done
        context = Context(store=store, merchant_id=due["merchant_id"], now=from_text(due["moment"]), origin=origin)
        _STEPS[due["kind"]](context, due)
    return MOST_STEPS


def _apply_change(context: Context, due: Row) -> None:
    change = context.find("scheduled_changes", "scheduled change", due["id"])
    subscription = find(context, change["subscription_id"])
    running = subscription["status"] in RUNNING
    context.store.update("scheduled_changes", change["id"], status="completed" if running else "cancelled")
    if running:
        change_plan(context, subscription, change["new_pricing_model_id"])
    shown = show_change(context.find("scheduled_changes", "scheduled change", change["id"]))
    context.record(f"scheduled_change.{shown['status']}", change["id"], shown)


def _end_pause(context: Context, due: Row) -> None:
    resume(context, due["id"])


def _end_period(context: Context, due: Row) -> None:
    subscription = find(context, due["id"])
    last = plan_during(subscription)
    if subscription["cancel_at_period_end"]:
        cancel(context, subscription)
        return
    start, end = period_at(from_text(subscription["anchor"]), last.period_end)
    context.store.update(
        "subscriptions", due["id"], current_period_start=to_text(start), current_period_end=to_text(end)
    )
    announce(context, "subscription.updated", due["id"])
    invoice_period(context, find(context, due["id"]), usage_of=last)


def cancel(context: Context, subscription: Row) -> None:
    """End a subscription now."""
    context.store.update("subscriptions", subscription["id"], status="canceled", resume_at=None)
    model = subscription["pricing_model_id"]
    record_mrr(context, model, "churn", price_of(context, model))
    announce(context, "subscription.canceled", subscription["id"])


_STEPS: dict[str, _Step] = {"change": _apply_change, "resume": _end_pause, "period": _end_period}
