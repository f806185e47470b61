"""Limits of plans, which only a sandbox can set."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .control_client import ControlClient


def list_limits(controls: ControlClient) -> list[dict[str, Any]]:
    """All limits: `pricing_model_id`, `meter_slug`, `max_amount`, `period`, `aggregation`.

    Args:
        controls: the sandbox.
    """
    limits: list[dict[str, Any]] = controls.get("/limits")
    return limits


def set_limit(
    controls: ControlClient,
    pricing_model_id: str,
    meter_slug: str,
    max_amount: Decimal | None,
    period: str,
    aggregation: str | None = None,
) -> None:
    """Set a limit; None as an amount is unlimited.

    Args:
        controls: the sandbox.
        pricing_model_id: the plan.
        meter_slug: slug of the meter.
        max_amount: the usage at which access ends.
        period: `billing_period`, `day`, `month` or `lifetime`.
        aggregation: instead of the meter's own.
    """
    # None is a value here, while `post` leaves it out.
    body: dict[str, Any] = {"pricing_model_id": pricing_model_id, "meter_slug": meter_slug, "period": period}
    controls.post_all("/limits", {**body, "max_amount": max_amount, "aggregation": aggregation})
