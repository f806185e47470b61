"""A bad day of the service, for real: over sockets, through the whole client."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from montra_async import (
    ApiError,
    CallEvent,
    InvalidResponseError,
    Montra,
    NetworkError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    Timeout,
)
from montra_sandbox import Sandbox


async def _created(montra: Montra) -> int | None:
    return (await montra.list_audit_logs(event_type="customer.created")).meta.total


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "drop_during_answer"])
async def test_dropped_connections_are_retried_and_nothing_happens_twice(
    unwatched: Montra, sandbox: Sandbox, kind: str
) -> None:
    sandbox.add_fault(kind=kind, times=2)
    customer = await unwatched.create_customer(name="A", email="a@example.com")
    assert (await unwatched.get_customer(customer.id)) == customer
    assert await _created(unwatched) == 1
    assert sandbox.faults() == []


@pytest.mark.parametrize(("kind", "happened"), [("drop_before", 0), ("drop_after", 1), ("drop_during_answer", 1)])
async def test_when_all_tries_fail_the_key_tells_what_became_of_it(
    unwatched: Montra, sandbox: Sandbox, kind: str, happened: int
) -> None:
    sandbox.add_fault(kind=kind, times=3)
    with pytest.raises(NetworkError) as caught:
        await unwatched.create_customer(name="A", email="a@example.com")
    assert (caught.value.attempts, caught.value.sent) == (3, True)
    assert await _created(unwatched) == happened
    await unwatched.create_customer(name="A", email="a@example.com", idempotency_key=caught.value.idempotency_key)
    assert await _created(unwatched) == 1


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
async def test_other_methods_are_retried_too(unwatched: Montra, sandbox: Sandbox, method: str) -> None:
    model = await unwatched.create_pricing_model(name="P")
    feature = await unwatched.create_feature(name="F", slug="f", pricing_model_id=model.id)
    sandbox.add_fault(kind="drop_before", times=2)
    if method == "get":
        assert len(await unwatched.list_features()) == 1
    elif method == "patch":
        assert (await unwatched.update_feature(feature.id, name="G")).name == "G"
    else:
        await unwatched.delete_feature(feature.id)
    assert sandbox.faults() == []


async def test_tries_are_counted_in_one_place(unwatched: Montra, sandbox: Sandbox) -> None:
    """aiohttp would repeat a GET by itself, unseen."""
    sandbox.add_fault(kind="drop_before", times=3)
    with pytest.raises(NetworkError) as caught:
        await unwatched.list_meters()
    assert caught.value.attempts == 3
    assert sandbox.faults() == []


async def test_an_idle_connection_that_the_server_closed_costs_no_pause(connect: Any, sandbox: Sandbox) -> None:
    retries: list[CallEvent] = []
    async with connect(sandbox.api_key, sandbox.base_url, on_retry=retries.append) as montra:
        await montra.list_meters()
        sandbox.add_fault(kind="drop_before", times=1)
        await montra.create_pricing_model(name="P")
    assert [(event.attempt, event.pause) for event in retries] == [(1, 0.0)]


async def test_statuses_of_a_bad_minute(unwatched: Montra, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="status", status=503, times=2)
    assert await unwatched.list_meters() == []
    sandbox.add_fault(kind="status", status=500, times=3)
    with pytest.raises(ServerError) as caught:
        await unwatched.list_meters()
    assert (caught.value.attempts, caught.value.code) == (3, "injected_fault")
    assert caught.value.request_id is not None


async def test_rate_limits_by_seconds_and_by_date(unwatched: Montra, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="rate_limit", retry_after=0.01, times=2)
    assert await unwatched.list_meters() == []
    sandbox.add_fault(kind="rate_limit", retry_after=format_datetime(sandbox.now() + timedelta(hours=1), usegmt=True))
    with pytest.raises(RateLimitError) as caught:
        await unwatched.list_meters()
    assert caught.value.attempts == 1
    assert caught.value.retry_after is not None
    assert 3000 < caught.value.retry_after <= 3600
    sandbox.add_fault(kind="rate_limit")
    with pytest.raises(RateLimitError) as caught:
        await unwatched.with_options(max_attempts=1).list_meters()
    assert caught.value.retry_after == 1


@pytest.mark.parametrize(
    ("fields", "phase", "sent"),
    [({"read": 0.05}, "read", True), ({"total": 0.05}, "total", True)],
)
async def test_time_outs_by_kind(
    unwatched: Montra, sandbox: Sandbox, fields: dict[str, Any], phase: str, sent: bool
) -> None:
    sandbox.add_fault(kind="latency", seconds=30, times=3)
    client = unwatched.with_options(timeout=Timeout(**fields))
    with pytest.raises(RequestTimeoutError) as caught:
        await client.list_meters()
    assert (caught.value.phase, caught.value.sent) == (phase, sent)
    assert caught.value.attempts == (3 if phase == "read" else 1)


async def test_nobody_there(connect: Any, sandbox: Sandbox) -> None:
    async with connect("sk_test_x", "http://127.0.0.1:9/api/v1", max_attempts=2) as montra:
        with pytest.raises(NetworkError, match=r"cannot connect to 127\.0\.0\.1:9: ") as caught:
            await montra.create_customer(name="A", email="a@example.com")
    assert (caught.value.attempts, caught.value.sent) == (2, False)


@pytest.mark.parametrize("body", ["html", "empty", "truncated", "text"])
async def test_broken_answers(unwatched: Montra, sandbox: Sandbox, body: str) -> None:
    sandbox.add_fault(kind="malformed", body=body)
    with pytest.raises(InvalidResponseError, match="was executed"):
        await unwatched.create_customer(name="A", email="a@example.com")
    assert await _created(unwatched) == 1


async def test_a_share_of_bad_answers_is_survived(unwatched: Montra, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="drop_before", share=0.2)
    client = unwatched.with_options(max_attempts=10)
    for i in range(20):
        await client.create_customer(name="A", email=f"{i}@example.com")
    sandbox.clear_faults()
    assert await _created(unwatched) == 20


async def test_a_wrong_key(connect: Any, sandbox: Sandbox) -> None:
    async with connect("sk_test_wrong_0123456789", sandbox.base_url) as montra:
        with pytest.raises(ApiError, match="invalid_api_key") as caught:
            await montra.list_meters()
    assert (caught.value.status, caught.value.attempts) == (401, 1)
    assert "wrong_0123456789" not in str(caught.value)


async def test_a_redirect_takes_the_key_nowhere(connect: Any, sandbox: Sandbox) -> None:
    """A service that sends us to another server: that one hears nothing."""
    heard: list[str] = []

    async def elsewhere(request: web.BaseRequest) -> web.Response:
        heard.append(request.headers.get("Authorization", ""))
        return web.json_response({"success": True, "data": []})

    servers = [web.ServerRunner(web.Server(elsewhere))]
    await servers[0].setup()
    await web.TCPSite(servers[0], "127.0.0.1", 0).start()
    target = f"http://127.0.0.1:{servers[0].addresses[0][1]}/stolen?key=1"

    async def redirect(_: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"Location": target})

    servers.append(web.ServerRunner(web.Server(redirect)))
    await servers[1].setup()
    await web.TCPSite(servers[1], "127.0.0.1", 0).start()
    async with connect("sk_test_x", f"http://127.0.0.1:{servers[1].addresses[0][1]}") as montra:
        for call in (montra.list_meters(), montra.create_pricing_model(name="P"), montra.upload_file(b"x")):
            with pytest.raises(ApiError, match="redirects are not followed") as caught:
                await call
            assert "stolen" not in str(caught.value)
    for server in servers:
        await server.cleanup()
    assert heard == []
