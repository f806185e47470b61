"""Invalid settings, invalid arguments and unexpected responses."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from montra_async import CallEvent, MontraError, Timeout
from montra_async.paywall import Balance, Identity, PaywallError, QuotaExceededError

from ..conftest import Kinds, Service

KEY = "sk_test_0123456789abcdef"


class Canned:
    """A service that sends the same response to every request, and records the requests."""

    def __init__(self) -> None:
        self.status, self.body, self.type = 200, b"{}", "application/json"
        self.asked: list[Any] = []

    def says(self, status: int, body: Any, content_type: str = "application/json") -> None:
        self.status, self.type = status, content_type
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append((request.method, request.path, dict(request.headers), await request.read()))
        if self.status == 0 and request.transport is not None:
            request.transport.close()
        return web.Response(status=self.status or 500, body=self.body, content_type=self.type)


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    service = Canned()
    runner = web.ServerRunner(web.Server(service.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"  # type: ignore[attr-defined]
    yield service
    await runner.cleanup()


@pytest.fixture
async def billing(kinds: Kinds, canned: Any) -> AsyncIterator[Any]:
    async with kinds.BillingClient("pw", canned.url, KEY, max_attempts=1) as client:
        yield client.for_user(email="a@example.com", user_id="a")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"paywall_id": None}, "PAYWALL_ID"),
        ({"api_origin": None}, "PAYWALL_ORIGIN"),
        ({"api_origin": "pay.example.com"}, "full URL"),
        ({"api_origin": "http://pay.example.com"}, "in clear"),
        ({"api_origin": "https://pay.example.com/api/v1"}, "only scheme, host and port"),
        ({"api_origin": "https://u:p@pay.example.com"}, "credentials"),
        ({"api_key": "sk_test_ü"}, "characters that no key has"),
        ({"api_key": "sk_test_1 sk_test_2"}, "characters that no key has"),
        ({"api_key": '"sk_test_1"'}, "characters that no key has"),
        ({"edge_fallback": "http://edge.example.com"}, "in clear"),
    ],
)
def test_invalid_settings(kinds: Kinds, settings: dict[str, Any], words: str) -> None:
    given = {"paywall_id": "pw", "api_origin": "https://pay.example.com", "api_key": KEY, **settings}
    with pytest.raises(PaywallError, match=words) as caught:
        kinds.BillingClient(**given)
    assert (caught.value.code, caught.value.status, caught.value.call) == ("invalid_config", None, None)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_attempts": 0},
        {"timeout": -1},
        {"pool_size": 0},
        {"headers": {"Authorization": "x"}},
        {"accept_language": ""},
    ],
)
def test_settings_of_the_wrong_type(kinds: Kinds, settings: dict[str, Any]) -> None:
    with pytest.raises(PaywallError) as caught:
        kinds.BillingClient("pw", "https://pay.example.com", KEY, **settings)
    assert caught.value.code == "invalid_argument"


def test_an_unknown_setting_is_a_type_error(kinds: Kinds) -> None:
    for make in (kinds.BillingClient, kinds.AuthClient, kinds.ApiGatewayClient):
        with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'time_out'"):
            make("pw", "https://pay.example.com", time_out=5)


def test_the_environment(kinds: Kinds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYWALL_ID", "pw_env")
    monkeypatch.setenv("PAYWALL_ORIGIN", "https://pay.example.com")
    monkeypatch.setenv("MONETIZE_API_KEY", KEY)
    for make in (kinds.BillingClient, kinds.AuthClient, kinds.ApiGatewayClient):
        assert repr(make()).endswith("pw_env at https://pay.example.com>")
    assert "pw_mine" in repr(kinds.BillingClient("pw_mine"))
    assert KEY not in repr(kinds.BillingClient()) + repr(vars(kinds.BillingClient()))


def test_a_key_in_a_browser(kinds: Kinds, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as browser:
        browser.setattr(sys, "platform", "emscripten")
        with pytest.raises(PaywallError) as caught:
            kinds.BillingClient("pw", "https://pay.example.com", KEY)
        assert caught.value.code == "apikey_in_browser"
        kinds.BillingClient("pw", "https://pay.example.com")
        kinds.BillingClient("pw", "https://pay.example.com", KEY, allow_insecure_browser_usage=True)


PRECONDITIONS: dict[str, tuple[Any, str]] = {
    "checkout without an address": (lambda b: b.for_user(user_id="a").create_checkout(1), "identity_required"),
    "checkout of nothing": (lambda b: b.for_user(email="a@b.c").create_checkout(""), "invalid_argument"),
    "checkout of True": (lambda b: b.for_user(email="a@b.c").create_checkout(True), "invalid_argument"),
    "half a trial day": (lambda b: b.for_user(email="a@b.c").create_checkout(1, trial_days=0.5), "invalid_argument"),
    "a key with spaces": (
        lambda b: b.for_user(email="a@b.c").create_checkout(1, idempotency_key="a b"),
        "invalid_argument",
    ),
    "portal without identity": (lambda b: b.get_customer_portal_url(), "identity_required"),
    "purchases without identity": (lambda b: b.list_purchases(), "identity_required"),
    "cancel nothing": (lambda b: b.for_user(email="a@b.c").cancel_subscription("", "x"), "invalid_argument"),
    "cancel without a reason": (lambda b: b.for_user(email="a@b.c").cancel_subscription("s", " "), "invalid_argument"),
    "cancel without identity": (lambda b: b.cancel_subscription("s", "x"), "identity_required"),
    "credit without identity": (lambda b: b.credit_tokens("gpt-4", 1), "identity_required"),
    "credit nothing": (lambda b: b.for_user(email="a@b.c").credit_tokens("gpt-4", 0), "invalid_argument"),
    "credit True": (lambda b: b.for_user(email="a@b.c").credit_tokens("gpt-4", True), "invalid_argument"),
    "credit a half": (lambda b: b.for_user(email="a@b.c").credit_tokens("gpt-4", 0.5), "invalid_argument"),
    "credit no type": (lambda b: b.for_user(email="a@b.c").credit_tokens("", 1), "invalid_argument"),
    "debit a text": (lambda b: b.for_user(email="a@b.c").debit_tokens("gpt-4", "1"), "invalid_argument"),
    "withdraw without user id": (lambda b: b.for_user(email="a@b.c").withdraw_tokens("gpt-4", 1), "identity_required"),
    "prices in no language": (lambda b: b.get_prices(locale=""), "invalid_argument"),
    "ticket without address": (lambda b: b.create_support_ticket("s", "c"), "identity_required"),
}


@pytest.mark.parametrize(("call", "code"), PRECONDITIONS.values(), ids=PRECONDITIONS)
async def test_invalid_calls_are_refused_before_sending(kinds: Kinds, canned: Any, call: Any, code: str) -> None:
    async with kinds.BillingClient("pw", canned.url, KEY) as billing:
        with pytest.raises(PaywallError) as caught:
            await call(billing)
    assert (caught.value.code, caught.value.call, caught.value.sent, canned.asked) == (code, None, False, [])


@pytest.mark.parametrize(
    "call",
    [
        lambda b: b.credit_tokens("gpt-4", 1),
        lambda b: b.debit_tokens("gpt-4", 1),
        lambda b: b.withdraw_tokens("gpt-4", 1),
        lambda b: b.list_purchases(),
        lambda b: b.cancel_subscription("s", "x"),
    ],
)
async def test_calls_that_require_a_key(kinds: Kinds, canned: Any, call: Any) -> None:
    async with kinds.BillingClient("pw", canned.url) as billing:
        with pytest.raises(PaywallError, match="MONETIZE_API_KEY") as caught:
            await call(billing)
    assert (caught.value.code, canned.asked) == ("apikey_required", [])


@pytest.mark.parametrize(
    "identity",
    [
        {"email": ""},
        {"email": "nobody"},
        {"email": "a@b.c\r\nX-A: b"},
        {"email": 5},
        {"user_id": ""},
        {"user_id": "a\0b"},
    ],
)
def test_invalid_identities(kinds: Kinds, identity: dict[str, Any]) -> None:
    billing = kinds.BillingClient("pw", "https://pay.example.com", KEY)
    for call in (billing.for_user, billing.set_identity):
        with pytest.raises(PaywallError) as caught:
            call(**identity)
        assert caught.value.code == "invalid_argument"
    with pytest.raises(PaywallError, match="Identity"):
        kinds.BillingClient("pw", "https://pay.example.com", KEY, identity="a@example.com")


async def test_identity_of_the_constructor(kinds: Kinds, canned: Any) -> None:
    canned.says(200, {"has_active_subscription": True})
    async with kinds.BillingClient("pw", canned.url, KEY, identity=Identity(email="ä@example.com")) as billing:
        assert (await billing.get_user()).has_active_subscription
    [(_, _, headers, _)] = canned.asked
    assert headers["X-User-Email"].encode("utf-8", "surrogateescape").decode() == "ä@example.com"


ANSWERS: dict[str, tuple[int, Any, str, str]] = {
    "code": (400, {"code": "some_code", "message": "Words."}, "some_code", "Words."),
    "code before error": (400, {"code": "a", "error": "b"}, "a", "Bad Request"),
    "slug as error": (422, {"error": "out-of_stock.1"}, "out-of_stock.1", "Unprocessable"),
    "sentence as error": (418, {"error": "I am a teapot"}, "http_418", "I am a teapot"),
    "nothing known": (451, {"x": 1}, "http_451", "Unavailable For Legal Reasons"),
    "a list": (400, [1], "http_400", "Bad Request"),
    "strange types": (400, {"code": 5, "error": {"a": 1}, "message": None}, "http_400", "Bad Request"),
    "insufficient with another status": (400, {"code": "insufficient"}, "insufficient", "Bad Request"),
    "a redirect": (302, {}, "http_302", "redirects are not followed"),
    "unknown status": (599, {}, "http_599", ""),
}


@pytest.mark.parametrize(("status", "body", "code", "words"), ANSWERS.values(), ids=ANSWERS)
async def test_errors_by_status_and_body(
    billing: Any, canned: Any, status: int, body: Any, code: str, words: str
) -> None:
    canned.says(status, body)
    with pytest.raises(PaywallError) as caught:
        await billing.create_support_ticket("s", "c")
    error = caught.value
    assert (error.code, error.status, error.body, error.sent) == (code, status, body, True)
    assert words in error.message
    assert str(error).startswith(f"{status} {code}: ")
    assert isinstance(error, MontraError)


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (lambda b: b.list_purchases(), 404, "identity_not_on_paywall"),
        (lambda b: b.cancel_subscription("s", "x"), 404, "identity_not_on_paywall"),
        (lambda b: b.debit_tokens("gpt-4", 1), 404, "identity_not_found"),
        (lambda b: b.get_customer_portal_url(), 403, "forbidden"),
    ],
)
async def test_error_codes_of_an_endpoint(billing: Any, canned: Any, call: Any, status: int, code: str) -> None:
    """The code does not depend on the body."""
    canned.says(status, {"error": "no_such_user"})
    with pytest.raises(PaywallError) as caught:
        await call(billing)
    assert (caught.value.code, caught.value.body) == (code, {"error": "no_such_user"})


async def test_an_error_without_json(billing: Any, canned: Any) -> None:
    canned.says(502, b"<h1>Bad gateway</h1>", "text/html")
    with pytest.raises(PaywallError, match="text/html") as caught:
        await billing.debit_tokens("gpt-4", 1)
    assert (caught.value.code, caught.value.body) == ("http_502", "<h1>Bad gateway</h1>")


@pytest.mark.parametrize("body", [b"", b"OK", b"[]", b'{"ticket": 5}', b'{"ticket": {}}', b'{"tick', b"null"])
async def test_unreadable_successes(billing: Any, canned: Any, body: bytes) -> None:
    canned.says(200, body)
    with pytest.raises(PaywallError, match="was executed") as caught:
        await billing.create_support_ticket("s", "c")
    assert (caught.value.code, caught.value.status, caught.value.sent) == ("invalid_response", 200, True)


@pytest.mark.parametrize("body", [{"success": False}, {"success": True}, {"type": "gpt-4", "count": "many"}])
async def test_an_unreadable_debit(billing: Any, canned: Any, body: Any) -> None:
    canned.says(200, body)
    with pytest.raises(PaywallError) as caught:
        await billing.debit_tokens("gpt-4", 1)
    assert caught.value.code == "invalid_response"


QUOTAS: dict[str, tuple[Any, list[Balance], str | None, int | None]] = {
    "objects": (
        {"error": "x", "details": {"balances": [{"balances": [{"type": "a", "count": 1}]}], "queryType": "a"}},
        [Balance(type="a", count=1)],
        "a",
        None,
    ),
    "arrays": (
        {"details": {"balances": [[{"type": "a", "count": 1}], [{"type": "b", "count": 2}]], "currentBalance": 0}},
        [Balance(type="a", count=1), Balance(type="b", count=2)],
        None,
        0,
    ),
    "garbage": (
        {"details": {"balances": [5, {"type": "a"}, None], "queryType": 7, "currentBalance": True}},
        [],
        None,
        None,
    ),
    "no details": ({}, [], None, None),
    "wrong details": ({"details": [1]}, [], None, None),
    "no object": ("no", [], None, None),
}


@pytest.mark.parametrize(("body", "balances", "kind", "left"), QUOTAS.values(), ids=QUOTAS)
async def test_quota_errors(
    kinds: Kinds, canned: Any, body: Any, balances: list[Balance], kind: str | None, left: int | None
) -> None:
    canned.says(402, body)
    async with kinds.ApiGatewayClient("pw", canned.url, user_id="a") as gateway:
        with pytest.raises(QuotaExceededError) as caught:
            await gateway.call("openai")
    assert (caught.value.balances, caught.value.query_type, caught.value.current_balance) == (balances, kind, left)


async def test_unknown_fields_and_values_are_kept(billing: Any, canned: Any) -> None:
    canned.says(
        200,
        {
            "purchases": [
                {"id": 7, "status": "hibernating", "interval": "decade", "created": 1700000000, "new": {"a": 1}}
            ]
        },
    )
    [purchase] = await billing.list_purchases()
    assert (purchase.id, purchase.status, purchase.interval, purchase.extra) == (
        "7",
        "hibernating",
        "decade",
        {"new": {"a": 1}},
    )
    assert purchase.created.isoformat() == "2023-11-14T22:13:20+00:00"


async def test_a_quoted_secret_is_redacted(billing: Any, canned: Any, kinds: Kinds) -> None:
    canned.says(401, {"code": "bad_key", "message": f"unknown key {KEY}", "more": [{"key": f"<{KEY}>"}]})
    with pytest.raises(PaywallError) as caught:
        await billing.debit_tokens("gpt-4", 1)
    shown = str(caught.value) + repr(caught.value) + repr(caught.value.body) + repr(vars(caught.value))
    assert "0123456789abcdef" not in shown
    canned.says(200, {"access_token": "at_secret_1", "refresh_token": "rt_secret_2", "expires_in": 3600})
    async with kinds.AuthClient("pw", canned.url) as auth:
        session = await auth.sign_in_anonymously()
        canned.says(401, {"message": "at_secret_1 is worth nothing", "more": "at_secret_1"})
        with pytest.raises(PaywallError) as caught:
            await auth.update_password("x")
        canned.says(200, {"access_token": "at_secret_3", "refresh_token": None})
        with pytest.raises(PaywallError) as broken:
            await auth.sign_in_anonymously()
    assert "secret" not in repr(session) + repr(vars(caught.value)) + str(caught.value)
    assert "secret" not in repr(vars(broken.value)) + str(broken.value)


HIDDEN = "hunter2-hunter2"

SECRETS: dict[str, Any] = {
    "sign in": lambda auth, _: auth.sign_in_with_email("a@example.com", HIDDEN),
    "sign in, badly": lambda auth, _: auth.sign_in_with_email("", HIDDEN),
    "sign up": lambda auth, _: auth.sign_up("a@example.com", HIDDEN),
    "upgrade": lambda auth, _: auth.upgrade_anonymous_to_email("a@example.com", HIDDEN),
    "new password": lambda auth, _: auth.update_password(HIDDEN),
    "code": lambda auth, _: auth.verify_otp("a@example.com", HIDDEN),
    "oauth": lambda auth, _: auth.complete_oauth("state", HIDDEN, code_verifier=HIDDEN),
    "refresh": lambda auth, _: auth.refresh(),
    "key": lambda _, billing: billing.debit_tokens("gpt-4", 1),
    "session": lambda auth, billing: billing.for_user(auth=auth).get_balances(),
}


@pytest.mark.parametrize("call", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("answer", [(500, {"message": HIDDEN}), (200, b"{"), (0, b"")], ids=["error", "broken", "none"])
async def test_no_frame_holds_a_secret(kinds: Kinds, canned: Any, call: Any, answer: tuple[int, Any]) -> None:
    """Error reporters record the local variables of every frame of a traceback and of its causes."""
    canned.says(200, {"access_token": HIDDEN, "refresh_token": HIDDEN, "expires_in": 3600})
    async with (
        kinds.AuthClient("pw", canned.url, max_attempts=1) as auth,
        kinds.BillingClient("pw", canned.url, HIDDEN, max_attempts=1) as billing,
    ):
        await auth.sign_in_anonymously()
        canned.says(*answer)
        with pytest.raises(PaywallError) as caught:
            await call(auth, billing.for_user(email="a@example.com"))
    todo: list[BaseException | None] = [caught.value]
    shown = ""
    while todo:
        error = todo.pop()
        if error is not None:
            todo += (error.__cause__, error.__context__)
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            ours = [frame for frame in frames if "/montra_" in frame.f_code.co_filename]
            shown += " ".join(f"{name}={value!r}" for frame in ours for name, value in frame.f_locals.items())
            shown += f" {error!r} {error}"
    assert len(shown) > 100
    assert HIDDEN not in shown


async def test_headers_of_user_and_language(kinds: Kinds, canned: Any) -> None:
    canned.says(200, {"settings": {}, "prices": [], "offers": []})
    async with kinds.BillingClient("pw", canned.url, KEY, accept_language="fr") as billing:
        await billing.get_prices()
        await billing.for_user(email="a@example.com").bootstrap(locale="de-AT, de;q=0.5")
    shown = [(headers.get("Accept-Language"), headers.get("X-User-Email")) for _, _, headers, _ in canned.asked]
    assert shown == [("fr", None), ("de-AT, de;q=0.5", "a@example.com")]
    assert not any("X-Api-Key" in headers for _, _, headers, _ in canned.asked)  # the prices are for everybody


async def test_time_outs_and_hooks(bad_day: Service) -> None:
    """The transport is the same as that of Montra's client."""
    events: list[CallEvent] = []
    hooks = {"on_request": events.append, "on_response": events.append, "on_retry": events.append}
    async with bad_day.billing(timeout=Timeout(total=20, read=0.1), max_attempts=2, **hooks) as billing:
        bad_day.sandbox.add_fault(kind="latency", seconds=5, times=2)
        with pytest.raises(PaywallError) as caught:
            await billing.get_prices()
        assert (caught.value.code, caught.value.sent, caught.value.status) == ("timeout", True, None)
        assert caught.value.call is not None
        assert caught.value.call.attempts == 2
        bad_day.sandbox.add_fault(kind="latency", seconds=5)
        with pytest.raises(PaywallError) as caught:  # money waits once
            await billing.for_user(email="a@example.com").debit_tokens("gpt-4", 1)
        assert (caught.value.code, caught.value.call.attempts) == ("timeout", 1)  # type: ignore[union-attr]
    tries = [(event.method, event.attempt) for event in events if event.pause is None and event.elapsed == 0.0]
    assert tries == [("GET", 1), ("GET", 2), ("POST", 1)]
    assert bad_day.sandbox.api_key not in repr(events)


