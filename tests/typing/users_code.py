"""What a user writes, for mypy --strict and pyright --strict. Never run."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from typing_extensions import assert_type

from montra_async import (
    ApiError,
    AuditLog,
    CallEvent,
    Customer,
    Entitlement,
    Montra,
    Proration,
    Refund,
    Subscription,
    Timeout,
    verify_signature,
)


def note(event: CallEvent) -> None:
    assert_type(event.elapsed, float)


async def main() -> None:
    async with Montra("sk_test_x", timeout=Timeout(total=5, read=None), on_response=note, max_attempts=2) as montra:
        assert_type(montra, Montra)
        customer = await montra.create_customer(name="A", email="a@example.com", metadata={"a": [1, {"b": None}]})
        assert_type(customer, Customer)
        assert_type(customer.created_at, datetime | None)
        assert_type(await montra.list_customers(), list[Customer])
        assert_type(await montra.report_usage(customer_id=customer.id, meter_slug="t", amount=Decimal("1.5")), bool)
        access = await montra.check_entitlement(customer.id, "t")
        assert_type(access, Entitlement)
        assert_type(access.has_access, bool)
        refund = await montra.create_refund(transaction_id="tx", amount=Decimal(5))
        assert_type(refund, Refund)
        assert_type(refund.amount, Decimal)
        upgrade = await montra.upgrade_subscription("sub", "pm")
        assert_type(upgrade.subscription, Subscription)
        assert_type(upgrade.proration, Proration | None)
        assert_type(await montra.delete_feature("feat"), None)
        async for entry in montra.iter_audit_logs(event_type="customer.created"):
            assert_type(entry, AuditLog)
        view = montra.with_options(timeout=5, headers={"X-A": "b"})
        assert_type(view, Montra)
        assert_type(view.webhooks.verify_signature(b"", "", ""), bool)
        # A status the SDK does not know yet is a string like any other.
        await montra.list_subscriptions(status="hibernating")


async def wrong(montra: Montra) -> None:
    """Mistakes that a type checker must find; an unneeded ignore is an error of its own."""
    await montra.create_customer(name="A")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await montra.create_customer("A", "a@x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await montra.get_customer(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await montra.create_refund(transaction_id="t", amount="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def errors(error: ApiError) -> None:
    assert_type(error.status, int)
    assert_type(error.retry_after, float | None)
    assert_type(error.idempotency_key, str | None)
    assert_type(verify_signature("", None, ["a"]), bool)
