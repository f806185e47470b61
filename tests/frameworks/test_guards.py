"""Guards under real servers, and a service that answers whatever can go wrong: nobody is blamed for another's fault."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from .conftest import KEY, Service
from .serving import EVERY, Server, gunicorn_runs, start
from .session_cookies import session_headers

MISCONFIGURED = (500, "billing_misconfigured")
UNAVAILABLE = (503, "billing_unavailable")
UNKNOWN = (403, "unknown_customer")

TOLD = {
    "wrong-key": (MISCONFIGURED, "invalid_api_key"),
    "forbidden": (MISCONFIGURED, "may not read entitlements"),
    "no-such-path": (MISCONFIGURED, "unknown_route"),
    "foreign-404": (MISCONFIGURED, "http_404"),
    "no-meter": (MISCONFIGURED, "no meter with the slug"),
    "moved": (MISCONFIGURED, "308"),
    "refused": (MISCONFIGURED, "give exactly one"),
    "nobody": (UNKNOWN, "not_found"),
    "nobody-by-code": (UNKNOWN, "customer_not_found"),
    "limited": (UNAVAILABLE, "rate_limited"),
    "down": (UNAVAILABLE, "maintenance"),
    "a-page": (UNAVAILABLE, "InvalidResponseError"),
}


@pytest.fixture(params=EVERY)
def server(request: pytest.FixtureRequest, site: Callable[[str], Server]) -> Server:
    return site(request.param)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        yield session


async def ask(
    http: aiohttp.ClientSession, server: Server, customer: str | None, path: str = "/answers"
) -> tuple[int, str, Any, Any]:
    headers = session_headers(server.framework, customer) if server.framework else {"X-Customer-Id": customer or ""}
    method = "GET" if path == "/reports" else "POST"
    for _ in range(100):
        try:
            async with http.request(method, server.url + path, headers=headers) as answer:
                return answer.status, answer.content_type, await answer.json(content_type=None), answer.headers
        except aiohttp.ClientConnectorError:  # some servers say that they are running a moment before they listen
            await asyncio.sleep(0.1)
    raise AssertionError("the server does not answer")


async def test_whose_fault_it_is(http: aiohttp.ClientSession, server: Server) -> None:
    for path in ("/answers", "/reports"):
        for customer, ((status, code), cause) in TOLD.items():
            found, kind, body, headers = await ask(http, server, customer, path)
            assert (found, kind, body["code"]) == (status, "application/problem+json", code), customer
            assert body["status"] == status
            assert headers["Cache-Control"] == "no-store"
            expected = "120" if customer in ("limited", "down") else None
            assert headers.get("Retry-After") == expected, customer
            [line] = [line for line in server.log.splitlines() if f"customer '{customer}'" in line][-1:]
            assert cause in line
            assert f"{status} {code}" in line
    assert KEY not in server.log


async def test_what_is_surely_so(http: aiohttp.ClientSession, server: Server) -> None:
    assert (await ask(http, server, "no-plan"))[2]["code"] == "no_plan"
    status, _, body, _ = await ask(http, server, "used-up")
    assert (status, body["code"], body["usage"], body["limit"]) == (402, "quota_exceeded", 10, 8)
    status, _, body, _ = await ask(http, server, "used-up", "/reports")
    assert (status, body["code"]) == (403, "feature_not_included")
    assert (await ask(http, server, "yes", "/reports"))[0] == 200


@pytest.mark.parametrize("customer", [None, "", "  "])
async def test_without_an_identity_nobody_is_asked(
    http: aiohttp.ClientSession, server: Server, service: Service, customer: str | None
) -> None:
    before = service.asked.total()
    for path in ("/reports", "/answers"):
        status, _, body, _ = await ask(http, server, customer, path)
        assert (status, "billing" in str(body)) == (401, False)
    assert service.asked.total() == before


async def test_each_of_a_crowd_gets_an_answer_of_their_own(
    http: aiohttp.ClientSession, server: Server, service: Service
) -> None:
    crowd = [f"user-{number}-{word}" for number in range(30) for word in ("yes", "no")] * 2
    random.shuffle(crowd)
    before = service.asked.total()
    answers = await asyncio.gather(*(ask(http, server, one, "/reports") for one in crowd))
    assert [answer[0] for answer in answers] == [200 if one.endswith("yes") else 403 for one in crowd]
    assert service.asked.total() - before == len(crowd)  # nothing was kept from one request to the next


@gunicorn_runs
@pytest.mark.parametrize("app", ["hanging_flask:app", "hanging_django:application"])
async def test_a_silent_service_holds_a_thread_for_the_total_time_out_at_most(
    http: aiohttp.ClientSession, service: Service, app: str
) -> None:
    command = ["-m", "gunicorn", "-k", "gthread", "--threads", "4", "-w", "1", "-b", "127.0.0.1:PORT", app]
    server = start(
        command, cwd=Path(__file__).parent / "sites", MONTRA_BASE_URL=service.base_url, MONTRA_API_KEY="sk_test_x"
    )
    try:
        answers = await asyncio.gather(*(ask(http, server, "silent", "/reports") for _ in range(8)))
        assert {(status, body["code"]) for status, _, body, _ in answers} == {UNAVAILABLE}
        assert (await ask(http, server, "user-1-yes", "/reports"))[0] == 200
    finally:
        server.stop()
    assert "total time-out of 1 s" in server.log
    assert "Traceback" not in server.log
