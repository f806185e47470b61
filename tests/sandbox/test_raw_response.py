"""`with_raw_response` of every client, asynchronous and synchronous, over real HTTP; headers of errors."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest

import montra_sync
from montra_async import ApiError, ApiResponse, Customer, Montra, MontraDeprecationWarning, NotFoundError
from montra_async.core.deprecation import deprecated as _deprecated
from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient, PaywallNotFoundError
from montra_sync.paywall import BillingClient as SyncBillingClient

from ..contract_watch import WatchedSandbox


@pytest.fixture
async def billing(sandbox: WatchedSandbox) -> AsyncIterator[BillingClient]:
    async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as client:
        yield client.for_user(email="ada@example.com", user_id="ada")


async def test_a_call_with_its_response(montra: Montra) -> None:
    made = await montra.with_raw_response(montra.create_customer, name="Ada", email="ada@x", idempotency_key="key-1")
    assert (made.status, made.attempts, made.idempotency_key, made.replayed) == (200, 1, "key-1", False)
    assert made.call is not None
    assert (made.call.method, made.call.path) == ("POST", "/customers")
    assert made.elapsed > 0
    assert made.request_id == made.headers["x-request-id"] == made.headers["X-Request-ID"]
    again = await montra.with_raw_response(montra.create_customer, name="Ada", email="ada@x", idempotency_key="key-1")
    assert (again.replayed, again.data) == (True, made.data)
    assert again.request_id != made.request_id
    assert (await montra.with_raw_response(montra.get_customer, made.data.id)).data == made.data
    assert (await montra.with_raw_response(montra.list_customers)).data == [made.data]


async def test_views_have_responses_of_their_own(montra: Montra, sandbox: WatchedSandbox) -> None:
    view = montra.with_options(headers={"X-Team": "blue"}, max_attempts=2)
    sandbox.add_fault(kind="status", status=503, times=1)
    response = await view.with_raw_response(view.list_meters)
    assert (response.data, response.status, response.attempts) == ([], 200, 2)
    with pytest.raises(TypeError, match=r"client\.with_raw_response\(client\.list_meters, \.\.\.\)"):
        await view.with_raw_response(montra.list_meters)


async def test_concurrent_calls_do_not_mix(montra: Montra) -> None:
    async def one(i: int) -> ApiResponse[Customer]:
        return await montra.with_raw_response(montra.create_customer, name="A", email=f"{i}@x", idempotency_key=f"k{i}")

    for i, response in enumerate(await asyncio.gather(*(one(i) for i in range(30)))):
        assert (response.data.email, response.idempotency_key) == (f"{i}@x", f"k{i}")


async def test_a_call_of_several_requests_has_the_last_response(montra: Montra) -> None:
    plan = await montra.create_pricing_model(name="Pro")
    response = await montra.with_raw_response(
        montra.create_customer_with_subscription, plan.id, name="A", email="a@x", idempotency_key="k"
    )
    assert (response.call and response.call.path, response.idempotency_key) == ("/subscriptions", "k_sub")


async def test_what_has_no_single_response_is_refused(montra: Montra, billing: BillingClient) -> None:
    client: Any = montra
    wrong: tuple[Any, ...] = (client.iter_audit_logs, client.with_options, client.create_customers)
    for call in wrong:
        with pytest.raises(TypeError, match=f"{call.__name__} has no single response"):
            await client.with_raw_response(call, *([[]] if call == client.create_customers else []))
    for no_method in (lambda: None, Montra.list_meters, "list_meters", billing.get_user):
        with pytest.raises(TypeError, match="a method of the very client"):
            await client.with_raw_response(no_method)
    with pytest.raises(TypeError, match="metered has no single response"):
        await billing.with_raw_response(billing.metered, type="gpt-4")  # type: ignore[arg-type]


async def test_a_stream_is_refused_before_it_is_sent(sandbox: WatchedSandbox, billing: BillingClient) -> None:
    gateway = ApiGatewayClient(billing=billing)
    sent = len(sandbox.list_requests())
    with pytest.raises(TypeError, match="GatewayResponse has status and headers itself"):
        await gateway.with_raw_response(gateway.call, "openai", "v1/chat/completions", body={})
    assert len(sandbox.list_requests()) == sent


async def test_errors_have_headers_too(montra: Montra, billing: BillingClient) -> None:
    with pytest.raises(NotFoundError) as caught:
        await montra.with_raw_response(montra.get_customer, "nobody")
    error = caught.value
    assert error.headers["x-request-id"] == error.request_id
    assert error.headers.get_all("CONTENT-TYPE") == ["application/json; charset=utf-8"]
    assert pickle.loads(pickle.dumps(error)).headers == error.headers
    with pytest.raises(NotFoundError) as plain:
        await montra.get_customer("nobody")
    assert set(plain.value.headers) == set(error.headers)
    with pytest.raises(ApiError) as paywall:
        await billing.with_raw_response(billing.create_checkout, 999_999)
    assert paywall.value.headers["x-request-id"] == paywall.value.request_id


async def test_the_paywall_says_when_no_request_was_made(billing: BillingClient) -> None:
    user = await billing.with_raw_response(billing.get_user)
    assert (user.status, user.attempts) == (200, 1)
    known = await billing.with_raw_response(billing.get_user)
    assert known == ApiResponse(data=user.data)
    assert (known.status, dict(known.headers), known.request_id, known.call) == (None, {}, None, None)
    assert (known.attempts, known.idempotency_key, known.replayed) == (0, None, False)
    forced = await billing.with_raw_response(billing.get_user, force=True)
    assert forced.status == 200
    first, second = await asyncio.gather(
        billing.with_raw_response(billing.get_user, force=True), billing.with_raw_response(billing.get_user, force=True)
    )
    assert sorted([first.attempts, second.attempts]) == [0, 1]
    assert first.data == second.data
    checkout = await billing.with_raw_response(billing.create_checkout, 101)
    assert checkout.idempotency_key


async def test_a_session_is_kept_as_always(sandbox: WatchedSandbox) -> None:
    async with AuthClient(sandbox.paywall_id, sandbox.url) as auth:
        response = await auth.with_raw_response(auth.sign_in_anonymously)
        assert (response.status, await auth.get_session()) == (200, response.data)
        assert response.data.access_token not in repr(response)
        refreshed = await auth.with_raw_response(auth.refresh)
        assert refreshed.data == await auth.get_session()
        with pytest.raises(PaywallNotFoundError, match="no paywall"):
            other = AuthClient("pw_other", sandbox.url)
            try:
                await other.with_raw_response(other.sign_in_anonymously)
            finally:
                await other.aclose()


async def test_the_synchronous_clients(sandbox: WatchedSandbox) -> None:
    def work() -> None:
        with montra_sync.Montra(sandbox.api_key, sandbox.base_url) as client:
            made = client.with_raw_response(client.create_customer, name="Ada", email="ada@x", idempotency_key="k")
            assert (made.status, made.idempotency_key) == (200, "k")
            view = client.with_options(timeout=5)
            assert view.with_raw_response(view.get_customer, made.data.id).data == made.data
            untyped: Any = client
            for call in (untyped.iter_audit_logs, untyped.with_options, untyped.create_customers):
                with pytest.raises(TypeError, match=r"no single response"):
                    untyped.with_raw_response(call)
            with pytest.raises(TypeError, match="a method of the very client"):
                view.with_raw_response(client.list_meters)
        with SyncBillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
            user = billing.for_user(email="ada@example.com", user_id="ada")
            assert user.with_raw_response(user.get_user).status == 200
            with pytest.raises(TypeError, match="no single response"):
                user.with_raw_response(user.metered, type="gpt-4")

    await asyncio.to_thread(work)


class _Own(montra_sync.Montra):
    def names(self) -> list[str]:
        return [one.name or "" for one in self.list_customers()]

    def lazily(self) -> Any:
        yield from self.names()


async def test_a_method_of_a_users_subclass(sandbox: WatchedSandbox) -> None:
    client = _Own(sandbox.api_key, sandbox.base_url)
    response = await asyncio.to_thread(client.with_raw_response, client.names)
    assert (response.data, response.status) == ([], 200)
    with pytest.raises(TypeError, match="no single response"):
        client.with_raw_response(client.lazily)
    await asyncio.to_thread(client.close)


async def test_a_deprecated_call_with_its_response(sandbox: WatchedSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    old: Any = _deprecated("Since 0.1.0, removed in 0.3.0: use `list_customers`.")
    monkeypatch.setattr(Montra, "list_meters", old(Montra.list_meters))
    monkeypatch.setattr(montra_sync.Montra, "list_meters", old(montra_sync.Montra.list_meters))
    async with Montra(sandbox.api_key, sandbox.base_url) as client:
        with pytest.warns(MontraDeprecationWarning, match=r"list_meters"):
            assert (await client.with_raw_response(client.list_meters)).status == 200

    def work() -> None:
        client = montra_sync.Montra(sandbox.api_key, sandbox.base_url)
        with client, pytest.warns(MontraDeprecationWarning, match=r"list_meters"):
            assert client.with_raw_response(client.list_meters).status == 200

    await asyncio.to_thread(work)
