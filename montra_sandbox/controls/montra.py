"""Controls of the Montra service, payments of both services, and faults."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from ..database import Row
from ..faults import FaultKind, MalformedBody, make_fault
from ..json import MAX_DIGITS, decimal_text, dumps, is_array, is_object, number
from ..montra import payments, subscriptions, usage
from ..problems import Problem, invalid, not_found
from .base import ControlBase, control, settling_control
from .payer import PaidCheckout, pay

_MAX_AMOUNT = 10**18
_MAX_TIERS = 100
_MAX_SHOWN = 20
_MAX_TEXT = 100
_SETTABLE_STATUSES = ("active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "trialing")


class MontraControls(ControlBase):
    """Controls of the Montra service. Each takes effect at once, in one transaction.

    Raises:
        Problem: the control was refused.
        RuntimeError: the sandbox is not running.
    """

    # Montra

    @control
    def set_limit(
        self,
        *,
        pricing_model_id: str,
        meter_slug: str,
        max_amount: Decimal | int | float | None,
        period: str = "billing_period",
        aggregation: str | None = None,
    ) -> None:
        """Set how much of a meter a plan allows.

        Args:
            pricing_model_id: the plan.
            meter_slug: the meter's slug.
            max_amount: the usage at which access ends; None for unlimited.
            period: `billing_period`, `day`, `month` or `lifetime`.
            aggregation: `sum`, `max`, `unique` or `count` instead of the meter's own; None keeps that.

        Raises:
            Problem: 400 invalid value, 404 unknown pricing model, or a slug that no meter has.
        """
        if period not in usage.LIMIT_PERIODS:
            raise invalid(f"period: one of {', '.join(usage.LIMIT_PERIODS)}")
        if aggregation not in (None, "sum", "max", "unique", "count"):
            raise invalid("aggregation: sum, max, unique or count")
        amount = _amount("max_amount", max_amount)
        if not isinstance(meter_slug, str) or not isinstance(pricing_model_id, str):
            raise invalid("meter_slug and pricing_model_id: strings")
        model = self._get_row("pricing_models", "pricing model", pricing_model_id)
        self._check_meter(model["merchant_id"], meter_slug)
        with self._world.db.transaction() as db:
            db.run(
                "INSERT OR REPLACE INTO plan_limits VALUES (?, ?, ?, ?, ?)",
                *(model["id"], meter_slug, decimal_text(amount), period, aggregation),
            )

    @control
    def set_tiers(self, product_id: str, tiers: list[dict[str, Any]]) -> None:
        """Set the graduated prices of a product with `pricing_structure="tiered"`.

        Args:
            product_id: the product.
            tiers: `up_to` (units; None in the last tier) and `unit_amount` (major units) of each tier, ascending:
                `[{"up_to": 1000, "unit_amount": "0.01"}, {"up_to": None, "unit_amount": "0.005"}]`.

        Raises:
            Problem: 400 invalid tiers, 404 unknown product.
        """
        product = self._get_row("products", "product", product_id)
        checked = _check_tiers(tiers)
        with self._world.db.transaction() as db:
            db.update("products", product["id"], tiers=dumps(checked))

    @settling_control
    def set_subscription(
        self, subscription_id: str, *, status: str | None = None, cancel_at_period_end: bool | None = None
    ) -> dict[str, Any]:
        """Set what the service itself decides: a failed payment, a trial, a cancellation.

        Args:
            subscription_id: the subscription.
            status: the new status, any but `paused`; None keeps it.
            cancel_at_period_end: whether it ends with the current period; None keeps it.

        Returns:
            The subscription.

        Raises:
            Problem: 400 invalid value, 404 unknown subscription.
        """
        if status is not None and status not in _SETTABLE_STATUSES:
            raise invalid(f"status: one of {', '.join(_SETTABLE_STATUSES)}")
        if cancel_at_period_end is not None and not isinstance(cancel_at_period_end, bool):
            raise invalid("cancel_at_period_end: true or false")
        row = self._get_row("subscriptions", "subscription", subscription_id)
        context = self._world.merchant_context(row["merchant_id"], self._world.run_due())
        with self._world.db.transaction():
            serialized = subscriptions.set_by_service(
                context, row, status=status, cancel_at_period_end=cancel_at_period_end
            )
        self._world.notify()
        return serialized

    @control
    def limits(self) -> list[dict[str, Any]]:
        """The limits of all plans: `pricing_model_id`, `meter_slug`, `max_amount`, `period`, `aggregation`."""
        rows = self._world.db.all("SELECT * FROM plan_limits ORDER BY rowid")
        return [{**dict(row), "max_amount": number(row["max_amount"])} for row in rows]

    @settling_control
    def pay(
        self,
        target: Any,
        *,
        card: str | None = None,
        email: str = "customer@example.com",
        name: str = "Test Customer",
        code: str | None = None,
    ) -> PaidCheckout:
        """Pay a checkout link, or a checkout of the paywall service, as a person does on its page.

        Args:
            target: the link or checkout: what `create_checkout_link` or `create_checkout` returned, its url or its id.
            card: the number of a test card, or `declined`, `insufficient_funds` or `expired`; one that pays by default.
            email: the payer's email address, by which Montra finds or creates the customer. At the paywall service the
                address of the checkout's user counts.
            name: the payer's name.
            code: a discount code; checkout links only.

        Returns:
            What came of it; `status` is `succeeded` or `failed`.

        Raises:
            Problem: 400 invalid value, or a code that can't be redeemed; 404 no such checkout; 409 paid already; 410
                the link is not active.
        """
        return pay(self._world, target, card=card, email=email, name=name, code=code)

    @control
    def transactions(self) -> list[dict[str, Any]]:
        """All attempted payments of checkout links, newest first."""
        rows = self._world.db.all("SELECT * FROM transactions ORDER BY created_at DESC, rowid DESC")
        return [payments.serialize_transaction(row) for row in rows]

    # Faults

    @control
    def add_fault(
        self,
        *,
        kind: FaultKind,
        times: int | None = None,
        share: float | None = None,
        method: str | None = None,
        path: str | None = None,
        seconds: float = 1.0,
        status: int = 500,
        retry_after: float | str | None = None,
        body: MalformedBody = "html",
    ) -> dict[str, Any]:
        """Inject a fault into the next matching requests of the APIs. The first active fault that matches wins.

        Args:
            kind: `latency` (the response is late), `status` or `rate_limit` (an error instead of handling the request),
                `drop_before` (the connection is closed instead of handling it), `drop_after` (after handling it),
                `drop_during_answer` (in the middle of the response), `malformed` (a broken response).
            times: after how many requests it is removed; 1 when `share` is not given either, else unlimited.
            share: the fraction of matching requests that it affects, 0 to 1; all by default.
            method: only requests with this HTTP method; all by default.
            path: only requests whose path starts with this, such as `/customers`, with or without `/api/v1` in front;
                all by default.
            seconds: the delay of `latency`, 0 to 300.
            status: the status of `status`, 200 to 599.
            retry_after: the header `Retry-After` of `status` and `rate_limit`: seconds, or an HTTP date. By default
                none, and 1 for `rate_limit`.
            body: the body of `malformed`: `html`, `empty`, `truncated` or `text`.

        Returns:
            `kind`, `times` and `share` of the fault.

        Raises:
            Problem: 400, with what is wrong.
        """
        fault = self._world.faults.add(
            make_fault(
                kind=kind,
                times=times,
                share=share,
                method=method,
                path=path,
                seconds=seconds,
                status=status,
                retry_after=retry_after,
                body=body,
            )
        )
        return {"kind": fault.kind, "times": fault.times, "share": fault.share}

    @control
    def faults(self) -> list[dict[str, Any]]:
        """The active faults. `hits` is how many requests each affected so far."""
        return self._world.faults.active()

    @control
    def clear_faults(self) -> None:
        """Remove all faults."""
        self._world.faults.clear()

    def _get_row(self, table: str, what: str, row_id: str) -> Row:
        row = self._world.db.one(f"SELECT * FROM {table} WHERE id = ?", row_id)
        if row is None:
            raise not_found(what, row_id)
        return row

    def _check_meter(self, merchant_id: str, slug: str) -> None:
        """Refuse a slug that no meter of the merchant has: the limit would never be reached."""
        rows = self._world.db.all("SELECT DISTINCT slug FROM meters WHERE merchant_id = ? ORDER BY slug", merchant_id)
        slugs = [row["slug"] for row in rows]
        if slug not in slugs:
            known = ", ".join(slugs[:_MAX_SHOWN]) or "none"
            more = f" and {len(slugs) - _MAX_SHOWN} more" if len(slugs) > _MAX_SHOWN else ""
            raise Problem(404, "not_found", f"no meter has the slug {slug[:_MAX_TEXT]!r}; there are: {known}{more}")


def _amount(name: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise invalid(f"{name}: a number")
    try:
        amount = Decimal(value if isinstance(value, (int, Decimal)) else str(value)[:MAX_DIGITS])
    except InvalidOperation:
        raise invalid(f"{name}: a number") from None
    if not amount.is_finite() or not 0 <= amount <= _MAX_AMOUNT or amount.adjusted() < -MAX_DIGITS:
        raise invalid(f"{name}: a number from 0 to {_MAX_AMOUNT}, or null for unlimited")
    return amount


def _check_tiers(tiers: Any) -> list[dict[str, Any]]:
    if not is_array(tiers) or not 0 < len(tiers) <= _MAX_TIERS:
        raise invalid(f"tiers: a list of 1 to {_MAX_TIERS} tiers")
    checked: list[dict[str, Any]] = []
    below = Decimal(0)
    for i, fields in enumerate(tiers):
        tier = fields if is_object(fields) else {}
        if set(tier) != {"up_to", "unit_amount"}:
            raise invalid(f"tiers[{i}]: up_to and unit_amount, nothing else")
        up_to = _amount(f"tiers[{i}].up_to", tier["up_to"])
        price = _amount(f"tiers[{i}].unit_amount", tier["unit_amount"])
        is_last = i == len(tiers) - 1
        if price is None or (up_to is None) is not is_last or (up_to is not None and up_to <= below):
            raise invalid(f"tiers[{i}]: up_to rises from tier to tier and is null in the last one")
        below = up_to if up_to is not None else below
        checked.append({"up_to": None if up_to is None else format(up_to, "f"), "unit_amount": format(price, "f")})
    return checked
