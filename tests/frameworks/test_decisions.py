"""What guards and webhook views decide, without a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from flask import Flask, abort
from hypothesis import given, strategies as st

from montra_async import ConfigError, InvalidArgumentError, Montra, MontraError, NetworkError
from montra_async.core.errors import CallInfo, NotFoundError, error_class
from montra_async.frameworks import request_body
from montra_async.frameworks.guards import (
    MISCONFIGURED,
    UNAUTHENTICATED,
    Denial,
    authorize,
    denial_for_error,
    names_the_customer,
)
from montra_async.webhooks import MemoryStore, WebhookReceiver
from montra_sandbox import Sandbox
from montra_sync import Montra as SyncMontra
from montra_sync.frameworks.flask import MontraFlask
from montra_sync.frameworks.guards import authorize as authorize_sync

CALL = CallInfo(method="GET", path="/entitlements")


def never() -> Any:
    raise AssertionError("the service must not be asked")


async def asked(customer: Callable[[], object], client: Callable[[], Any] = never) -> Denial | None:
    """What both kinds of guards say, which must be the same."""
    found = await authorize("quota", "tokens", client, customer, (ZeroDivisionError,))
    if client is never:
        assert authorize_sync("quota", "tokens", client, customer, (ZeroDivisionError,)) == found
    return found


def broken() -> str:
    raise OSError("the database is down")


@pytest.mark.parametrize("nobody", [lambda: None, lambda: "", lambda: " \n", lambda: {}["session"], broken])
async def test_who_is_nobody_is_told_so(nobody: Callable[[], object]) -> None:
    assert await asked(nobody) is UNAUTHENTICATED


async def test_a_mistake_of_customer_is_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    assert await asked(broken) is UNAUTHENTICATED
    assert [(one.levelname, one.exc_info is not None) for one in caplog.records] == [("ERROR", True)] * 2
    assert "the database is down" in caplog.text
    caplog.clear()
    assert (
        await asked(lambda: {}["session"]) is UNAUTHENTICATED
    )  # everybody who is not logged in: no error of anybody's
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


@pytest.mark.parametrize("odd", [42, b"cust_1", ["cust_1"], False, object()])
async def test_what_is_no_string_is_a_loud_mistake(odd: object, caplog: pytest.LogCaptureFixture) -> None:
    assert await asked(lambda: odd) is MISCONFIGURED
    assert {one.levelname for one in caplog.records} == {"ERROR"}
    assert f"customer= returned {type(odd).__name__}" in caplog.text


async def test_answers_of_the_framework_itself_pass() -> None:
    with pytest.raises(ZeroDivisionError):
        await asked(lambda: 1 // 0)

    app = Flask("a")
    montra = MontraFlask(app, client_factory=never)
    app.add_url_rule("/", view_func=montra.require_feature("sso", customer=lambda: abort(418))(lambda: "x"))
    assert app.test_client().get("/").status_code == 418


async def test_a_coroutine_may_find_the_customer(sandbox: Sandbox) -> None:
    async def found() -> str:
        await asyncio.sleep(0)
        return "cust_nobody"

    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        denial = await authorize("quota", "tokens", lambda: montra, found)
    assert denial is not None
    assert denial.code == "unknown_customer"


async def test_against_the_sandbox(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """The mistakes that were seen, each with the sandbox's own words."""
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        plan = await montra.create_pricing_model(name="Free", is_default=True)
        await montra.create_meter(name="T", slug="customer", pricing_model_id=plan.id)
        ada = await montra.create_customer(name="Ada", email="ada@example.com")

        async def code(slug: str, customer_id: str, client: Montra = montra) -> str | None:
            denial = await authorize("quota", slug, lambda: client, lambda: customer_id)
            return None if denial is None else f"{denial.status} {denial.code}"

        assert await code("customer", ada.id) is None
        assert await code("custmer", ada.id) == "500 billing_misconfigured"
        assert "no meter with the slug" in caplog.text
        assert await code("customer", "meter") == "403 unknown_customer"
        assert await code("customer", "no 'meter' \"route\"") == "403 unknown_customer"
        async with Montra("sk_test_wrong", sandbox.base_url) as other:
            assert await code("customer", ada.id, other) == "500 billing_misconfigured"
        async with Montra(sandbox.api_key, sandbox.base_url.removesuffix("/api/v1")) as other:
            assert await code("customer", ada.id, other) == "500 billing_misconfigured"
        async with Montra(sandbox.api_key, "http://127.0.0.1:9/api/v1", max_attempts=1) as other:
            assert await code("customer", ada.id, other) == "503 billing_unavailable"
        assert sandbox.api_key not in caplog.text
        assert "sk_test_wrong" not in caplog.text


