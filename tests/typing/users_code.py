"""What a user writes, for mypy --strict and pyright --strict. Never run."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from typing_extensions import assert_type

from montra_async import (
    UNSET,
    Aggregation,
    ApiError,
    AuditLog,
    CallEvent,
    Customer,
    Entitlement,
    Hook,
    Interval,
    Montra,
    Proration,
    Refund,
    Subscription,
    SubscriptionStatus,
    Timeout,
    Unset,
    verify_signature,
)
from montra_async.paywall import (
    ApiGatewayClient,
    Attachment,
    AuthClient,
    AuthSession,
    Balance,
    BillingClient,
    Charge,
    CheckoutResult,
    FileSessionStorage,
    GatewayResponse,
    PaywallError,
    Price,
    QuotaExceededError,
    ServerSentEvent,
    TokenBalance,
)
from montra_async.webhooks import (
    CheckoutCompleted,
    CheckoutData,
    Reply,
    SqliteStore,
    WebhookEvent,
    WebhookReceiver,
    parse,
)


async def sell(billing: BillingClient, auth: AuthClient) -> None:
    assert_type(billing.for_user(email="a@example.com"), BillingClient)
    assert_type(billing.with_options(timeout=5), BillingClient)
    assert_type(await billing.list_prices(locale="de"), list[Price])
    assert_type(await billing.get_prices(locale="de"), list[Price])
    assert_type(await billing.create_checkout(1), CheckoutResult)
    assert_type((await billing.debit_tokens("gpt-4", 1)).count, int)
    async with billing.metered(type="gpt-4", amount=5) as charge:
        assert_type(charge, Charge)
        charge.amount = 7
    assert_type(charge.balance, TokenBalance | None)
    await billing.create_support_ticket("s", "c", files=["a.png", b"x", Attachment(b"y", name="y.txt")])
    gateway = ApiGatewayClient(billing=billing)
    async with await gateway.call("openai", "v1/x", body={"a": 1}) as answer:
        assert_type(answer, GatewayResponse)
        async for event in answer.iter_sse():
            assert_type(event, ServerSentEvent)
    assert_type(await auth.refresh(), AuthSession | None)
    assert_type(auth.with_storage(FileSessionStorage("s.json")), AuthClient)
    try:
        BillingClient("pw", "https://pay.example.com", timeout=5, max_attempts=2, edge_fallback=False)
    except QuotaExceededError as error:
        assert_type(error.balances, list[Balance])
    except PaywallError as error:
        assert_type(error.code, str)
        assert_type(error.status, int | None)


def receive(receiver: WebhookReceiver) -> None:
    @receiver.on(CheckoutCompleted)
    async def paid(event: CheckoutCompleted) -> None:
        assert_type(event.data.amount, Decimal | None)

    @receiver.on("customer.created", "*")
    def anything(event: WebhookEvent) -> None:
        assert_type(event.id, str)

    match parse(b"", {"Montra-Signature": ""}, ["whsec_1"]):
        case CheckoutCompleted(data=checkout):
            assert_type(checkout, CheckoutData)
        case event:
            assert_type(event, WebhookEvent)
    assert_type(receiver.handle_blocking(b"", {}), Reply)
    WebhookReceiver("whsec_1", store=SqliteStore("events.db"))
    WebhookReceiver("whsec_1", store="events.db")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def wrong_paywall(billing: BillingClient) -> None:
    BillingClient("pw", "https://x", nonsense=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    billing.for_user("a@example.com")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    billing.metered(type=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


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


def narrowed(name: str | Unset | None) -> str:
    """`is UNSET` narrows the type."""
    if name is UNSET:
        return "unset"
    assert_type(name, str | None)
    return name or "cleared"


async def change(montra: Montra, status: SubscriptionStatus, interval: Interval, aggregation: Aggregation) -> None:
    assert_type(await montra.update_customer("cust", name="Ada", phone=None, metadata=UNSET), Customer)
    await montra.update_feature("feat", description=None, status="Archived")
    await montra.update_webhook("wh", description=None, events=["*"], enabled=False)
    await montra.update_pricing_model("pm", is_default=True)
    await montra.list_subscriptions("cust", status=status)
    await montra.get_analytics_series(interval=interval, points=3)
    await montra.create_meter("pm", name="n", slug="s", aggregation=aggregation)
    subscription = await montra.create_subscription("cust", "pm")
    by_customer: dict[Subscription, set[Customer]] = {subscription: {await montra.get_customer("cust")}}
    assert_type(by_customer[subscription], set[Customer])
    hook: Hook = note
    Montra("sk_test_x", on_request=hook)


async def wrong(montra: Montra) -> None:
    """Mistakes that a type checker must find; an unneeded ignore is an error of its own."""
    await montra.create_customer(name="A")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await montra.create_customer("A", "a@x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await montra.create_refund("tx", 5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await montra.create_subscription("cust", "pm", "key")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await montra.update_customer("cust", name=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await montra.update_pricing_model("pm", is_default=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await montra.update_webhook("wh", events=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await montra.create_customer(name="A", email="a@x", phone=UNSET)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await montra.get_customer(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await montra.create_refund(transaction_id="t", amount="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def errors(error: ApiError) -> None:
    assert_type(error.status, int)
    assert_type(error.retry_after, float | None)
    assert_type(error.idempotency_key, str | None)
    assert_type(verify_signature("", None, ["a"]), bool)
