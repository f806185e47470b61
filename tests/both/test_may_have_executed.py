"""`error.may_have_executed`: False only when the service has certainly done nothing, with any attempt of the call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from montra_async import ApiError, ConflictError, Montra, MontraError, NetworkError, NotFoundError, RateLimitError
from montra_async.paywall import BillingClient, PaywallError
from montra_sandbox import Sandbox

LOST = {"kind": "drop_after"}
"""The request is executed, its response is lost."""
UNREAD = {"kind": "drop_before"}
REFUSED = {"kind": "status", "status": 401}
TOO_MANY = {"kind": "rate_limit", "retry_after": 0}
FAILED = {"kind": "status", "status": 503}
GARBAGE = {"kind": "malformed"}


@pytest.mark.parametrize(
    ("faults", "attempts", "maybe"),
    [
        ([REFUSED], 1, False),
        ([TOO_MANY] * 3, 3, False),
        ([TOO_MANY, REFUSED], 2, False),
        ([LOST, REFUSED], 2, True),
        ([LOST, TOO_MANY, TOO_MANY], 3, True),
        ([FAILED, REFUSED], 2, True),
        ([TOO_MANY, FAILED, REFUSED], 3, True),
        ([FAILED] * 3, 3, True),
        ([UNREAD] * 3, 3, True),  # nothing is read, which the client can't know
        ([GARBAGE], 1, True),
    ],
    ids=lambda one: "-".join(str(each.get("status", each["kind"])) for each in one) if isinstance(one, list) else None,
)
async def test_a_call_that_failed(
    unwatched: Montra, sandbox: Sandbox, faults: list[dict[str, Any]], attempts: int, maybe: bool
) -> None:
    for fault in faults:
        sandbox.add_fault(path="/pricing-models", times=1, **fault)
    with pytest.raises(MontraError) as caught:
        await unwatched.create_pricing_model(name="Pro")
    assert (caught.value.attempts, caught.value.may_have_executed) == (attempts, maybe)
    assert ("an earlier request may have been executed" in str(caught.value)) is (maybe and len(faults) > 1)


async def test_money_goes_back_once_when_the_answer_was_lost_before_a_refusal(
    unwatched: Montra, sandbox: Sandbox
) -> None:
    link = await unwatched.create_checkout_link(link_name="b", payment_name="b", amount=20)
    payment = sandbox.pay(link.url, email="ada@example.com")
    sandbox.add_fault(path="/refunds", times=1, **LOST)
    sandbox.add_fault(path="/refunds", times=2, **TOO_MANY)
    with pytest.raises(RateLimitError) as caught:
        await unwatched.create_refund(payment.id, amount=5)
    assert caught.value.may_have_executed
    await unwatched.create_refund(payment.id, amount=5, idempotency_key=caught.value.idempotency_key)
    await unwatched.create_refund(payment.id, amount=15)  # as much as is left when 5 went back once


async def test_no_connection_after_a_lost_answer(connect: Any) -> None:
    requests: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        server.close()
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with connect("sk_test_sandbox", f"http://127.0.0.1:{port}/api/v1") as montra:
        with pytest.raises(NetworkError, match=r"cannot connect to .* an earlier request may") as caught:
            await montra.create_refund("tx_1", amount=5)
        assert (len(requests), caught.value.may_have_executed, caught.value.sent) == (1, True, True)
        with pytest.raises(NetworkError, match="cannot connect to") as caught:
            await montra.create_refund("tx_1", amount=5)
        assert (caught.value.may_have_executed, caught.value.sent) == (False, False)


@pytest.mark.parametrize(("path", "exists"), [("/customers", False), ("/subscriptions", True)])
async def test_the_error_of_a_call_of_two_requests_has_the_key_of_the_whole(
    unwatched: Montra, sandbox: Sandbox, path: str, exists: bool
) -> None:
    plan = await unwatched.create_pricing_model(name="Pro")
    fields = {"name": "Ada", "email": "ada@example.com"}
    sandbox.add_fault(path=path, times=1, **REFUSED)
    with pytest.raises(ApiError) as caught:
        await unwatched.create_customer_with_subscription(plan.id, **fields)
    assert caught.value.may_have_executed is exists
    assert len(await unwatched.list_customers()) == exists
    key = caught.value.idempotency_key
    both = await unwatched.create_customer_with_subscription(plan.id, **fields, idempotency_key=key)
    assert (both.customer.email, both.subscription.status) == ("ada@example.com", "active")


async def test_reading_may_always_be_repeated(unwatched: Montra, sandbox: Sandbox) -> None:
    sandbox.add_fault(path="/customers", times=1, **FAILED)
    with pytest.raises(NotFoundError, match=r"no customer 'cust_none' \(GET /customers/cust_none, 2 attempts"):
        await unwatched.get_customer("cust_none")


async def test_the_paywall_says_it_too(sandbox: Sandbox, billing: BillingClient) -> None:
    erik = billing.for_user(email="erik@example.com")
    await erik.create_checkout(101, ignore_active_purchase=True)
    await erik.credit_tokens("image", 10)
    with pytest.raises(ConflictError, match="insufficient") as refused:
        await erik.debit_tokens("image", 11)
    sandbox.add_fault(method="POST", times=1, **LOST)
    with pytest.raises(PaywallError) as lost:
        await erik.debit_tokens("image", 4)
    assert (refused.value.may_have_executed, lost.value.may_have_executed) == (False, True)
    assert lost.value.idempotency_key is None  # so it can't be repeated safely
