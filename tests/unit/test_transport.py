"""The transport where a fault can't be made for real, and its decisions seen from outside (aioresponses)."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import aioresponses

from montra_async import (
    ApiError,
    AuthenticationError,
    CallEvent,
    InvalidResponseError,
    Montra,
    NetworkError,
    NotFoundError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    Timeout,
)

from ..aioresponses_bridge import BridgedResponse

BASE = "https://billing.example.com/api/v1"
KEY = "sk_test_0123456789abcdef"
CUSTOMER = {"success": True, "data": {"id": "cust_1", "name": "n", "email": "e"}}
POST = f"{BASE}/customers"
GET = f"{BASE}/customers/cust_1"


class Wire:
    """A network made of answers and exceptions, each used once, in order."""

    def __init__(self, mocked: aioresponses) -> None:
        self._mocked = mocked

    def will(self, method: str, url: str, **answer: Any) -> None:
        self._mocked.add(url, method=method, response_class=BridgedResponse, **answer)

    @property
    def requests(self) -> list[Any]:
        return [call for calls in self._mocked.requests.values() for call in calls]


@pytest.fixture
def wire() -> Iterator[Wire]:
    with aioresponses() as mocked:
        yield Wire(mocked)


@pytest.fixture
async def montra(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Montra]:
    """Its pauses are short."""
    async with Montra(KEY, BASE) as client:
        client._transport._jitter = lambda: 0.001
        yield client


def _connector_error(error: OSError) -> aiohttp.ClientConnectorError:
    key = ConnectionKey("billing.example.com", 443, True, True, None, None, None)
    return aiohttp.ClientConnectorError(key, error)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_temporary_statuses_are_retried(wire: Wire, montra: Montra, status: int) -> None:
    wire.will("POST", POST, status=status)
    wire.will("POST", POST, status=status)
    wire.will("POST", POST, payload=CUSTOMER)
    customer = await montra.create_customer(name="n", email="e")
    assert customer.id == "cust_1"
    keys = {request.kwargs["headers"]["Idempotency-Key"] for request in wire.requests}
    bodies = {request.kwargs["data"] for request in wire.requests}
    assert (len(wire.requests), len(keys), len(bodies)) == (3, 1, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 418, 422, 501, 505])
async def test_other_statuses_are_not_retried(wire: Wire, montra: Montra, status: int) -> None:
    wire.will("POST", POST, status=status, payload={"success": False, "error": {"code": "c", "message": "no"}})
    with pytest.raises(ApiError) as caught:
        await montra.create_customer(name="n", email="e")
    assert (caught.value.status, caught.value.code, caught.value.message) == (status, "c", "no")
    assert caught.value.attempts == len(wire.requests) == 1


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (_connector_error(ConnectionRefusedError(111, "Connection refused")), False),
        (aiohttp.ConnectionTimeoutError("t"), False),
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), True),
        (aiohttp.ClientPayloadError("cut"), True),
        (aiohttp.SocketTimeoutError("t"), True),
        (aiohttp.ClientResponseError(Mock(real_url=BASE), (), status=400, message="bad http"), True),
        (ConnectionResetError("reset"), True),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_network_errors_are_retried_and_then_raised(
    wire: Wire, montra: Montra, error: Exception, sent: bool
) -> None:
    for _ in range(3):
        wire.will("POST", POST, exception=error)
    with pytest.raises(NetworkError) as caught:
        await montra.create_customer(name="n", email="e", idempotency_key="mine")
    failure = caught.value
    assert (failure.attempts, failure.sent, failure.idempotency_key) == (3, sent, "mine")
    assert isinstance(failure, TimeoutError) == isinstance(error, asyncio.TimeoutError)
    assert "billing.example.com" in str(failure)
    likeness = failure.__cause__
    assert likeness is not None
    assert likeness is not error  # aiohttp's own errors hold the request with its headers
    assert type(error).__name__ in repr(likeness) or isinstance(likeness, OSError)
    assert {request.kwargs["headers"]["Idempotency-Key"] for request in wire.requests} == {"mine"}


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectorCertificateError(
            ConnectionKey("billing.example.com", 443, True, True, None, None, None),
            ssl.SSLCertVerificationError("certificate has expired"),
        ),
        aiohttp.ClientHttpProxyError(Mock(real_url=BASE), (), status=407, message="who are you"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_permanent_network_errors_are_not_retried(wire: Wire, montra: Montra, error: Exception) -> None:
    wire.will("GET", GET, exception=error)
    with pytest.raises(NetworkError) as caught:
        await montra.get_customer("cust_1")
    assert caught.value.attempts == 1
    assert caught.value.sent is False


async def test_a_call_that_must_not_happen_twice_is_only_repeated_when_it_was_never_sent(
    wire: Wire, montra: Montra
) -> None:
    call = montra._json_request("POST", "/customers", {"a": 1})
    call.repeatable = False
    wire.will("POST", POST, exception=_connector_error(ConnectionRefusedError(111, "refused")))
    wire.will("POST", POST, status=503)
    answer = await montra._transport.send(call, montra._options)
    assert (answer.status, call.attempts) == (503, 2)
    wire.will("POST", POST, exception=aiohttp.ServerDisconnectedError())
    with pytest.raises(NetworkError):
        await montra._transport.send(call, montra._options)
    assert call.attempts == 3


async def test_the_first_dropped_connection_is_replaced_at_once(wire: Wire) -> None:
    pauses: list[float | None] = []
    for _ in range(3):
        wire.will("GET", GET, exception=aiohttp.ServerDisconnectedError())
    async with Montra(KEY, BASE, on_retry=lambda event: pauses.append(event.pause)) as montra:
        montra._transport._jitter = lambda: 0.01
        with pytest.raises(NetworkError):
            await montra.get_customer("cust_1")
    assert pauses == [0.0, 0.01]


async def test_retry_after_is_waited_for(wire: Wire) -> None:
    pauses: list[float | None] = []
    wire.will("GET", GET, status=429, headers={"Retry-After": "0.02"})
    wire.will("GET", GET, payload=CUSTOMER)
    async with Montra(KEY, BASE, on_retry=lambda event: pauses.append(event.pause)) as montra:
        await montra.get_customer("cust_1")
    assert pauses == [0.02]


async def test_a_retry_after_beyond_the_time_budget_is_given_to_the_caller(wire: Wire, montra: Montra) -> None:
    wire.will("GET", GET, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(RateLimitError) as caught:
        await montra.get_customer("cust_1")
    assert (caught.value.retry_after, caught.value.attempts) == (3600, 1)


async def test_a_server_does_not_hold_a_call_without_a_time_out(wire: Wire, montra: Montra) -> None:
    wire.will("GET", GET, status=503, headers={"Retry-After": "999999999"})
    with pytest.raises(ServerError) as caught:
        await montra.with_options(timeout=Timeout(total=None)).get_customer("cust_1")
    assert caught.value.attempts == 1


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        ("", "application/json", "empty body"),
        ("<html>Bad Gateway</html>", "text/html", "text/html"),
        ('{"success": false, "error": {"co', "application/json", "is base_url right"),
        ("[]", "application/json", "is base_url right"),
        ("null", "application/json", "is base_url right"),
        ('{"error": "plain words"}', "application/json", "plain words"),
        ('{"error": {"code": 5, "message": ["x"]}}', "application/json", "is base_url right"),
        ("\udcff", "application/octet-stream", "octet-stream"),
    ],
)
@pytest.mark.parametrize("status", [401, 500])
async def test_no_body_hides_the_status(
    wire: Wire, montra: Montra, status: int, body: str, content_type: str, words: str
) -> None:
    raw = body.encode("utf-8", "surrogateescape")
    wire.will("GET", GET, status=status, body=raw, content_type=content_type, headers={"x-request-id": "req_9"})
    with pytest.raises(AuthenticationError if status == 401 else ServerError) as caught:
        await montra.with_options(max_attempts=1).get_customer("cust_1")
    error = caught.value
    assert (error.status, error.code, error.request_id) == (status, f"http_{status}", "req_9")
    assert words in error.message
    assert error.body == raw.decode("utf-8", "replace")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"success": true, "data": {"id": "c"',
        b"[]",
        b'{"success": true}',
        b'{"success": true, "data": null}',
        b'{"success": true, "data": {"id": "cust_1"}}',
        b'{"success": true, "data": [{"id": "cust_1"}]}',
        b"\xff",
        b"[" * 50_000,
    ],
)
async def test_a_success_that_can_not_be_read_says_that_the_call_was_carried_out(
    wire: Wire, montra: Montra, body: bytes
) -> None:
    wire.will("POST", POST, body=body)
    with pytest.raises(InvalidResponseError, match="was executed") as caught:
        await montra.create_customer(name="n", email="e", idempotency_key="k1")
    assert (caught.value.status, caught.value.idempotency_key, caught.value.code) == (200, "k1", "invalid_response")
    assert len(wire.requests) == 1


async def test_success_false_is_an_error_whatever_the_status(wire: Wire, montra: Montra) -> None:
    wire.will("GET", GET, payload={"success": False, "error": {"code": "odd", "message": "no", "details": [1]}})
    with pytest.raises(ApiError) as caught:
        await montra.get_customer("cust_1")
    assert (caught.value.code, caught.value.details) == ("odd", [1])


async def test_a_delete_may_be_answered_with_nothing(wire: Wire, montra: Montra) -> None:
    wire.will("DELETE", f"{BASE}/features/feat_1", status=204)
    await montra.delete_feature("feat_1")
    wire.will("DELETE", f"{BASE}/features/feat_1", status=404)
    with pytest.raises(ApiError):
        await montra.delete_feature("feat_1")


async def test_redirects_are_not_followed(wire: Wire, montra: Montra) -> None:
    for location in ("https://evil.example.net/steal?x=1", "", "//[bad"):
        wire.will("GET", GET, status=302, headers={"Location": location})
        with pytest.raises(ApiError, match="redirect") as caught:
            await montra.get_customer("cust_1")
        assert "steal" not in str(caught.value)
    assert [str(request.kwargs["allow_redirects"]) for request in wire.requests] == ["False"] * 3


async def test_a_key_in_an_error_of_the_service_is_removed(wire: Wire, montra: Montra) -> None:
    error = {"code": "bad_key", "message": f"Invalid key {KEY}", "details": {"seen": [f"Bearer {KEY}"]}}
    wire.will("GET", GET, status=401, payload={"success": False, "error": error})
    with pytest.raises(AuthenticationError) as caught:
        await montra.get_customer("cust_1")
    assert "0123456789abcdef" not in repr(vars(caught.value)) + str(caught.value) + repr(caught.value)


async def test_no_frame_of_ours_shows_the_key(wire: Wire, montra: Montra, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(3):
        wire.will("POST", POST, exception=aiohttp.ServerDisconnectedError())
    with pytest.raises(NetworkError) as caught:
        await montra.create_customer(name="n", email="e")
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "0123456789abcdef" not in shown + caplog.text
    assert "transport.py" in shown


async def test_hooks_and_the_log_are_told_of_every_attempt(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="montra")
    told: list[tuple[str, CallEvent]] = []
    wire.will("GET", GET, exception=aiohttp.ServerDisconnectedError())
    wire.will("GET", GET, status=503, headers={"x-request-id": "req_1"})
    wire.will("GET", GET, payload=CUSTOMER, headers={"x-request-id": "req_2"})
    async with Montra(
        KEY,
        BASE,
        on_request=lambda event: told.append(("request", event)),
        on_response=lambda event: told.append(("response", event)),
        on_retry=lambda event: told.append(("retry", event)),
    ) as montra:
        montra._transport._jitter = lambda: 0.001
        await montra.get_customer("cust_1")
    assert [(name, event.attempt, event.status, event.request_id) for name, event in told] == [
        ("request", 1, None, None),
        ("response", 1, None, None),
        ("retry", 1, None, None),
        ("request", 2, None, None),
        ("response", 2, 503, "req_1"),
        ("retry", 2, 503, "req_1"),
        ("request", 3, None, None),
        ("response", 3, 200, "req_2"),
    ]
    assert isinstance(told[1][1].error, NetworkError)
    assert all(event.method == "GET" and event.path == "/customers/cust_1" for _, event in told)
    assert "GET /customers/cust_1 -> 200" in caplog.text
    assert "trying again" in caplog.text


async def test_a_hook_that_fails_does_not_fail_the_call(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    wire.will("GET", GET, payload=CUSTOMER)

    def broken(_: CallEvent) -> None:
        raise KeyError("mine")

    async with Montra(KEY, BASE, on_request=broken, on_response=broken) as montra:
        assert (await montra.get_customer("cust_1")).id == "cust_1"
    assert caplog.text.count("KeyError: 'mine'") == 2


async def test_the_total_time_out_covers_attempts_and_pauses(wire: Wire, montra: Montra) -> None:
    for _ in range(3):
        wire.will("GET", GET, status=503, headers={"Retry-After": "0.2"})
    with pytest.raises(ServerError) as caught:
        await montra.with_options(timeout=0.3).get_customer("cust_1")
    assert caught.value.attempts == 2  # a third attempt would have started after the end

    async def forever(url: Any, **_: Any) -> None:
        await asyncio.sleep(60)

    wire._mocked.clear()
    wire.will("GET", GET, callback=forever)
    with pytest.raises(RequestTimeoutError, match=r"0\.05 s") as late:
        await montra.with_options(timeout=Timeout(total=0.05)).get_customer("cust_1")
    assert (late.value.phase, late.value.attempts) == ("total", 1)


async def test_whatever_fails_below_is_an_error_of_ours(wire: Wire, montra: Montra) -> None:
    wire.will("GET", GET, exception=RuntimeError("something odd"))
    with pytest.raises(NetworkError, match="RuntimeError: something odd") as caught:
        await montra.get_customer("cust_1")
    assert (caught.value.attempts, caught.value.sent) == (1, True)


async def test_a_lost_answer_is_not_forgotten_by_a_later_attempt_that_was_not_sent(wire: Wire, montra: Montra) -> None:
    wire.will("POST", POST, exception=aiohttp.ServerDisconnectedError())
    wire.will("POST", POST, exception=_connector_error(ConnectionRefusedError(111, "refused")))
    with pytest.raises(NetworkError, match="refused") as caught:
        await montra.with_options(max_attempts=2).create_customer(name="n", email="e")
    assert caught.value.sent is True


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ({"exception": aiohttp.ServerDisconnectedError()}, True),
        ({"status": 502}, True),
        ({"status": 500}, False),
        ({"status": 429}, False),
        ({"exception": _connector_error(ConnectionRefusedError(111, "refused"))}, False),
    ],
    ids=["lost", "502", "500", "429", "refused"],
)
async def test_a_delete_that_may_have_been_carried_out_succeeds_when_there_is_nothing_left(
    wire: Wire, montra: Montra, first: dict[str, Any], found: bool
) -> None:
    wire.will("DELETE", f"{BASE}/features/feat_1", **first)
    wire.will("DELETE", f"{BASE}/features/feat_1", status=404)
    if found:
        await montra.delete_feature("feat_1")
        return
    with pytest.raises(NotFoundError):
        await montra.delete_feature("feat_1")


async def test_the_second_half_of_two_calls_has_its_own_key(wire: Wire, montra: Montra) -> None:
    wire.will("POST", POST, payload=CUSTOMER)
    wire.will("POST", f"{BASE}/subscriptions", status=404)
    with pytest.raises(ApiError) as caught:
        await montra.create_customer_with_subscription(
            pricing_model_id="pm", name="n", email="e", idempotency_key="signup-7"
        )
    assert caught.value.idempotency_key == "signup-7"  # of the whole call
    assert [request.kwargs["headers"]["Idempotency-Key"] for request in wire.requests] == ["signup-7", "signup-7_sub"]
