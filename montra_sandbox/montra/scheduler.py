"""What happens to subscriptions as time passes: periods end, scheduled changes apply, pauses end.

All due steps run in order of their due time, each with the clock at that time, whether the clock moved by a second or
was advanced by a year. They run before every request and from the webhook sender's loop.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from ..database import Database, Row
from ..datetimes import format_datetime, month_containing, parse_datetime
from .billing_periods import invoice_period
from .charges import exact_decimals
from .merchant_context import MerchantContext
from .plans import subscription_plan
from .subscriptions import RUNNING_STATUSES, cancel, change_plan, get_row, record_event, resume, serialize_change

_Step: TypeAlias = Callable[[MerchantContext, Row], None]

MAX_STEPS: int = 10_000
"""Most steps of one run."""

# At the same due time a change of plan and the end of a pause come before the invoice of the new period.
_NEXT_DUE = """
SELECT * FROM (SELECT 'change' AS kind, 1 AS priority, id, merchant_id, scheduled_for AS due_at FROM scheduled_changes
  WHERE status = 'pending' ORDER BY scheduled_for LIMIT 1)
UNION ALL
SELECT * FROM (SELECT 'resume', 2, id, merchant_id, resume_at FROM subscriptions
  WHERE status = 'paused' AND resume_at IS NOT NULL ORDER BY resume_at LIMIT 1)
UNION ALL
SELECT * FROM (SELECT 'period', 3, id, merchant_id, current_period_end FROM subscriptions
  WHERE status IN ('active', 'trialing', 'past_due', 'paused') ORDER BY current_period_end LIMIT 1)
ORDER BY due_at, priority LIMIT 1"""


def next_due(db: Database) -> datetime | None:
    """When the next step is due; None when nothing is scheduled.

    Args:
        db: the database.
    """
    row = db.one(_NEXT_DUE)
    return None if row is None else parse_datetime(row["due_at"])


def run_due(db: Database, now: datetime, origin: str) -> int:
    """Run all due steps, inside the caller's transaction; returns how many there were.

    Args:
        db: the database.
        now: the sandbox's time.
        origin: the sandbox's address.
    """
    limit = format_datetime(now)
    with exact_decimals():
        for count in range(MAX_STEPS):
            due = db.one(_NEXT_DUE)
            if due is None or due["due_at"] > limit:
                return count
            due_at = parse_datetime(due["due_at"])
            _STEPS[due["kind"]](MerchantContext(db=db, merchant_id=due["merchant_id"], now=due_at, origin=origin), due)
    return MAX_STEPS


def _apply_change(context: MerchantContext, due: Row) -> None:
    change = context.get_or_404("scheduled_changes", "scheduled change", due["id"])
    subscription = get_row(context, change["subscription_id"])
    is_running = subscription["status"] in RUNNING_STATUSES
    context.db.update("scheduled_changes", change["id"], status="completed" if is_running else "cancelled")
    if is_running:
        change_plan(context, subscription, change["new_pricing_model_id"])
    serialized = serialize_change(context.get_or_404("scheduled_changes", "scheduled change", change["id"]))
    context.record_event(f"scheduled_change.{serialized['status']}", change["id"], serialized)


def _end_pause(context: MerchantContext, due: Row) -> None:
    resume(context, due["id"])


def _end_period(context: MerchantContext, due: Row) -> None:
    subscription = get_row(context, due["id"])
    ended = subscription_plan(subscription)
    if subscription["cancel_at_period_end"]:
        cancel(context, subscription)
        return
    start, end = month_containing(parse_datetime(subscription["anchor"]), ended.period_end)
    context.db.update(
        "subscriptions", due["id"], current_period_start=format_datetime(start), current_period_end=format_datetime(end)
    )
    record_event(context, "subscription.updated", due["id"])
    invoice_period(context, get_row(context, due["id"]), usage_of=ended)


_STEPS: dict[str, _Step] = {"change": _apply_change, "resume": _end_pause, "period": _end_period}
