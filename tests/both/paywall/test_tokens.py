"""Credits, debits and metered work are executed exactly once, or the error says so."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from montra_async.paywall import PaywallError
from montra_sandbox import Sandbox

from ..conftest import Service


async def test_credit_and_debit(ada: Any) -> None:
    created = await ada.credit_tokens("images", 5)
    assert (created.type, created.count) == ("images", 5)
    assert [(one.type, one.count) for one in created.balances] == [("gpt-4", 100), ("images", 5)]
    balance = await ada.debit_tokens("gpt-4", 99)
    assert (balance.type, balance.count) == ("gpt-4", 1)
    with pytest.raises(PaywallError, match="1 of 'gpt-4' are left") as caught:
        await ada.debit_tokens("gpt-4", 2)
    assert (caught.value.code, caught.value.status) == ("insufficient", 409)
    assert (await ada.debit_tokens("gpt-4", 1)).count == 0


async def test_concurrent_debits_never_exceed_the_balance(ada: Any) -> None:
    results = await asyncio.gather(*(ada.debit_tokens("gpt-4", 5) for _ in range(30)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, PaywallError)]
    assert {one.code for one in refused} == {"insufficient"}
    assert (len(results) - len(refused), len(refused)) == (20, 10)


async def test_the_legacy_withdrawal(ada: Any, billing: Any) -> None:
    answer = await ada.withdraw_tokens("gpt-4", 10)
    assert (answer["success"], answer["count"]) == (True, 90)
    assert (await billing.withdraw_tokens("gpt-4", 10, user_id="ada"))["count"] == 80
    with pytest.raises(PaywallError) as caught:
        await billing.withdraw_tokens("gpt-4", 1, user_id="nobody")
    assert (caught.value.code, caught.value.status) == ("identity_not_found", 404)


async def test_an_unknown_user_has_no_balance(billing: Any) -> None:
    with pytest.raises(PaywallError) as caught:
        await billing.for_user(email="nobody@example.com").credit_tokens("gpt-4", 1)
    assert caught.value.code == "identity_not_found"


async def test_five_hundred_users_on_one_client(service: Service) -> None:
    """A wrong header or field in one request would give a user another user's data."""
    numbers = range(500)
    async with service.billing(pool_size=20) as billing:

        async def act(i: int) -> None:
            user = billing.for_user(email=f"u{i}@example.com", user_id=f"id-{i}")
            await user.create_checkout(101)
            await user.credit_tokens("gpt-4", i + 1)
            assert (await user.debit_tokens("gpt-4", 1)).count == 3 + i
            assert not (await user.get_user()).has_active_subscription
            assert await user.list_purchases() == []

        await asyncio.gather(*(act(i) for i in numbers))
    users = service.users()
    assert {email: one["external_id"] for email, one in users.items()} == {
        f"u{i}@example.com": f"id-{i}" for i in numbers
    }
    assert {email: one["balances"] for email, one in users.items()} == {
        f"u{i}@example.com": [{"type": "gpt-4", "count": 3 + i}] for i in numbers
    }


async def test_set_identity_changes_one_object_only(service: Service) -> None:
    async with service.billing() as billing:
        view = billing.for_user(email="view@example.com")
        billing.set_identity(email="base@example.com", user_id="base")
        await view.create_checkout(101)
        await billing.create_checkout(101)
        assert set(service.users()) == {"view@example.com", "base@example.com"}
        view.set_identity()
        with pytest.raises(PaywallError, match="identity_required"):
            await view.create_checkout(101)
        assert (await billing.credit_tokens("gpt-4", 1)).count == 4


Call = Callable[[Any], Awaitable[Any]]

SENT_ONCE: dict[str, Call] = {
    "credit": lambda user: user.credit_tokens("gpt-4", 7),
    "debit": lambda user: user.debit_tokens("gpt-4", 7),
    "withdraw": lambda user: user.withdraw_tokens("gpt-4", 7),
    "ticket": lambda user: user.create_support_ticket("Help", "please"),
    "ticket with a file": lambda user: user.create_support_ticket("Help", "please", files=[b"x"]),
}


