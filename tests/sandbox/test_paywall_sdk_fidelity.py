"""Requests and responses as the service's own clients expect them; debits that are completed after a cancellation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import anyio
import pytest
from aiohttp import web

from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient, Identity, PaywallError

from .paywall_server import PaywallServer


class Canned:
    """Sends a given response after a delay, and records the requests."""

    def __init__(self) -> None:
        self.url = ""
        self.told: Any = {}
        self.seconds = 0.0
        self.asked: list[tuple[str, Any]] = []
        self.finished = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append((request.path.rpartition("/")[2], json.loads(await request.read() or b"null")))
        await asyncio.sleep(self.seconds)
        self.finished += 1
        return web.json_response(self.told)


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    service = Canned()
    runner = web.ServerRunner(web.Server(service.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield service
    await runner.cleanup()


@pytest.fixture
async def ada(canned: Canned) -> AsyncIterator[BillingClient]:
    async with BillingClient("pw", canned.url, "sk_test_key") as billing:
        yield billing.for_user(email="ada@example.com", user_id="ada")


@pytest.mark.parametrize(
    ("told", "discount"),
    [
        (20, 20),
        (12.5, Decimal("12.5")),
        ({"percent": 20, "label": "x"}, {"percent": 20, "label": "x"}),
        (None, None),
        ("20 %", "20 %"),
    ],
)
async def test_a_purchase_with_an_offer(canned: Canned, ada: BillingClient, told: Any, discount: Any) -> None:
    canned.told = {"purchases": [{"id": "sub_1", "status": "active", "discount": told}]}
    [purchase] = await ada.list_purchases()
    assert purchase.discount == discount


@pytest.mark.parametrize("told", [{}, {"purchases": None}, {"purchases": []}])
async def test_a_user_without_purchases(canned: Canned, ada: BillingClient, told: Any) -> None:
    canned.told = told
    assert await ada.list_purchases() == []
    canned.told = []
    with pytest.raises(PaywallError, match="invalid_response"):
        await ada.list_purchases()


async def test_bootstrap_fields(canned: Canned, ada: BillingClient) -> None:
    trial = {"mode": "time", "payload": {"minutes": 5}, "storage": "account"}
    canned.told = {
        "settings": {"visibility": {"countries": ["DE"]}, "trial": trial, "checkout_mode": "preauth"},
        "prices": [{"id": "101", "currency": "USD", "amount": 9.99}, {"id": 102, "currency": "USD", "amount": 1}],
        "offers": [{"id": "201", "price_id": "101"}, {"id": 202, "price_id": 102}],
    }
    found = await ada.bootstrap()
    assert (found.settings.visibility, found.settings.trial) == ({"countries": ["DE"]}, trial)
    assert found.settings.checkout_mode == "preauth"
    assert [(one.id, type(one.id)) for one in found.prices] == [("101", str), ("102", str)]
    assert [(one.id, one.price_id) for one in found.offers] == [("201", "101"), ("202", "102")]


TOKENS = {"access_token": "a", "refresh_token": "r", "expires_in": 3600}


@pytest.mark.parametrize(("told", "anonymous"), [(None, True), (True, True), (False, False)])
async def test_an_anonymous_sign_in_sets_is_anonymous(canned: Canned, told: Any, anonymous: bool) -> None:
    canned.told = {**TOKENS, "user": {"id": "u", "email": None, "is_anonymous": told}}
    async with AuthClient("pw", canned.url) as auth:
        session = await auth.sign_in_anonymously()
        assert session.user is not None
        assert session.user.is_anonymous is anonymous
        assert await auth.get_session() == session


async def test_the_address_that_must_be_confirmed(canned: Canned) -> None:
    async with AuthClient("pw", canned.url) as auth:
        await auth._store_session(PaywallServer().session("ada"))
        canned.told = {"status": "confirmation_required", "email": "new@example.com"}
        result = await auth.upgrade_anonymous_to_email("new@example.com", "x")
        assert (result.status, result.email, result.user) == ("confirmation_required", "new@example.com", None)


async def test_user_meta_is_sent_with_every_sign_in(canned: Canned) -> None:
    canned.told = {**TOKENS, "user": {"id": "u"}, "status": "signed_in"}
    async with AuthClient("pw", canned.url, user_meta={"plan": "x"}) as auth:
        await auth.verify_otp("a@example.com", "1")
        await auth.complete_oauth("s", "c", code_verifier="v" * 43)
        await auth.sign_in_with_email("a@example.com", "x")
        await auth.sign_up("a@example.com", "x")
        await auth.sign_in_anonymously()
    assert [body.get("user_meta") for _, body in canned.asked] == [{"plan": "x"}] * 5


# Headers


@pytest.mark.parametrize("value", ["de\r\nX-A: b", "de\n", "d\0e", "dé", "d" * 1_001, "\u2028", "d\ud800"])
async def test_languages_that_a_header_can_not_hold(canned: Canned, ada: BillingClient, value: str) -> None:
    for parameter, call in (
        ("locale", lambda: ada.bootstrap(locale=value)),
        ("locale", lambda: ada.get_prices(value)),
    ):
        with pytest.raises(PaywallError, match=f"{parameter}: ") as caught:
            await call()
        assert caught.value.code == "invalid_argument"
    with pytest.raises(PaywallError, match="accept_language: "):
        BillingClient("pw", canned.url, accept_language=value)
    assert canned.asked == []


@pytest.mark.parametrize("value", ["a@b.c\r\nX-A: b", "a@b.c\n", "a@b.\0c", "a@b.c\u2028", "a@b.c\ud800", "a@b.c\x7f"])
def test_addresses_and_ids_that_a_header_can_not_hold(value: str) -> None:
    for field in ("email", "user_id", "anonymous_id"):
        with pytest.raises(ValueError, match=f"{field}: "):
            Identity(**{field: value})


async def test_clients_and_storages_of_the_wrong_type(canned: Canned, ada: BillingClient) -> None:
    odd: Any = "ada"
    async with AuthClient("pw", canned.url) as auth:
        for call in (
            lambda: ada.for_user(auth=odd),
            lambda: BillingClient("pw", canned.url, auth=odd),
            lambda: ApiGatewayClient("pw", canned.url, auth=odd),
            lambda: auth.with_storage(odd),
            lambda: AuthClient("pw", canned.url, storage=odd),
        ):
            with pytest.raises(PaywallError) as caught:
                call()
            assert caught.value.code == "invalid_argument"


# Metered work


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_debit_is_completed_when_its_task_is_cancelled(canned: Canned, ada: BillingClient, times: int) -> None:
    canned.told, canned.seconds = {"type": "gpt-4", "count": 5}, 0.2

    async def work() -> None:
        async with ada.metered("gpt-4", 1):
            pass

    task = asyncio.create_task(work())
    while not canned.asked:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.005)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (canned.finished, len(canned.asked)) == (1, 1)


async def test_a_debit_is_completed_in_a_cancelled_anyio_scope(canned: Canned, ada: BillingClient) -> None:
    """anyio cancels at every step of the event loop until the scope was left; waiting must not spin."""
    canned.told, canned.seconds = {"type": "gpt-4", "count": 5}, 0.2
    loop, steps = asyncio.get_running_loop(), 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if canned.finished == 0:
            loop.call_later(0.001, count)

    with anyio.CancelScope() as scope:
        charge = ada.metered("gpt-4", 1)
        async with charge:
            loop.call_later(0.05, scope.cancel)
            loop.call_later(0.05, count)
    assert scope.cancelled_caught
    assert (canned.finished, charge.balance is not None) == (1, True)
    assert steps < 1_000


async def test_a_debit_that_fails_after_a_cancellation_is_logged(
    canned: Canned, ada: BillingClient, caplog: pytest.LogCaptureFixture
) -> None:
    canned.told, canned.seconds = {"success": False}, 0.1

    async def work() -> None:
        async with ada.metered("gpt-4", 1):
            pass

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert "the debit failed" in caplog.text