def api_error(status: int, code: str = "x", message: str = "x", **fields: Any) -> MontraError:
    return error_class(status)(message, status=status, code=code, call=CALL, **fields)


@given(status=st.integers(300, 599), code=st.text(max_size=30), message=st.text(max_size=200))
def test_only_a_sure_404_names_the_customer(status: int, code: str, message: str) -> None:
    denial = denial_for_error(api_error(status, code, message))
    assert denial.status in (403, 500, 503)
    if denial.status == 403:
        assert (status, denial.code) == (404, "unknown_customer")
        assert "customer" in (code + message).lower()
    if status >= 500 or status == 429:
        assert denial.status == 503


@given(quoted=st.text(max_size=60))
def test_ids_and_slugs_do_not_decide(quoted: str) -> None:
    def names(message: str) -> bool:
        return names_the_customer(NotFoundError(message, status=404, code="not_found", call=CALL))

    assert names(f"no customer {quoted!r}")
    assert not names(f"no meter with the slug {quoted!r}")


def test_mistakes_in_what_is_asked() -> None:
    assert denial_for_error(InvalidArgumentError("customer_id", "half a surrogate pair")) is UNAUTHENTICATED
    assert denial_for_error(InvalidArgumentError("meter", "empty")) is MISCONFIGURED
    assert denial_for_error(ConfigError("no key")) is MISCONFIGURED
    assert denial_for_error(NetworkError("refused", CALL)).status == 503


@given(seconds=st.one_of(st.none(), st.floats(allow_nan=False)))
def test_retry_after_is_always_a_header(seconds: float | None) -> None:
    headers = denial_for_error(api_error(429, retry_after=seconds)).headers()
    assert (seconds is None) == ("Retry-After" not in headers)
    assert seconds is None or 0 <= int(headers["Retry-After"]) <= 24 * 3600


async def test_a_client_that_can_not_be_made_is_a_mistake_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("b")
    montra = MontraFlask(app)
    app.add_url_rule("/", view_func=montra.require_feature("sso", customer=lambda: "cust_1")(lambda: "x"))
    answer = app.test_client().get("/")
    assert (answer.status_code, answer.get_json()["code"]) == (500, "billing_misconfigured")
    assert "MONTRA_API_KEY" in caplog.text


async def test_what_others_write_writes_no_lines_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Mocking:
        async def check_entitlement(self, *_: str) -> None:
            raise api_error(400, message="bad\nERROR:root:all is lost\x1b[2J")

    assert await asked(lambda: "cust\nERROR:x", lambda: Mocking()) is MISCONFIGURED
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().isprintable()


@pytest.mark.parametrize("threads", [20])
def test_threads_that_come_first_share_a_client(threads: int) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    app = Flask("c")
    together = Barrier(threads)

    def make(_: Flask) -> SyncMontra:
        together.wait(10)  # all of them are making one
        return SyncMontra("sk_test_x", "http://127.0.0.1:9/api/v1")

    montra = MontraFlask(app, client_factory=make)

    def first(_: int) -> int:
        with app.app_context():
            return id(montra.client)

    with ThreadPoolExecutor(threads) as pool:
        assert len(set(pool.map(first, range(threads)))) == 1


RECEIVER = WebhookReceiver("whsec_0123456789abcdef", store=MemoryStore(), max_body_size=1000)


async def test_a_body_that_never_comes_is_waited_for_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "BODY_TIMEOUT", 0.01)

    async def silent() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    found = await asyncio.wait_for(request_body.read_chunks(silent(), None, RECEIVER), 30)
    assert found is request_body.TOO_SLOW


@given(pieces=st.lists(st.binary(max_size=400), max_size=8), declared=st.one_of(st.none(), st.text(max_size=25)))
def test_no_more_is_read_than_allowed(pieces: list[bytes], declared: str | None) -> None:
    taken = 0
    left = b"".join(pieces)

    def read(most: int) -> bytes:
        nonlocal taken, left
        piece, left = left[: min(most, 7)], left[min(most, 7) :]  # less than is there
        taken += len(piece)
        return piece

    whole = left
    found = request_body.read_stream(read, declared, RECEIVER)
    assert taken <= 2 * RECEIVER.max_body_size + 1
    if isinstance(found, bytes):
        assert found == whole
    else:
        assert found.status == 413
        assert len(whole) > RECEIVER.max_body_size or (declared or "").strip().isdecimal()


@pytest.mark.parametrize("declared", ["2001", "0002001", " 2001 ", "9" * 5000])
def test_what_is_announced_as_far_too_large_is_not_read(declared: str) -> None:
    found = request_body.read_stream(never, declared, RECEIVER)
    assert not isinstance(found, bytes)
    assert found.status == 413