def _happened(service: Service) -> int:
    """How often the server has executed the call."""
    return abs(service.count("ada@example.com") - 100) // 7 + len(service.sandbox.tickets())


@pytest.mark.parametrize("call", SENT_ONCE.values(), ids=SENT_ONCE)
@pytest.mark.parametrize(
    ("fault", "happened"),
    [
        ({"kind": "drop_before"}, 0),
        ({"kind": "drop_after"}, 1),
        ({"kind": "drop_during_answer"}, 1),
        ({"kind": "status", "status": 503}, 0),
        ({"kind": "malformed", "body": "truncated"}, 1),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
async def test_a_call_without_a_key_is_sent_once(
    ada: Any, service: Service, sandbox: Sandbox, call: Call, fault: dict[str, Any], happened: int
) -> None:
    """A request is not repeated after its bytes were sent, whatever the response."""
    service.watch.answers = False
    sandbox.add_fault(**fault, times=5)
    with pytest.raises(PaywallError) as caught:
        await call(ada)
    assert caught.value.sent
    assert caught.value.call is not None
    assert caught.value.call.attempts == 1
    assert len(sandbox.faults()) == 1
    assert sandbox.faults()[0]["hits"] == 1
    sandbox.clear_faults()
    assert _happened(service) == happened


@pytest.mark.parametrize("call", SENT_ONCE.values(), ids=SENT_ONCE)
async def test_a_call_that_was_not_sent_is_retried(service: Service, call: Call) -> None:
    nowhere = service.kinds.BillingClient("pw", "http://127.0.0.1:9", "sk_test_x", timeout=20)
    async with nowhere:
        with pytest.raises(PaywallError, match="cannot connect") as caught:
            await call(nowhere.for_user(email="a@example.com", user_id="a"))
    assert (caught.value.code, caught.value.sent) == ("network_error", False)
    assert caught.value.call is not None
    assert caught.value.call.attempts == 3


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "drop_during_answer"])
async def test_a_call_with_a_key_is_retried_and_executed_once(
    ada: Any, service: Service, sandbox: Sandbox, kind: str
) -> None:
    service.watch.answers = False
    sandbox.add_fault(kind=kind, times=2)
    assert (await ada.debit_tokens("gpt-4", 7, idempotency_key="job-1")).count == 93
    sandbox.add_fault(kind=kind, times=2)
    assert (await ada.create_support_ticket("Help", "please", files=[b"x" * 9], idempotency_key="t-1")).id == 1
    assert _happened(service) == 2


@pytest.mark.parametrize(("kind", "happened"), [("drop_before", False), ("drop_after", True)])
async def test_a_cancellation_is_sent_once(
    ada: Any, service: Service, sandbox: Sandbox, kind: str, happened: bool
) -> None:
    service.watch.answers = False
    [purchase] = await ada.list_purchases()
    sandbox.add_fault(kind=kind, times=5)
    with pytest.raises(PaywallError, match="network_error") as caught:
        await ada.cancel_subscription(purchase.id, "x")
    assert (caught.value.sent, sandbox.faults()[0]["hits"]) == (True, 1)
    sandbox.clear_faults()
    [purchase] = await ada.list_purchases()
    assert purchase.cancel_at_period_end is happened


# Metered work


async def test_successful_work_is_charged(ada: Any) -> None:
    async with ada.metered(type="gpt-4", amount=5) as charge:
        assert charge.balance is None
    assert charge.balance.count == 95
    async with ada.metered(type="gpt-4") as charge:
        charge.amount = 12
    assert charge.balance.count == 83
    async with ada.metered(type="gpt-4", amount=3) as charge:
        charge.amount = 0  # it came from a cache
    assert charge.balance is None