async def test_errors_can_be_pickled(billing: Any, canned: Any) -> None:
    canned.says(409, {"code": "insufficient"})
    with pytest.raises(PaywallError) as caught:
        await billing.debit_tokens("gpt-4", 1)
    for again in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert (str(again), again.code, again.call) == (str(caught.value), "insufficient", caught.value.call)


async def test_headers_of_every_request(kinds: Kinds, canned: Any) -> None:
    canned.says(200, {"ticket": {"id": 1}})
    settings = {"capabilities": ["offers", "trials"], "headers": {"X-Mine": "1"}}
    async with kinds.BillingClient("pw ä/1", canned.url, KEY, **settings) as billing:
        await billing.create_support_ticket("s", "c", email="a@example.com")
    [(method, path, headers, body)] = canned.asked
    assert (method, path) == ("POST", "/api/v1/paywall/pw ä/1/support/ticket")
    assert (headers["X-Api-Key"], headers["X-SDK-Capabilities"], headers["X-Mine"]) == (KEY, "offers,trials", "1")
    assert (headers["Content-Type"], headers["Accept"]) == ("application/json", "application/json")
    assert headers["X-Paywall-Id"] == "pw%20%C3%A4%2F1"
    assert json.loads(body) == {"subject": "s", "content": "c", "customer_email": "a@example.com"}


@pytest.mark.parametrize(
    ("given", "sent"), [("007", 7), ("12", 12), (12, 12), ("pr_1", "pr_1"), ("9" * 20, "9" * 20), ("١٢", "١٢")]
)
async def test_price_ids_of_digits_are_sent_as_numbers(billing: Any, canned: Any, given: Any, sent: Any) -> None:
    canned.says(200, {"checkoutUrl": "u"})
    assert (await billing.create_checkout(given)).url == "u"
    [(_, _, headers, body)] = canned.asked
    assert json.loads(body) == {"email": "a@example.com", "priceId": sent, "userMeta": {"userId": "a"}}
    key = headers["Idempotency-Key"]
    assert (len(key), key[14], key[19] in "89ab") == (36, "4", True)
