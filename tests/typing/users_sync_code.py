"""What a user of the synchronous facade writes, for mypy --strict and pyright --strict. Never run."""

from __future__ import annotations

import os
from collections.abc import Generator
from copy import copy
from datetime import datetime
from decimal import Decimal

import aiohttp
from typing_extensions import assert_type

import montra_async
from montra_sync import AuditLog, Customer, Entitlement, Montra, Proration, Refund, Subscription, Timeout
from montra_sync.paywall import (
    ApiGatewayClient,
    AuthClient,
    BillingClient,
    Charge,
    Price,
    ServerSentEvent,
    TokenBalance,
)


def main() -> None:
    with Montra("sk_test_x", timeout=Timeout(total=5), max_attempts=2) as montra:
        assert_type(montra, Montra)
        customer = montra.create_customer(name="A", email="a@example.com")
        assert_type(customer, Customer)
        assert_type(customer, montra_async.Customer)
        assert_type(customer.created_at, datetime | None)
        assert_type(montra.list_customers(), list[Customer])
        assert_type(montra.report_usage(customer_id=customer.id, meter_slug="t", amount=Decimal("1.5")), bool)
        assert_type(montra.check_entitlement(customer.id, "t"), Entitlement)
        assert_type(montra.create_refund(transaction_id="tx", amount=Decimal(5)), Refund)
        upgrade = montra.upgrade_subscription("sub", "pm")
        assert_type(upgrade.subscription, Subscription)
        assert_type(upgrade.proration, Proration | None)
        assert_type(montra.iter_audit_logs(), Generator[AuditLog, None, None])
        for entry in montra.iter_audit_logs(event_type="customer.created"):
            assert_type(entry, AuditLog)
        assert_type(montra.with_options(timeout=5), Montra)
        assert_type(montra.webhooks.verify_signature(b"", "", ""), bool)
        assert_type(copy(montra), Montra)
    Montra(api_key=os.environ["KEY"], proxy="http://proxy", connector=lambda: aiohttp.TCPConnector(limit=5))


def sell(billing: BillingClient) -> None:
    assert_type(billing.for_user(email="a@example.com"), BillingClient)
    assert_type(billing.get_prices(), list[Price])
    with billing.metered(type="gpt-4") as charge:
        assert_type(charge, Charge)
        charge.amount = 7
    assert_type(charge.balance, TokenBalance | None)
    with ApiGatewayClient(billing=billing).call("openai", body={"a": 1}) as answer:
        assert_type(answer.iter_sse(), Generator[ServerSentEvent, None, None])
        assert_type(answer.status, int)
    BillingClient("pw", "https://x", auth=AuthClient("pw", "https://x"), timeout=5)
    BillingClient("pw", "https://x", nonsense=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def wrong(montra: Montra) -> None:
    """Mistakes that a type checker must find; an unneeded ignore is an error of its own."""
    montra.create_customer(name="A")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    montra.get_customer(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Montra("sk_test_x", session=None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Montra(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AuthClient().sign_up("a@example.com", b"")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    montra.create_refund(transaction_id="t", amount="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