async def test_failed_work_is_not_charged(ada: Any, service: Service) -> None:
    with pytest.raises(ZeroDivisionError):
        async with ada.metered(type="gpt-4", amount=5):
            _ = 1 / 0
    assert service.count("ada@example.com") == 100


async def test_insufficient_balance_after_the_work(ada: Any, service: Service) -> None:
    done: list[str] = []
    with pytest.raises(PaywallError) as caught:
        async with ada.metered(type="gpt-4", amount=101) as charge:
            done.append("work")
    assert (caught.value.code, done, charge.balance) == ("insufficient", ["work"], None)
    assert service.count("ada@example.com") == 100
    charge.amount = 100
    assert (await charge.debit()).count == 0


async def test_a_debit_whose_response_was_lost(ada: Any, service: Service, sandbox: Sandbox) -> None:
    service.watch.answers = False
    with pytest.raises(PaywallError) as caught:
        async with ada.metered(type="gpt-4", amount=5) as charge:
            sandbox.add_fault(kind="drop_after", times=3)
    assert (caught.value.code, caught.value.sent, charge.balance) == ("network_error", True, None)
    assert service.count("ada@example.com") == 95


async def test_a_debit_with_a_key_is_retried(ada: Any, service: Service, sandbox: Sandbox) -> None:
    service.watch.answers = False
    async with ada.metered(type="gpt-4", amount=5, idempotency_key="answer-1") as charge:
        sandbox.add_fault(kind="drop_after", times=2)
    assert charge.balance.count == 95
    assert service.count("ada@example.com") == 95


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"type": ""}, "invalid_argument"),
        ({"type": "gpt-4", "amount": -1}, "invalid_argument"),
        ({"type": "gpt-4", "amount": True}, "invalid_argument"),
        ({"type": "gpt-4", "amount": 1.5}, "invalid_argument"),
        ({"type": "gpt-4", "idempotency_key": "a b"}, "invalid_argument"),
    ],
)
async def test_arguments_are_validated_before_the_work(ada: Any, settings: dict[str, Any], code: str) -> None:
    done: list[str] = []
    with pytest.raises(PaywallError) as caught:
        async with ada.metered(**settings):
            done.append("work")
    assert (caught.value.code, done) == (code, [])


async def test_identity_and_key_are_required_before_the_work(billing: Any, service: Service) -> None:
    with pytest.raises(PaywallError, match="identity_required"):
        async with billing.metered(type="gpt-4"):
            pass
    keyless = service.kinds.BillingClient("pw", "http://127.0.0.1:9")
    with pytest.raises(PaywallError, match="apikey_required"):
        async with keyless.for_user(email="a@example.com").metered(type="gpt-4"):
            pass


async def test_an_amount_is_validated_when_it_is_set(ada: Any) -> None:
    async with ada.metered(type="gpt-4", amount=1) as charge:
        with pytest.raises(PaywallError, match="whole number"):
            charge.amount = 1.5
    assert charge.balance.count == 99


async def test_a_charge_is_debited_once(ada: Any) -> None:
    charge = ada.metered("gpt-4", 10)
    async with charge:
        await charge.debit()
    assert charge.balance.count == 90
    assert (await charge.debit()).count == 90
    with pytest.raises(PaywallError, match="has been debited"):
        async with charge:
            raise AssertionError
    assert (await ada.debit_tokens("gpt-4", 1)).count == 89


async def test_a_misspelt_attribute_of_a_charge_is_an_error(ada: Any) -> None:
    async with ada.metered(type="gpt-4", amount=1) as charge:
        with pytest.raises(AttributeError):
            charge.ammount = 7


async def test_a_charge_is_not_copied(ada: Any) -> None:
    """It would be debited twice."""
    charge = ada.metered(type="gpt-4", amount=1)
    with pytest.raises(TypeError, match=r"can't be (copied|pickled)"):
        pickle.dumps(charge)
