"""`sandbox.webhooks.to`: deliveries into applications of this process, and to URLs, with a fixed secret."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent import futures
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from flask import Flask

import montra_sync
from montra_async import Montra
from montra_async.paywall import BillingClient
from montra_sandbox import DEFAULT_WEBHOOK_SECRET, Problem, Sandbox
from montra_sandbox.app_targets import AppTarget
from montra_sync.frameworks.flask import webhook_blueprint
from montra_sync.webhooks import CustomerCreated, MemoryStore, WebhookReceiver


class Wsgi:
    """A WSGI application that keeps what it got."""

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status
        self.got: list[dict[str, Any]] = []
        self.threads: list[threading.Thread] = []
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        signature = environ.get("HTTP_MONTRA_SIGNATURE") or environ.get("HTTP_X_SIGNATURE")
        assert signature == hmac.new(DEFAULT_WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert (environ["REQUEST_METHOD"], environ["CONTENT_TYPE"]) == ("POST", "application/json")
        self.threads.append(threading.current_thread())
        self.got.append({"path": environ["PATH_INFO"], "query": environ["QUERY_STRING"], **json.loads(body)})
        start_response(self.status, [("Content-Type", "text/plain")])
        return self._answer()

    def _answer(self) -> Iterable[bytes]:
        try:
            yield b"thank "
            yield b"you"
        finally:
            self.closed += 1


class Asgi:
    """An ASGI application that keeps what it got."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.loops: list[asyncio.AbstractEventLoop] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        headers = dict(scope["headers"])
        signature = hmac.new(DEFAULT_WEBHOOK_SECRET.encode(), message["body"], hashlib.sha256).hexdigest()
        assert headers[b"montra-signature"].decode() == signature
        self.got.append(f"{scope['path']}?{scope['query_string'].decode()} {json.loads(message['body'])['type']}")
        self.loops.append(asyncio.get_running_loop())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        assert (await receive())["type"] in ("http.disconnect", "http.request")  # httpx sends its body again


def test_a_wsgi_application_has_the_webhooks_when_a_control_returns() -> None:
    app = Wsgi()
    with Sandbox() as sandbox:
        sandbox.webhooks.to(app, path="hooks?tenant=1")
        sandbox.trigger("checkout.completed", email="ada@example.com")
        types = [one["type"] for one in app.got]
        assert types[-1] == "checkout.completed"
        assert {(one["path"], one["query"]) for one in app.got} == {("/hooks", "tenant=1")}
        assert set(app.threads) == {threading.current_thread()}
        assert app.closed == len(app.got)
        newest = sandbox.webhooks.deliveries()[0]
        assert (newest["status"], newest["last_status"], newest["response_body"]) == ("succeeded", 200, "thank you")
        sandbox.webhooks.settle()
        assert [one["type"] for one in app.got] == types


async def test_an_asgi_application_gets_them_on_the_event_loop_of_the_test() -> None:
    app = Asgi()
    async with Sandbox() as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
        sandbox.webhooks.to(app)
        await montra.create_customer(name="Ada", email="ada@example.com")
        assert app.got == []
        await sandbox.settle()
        assert app.got == ["/webhooks/montra? customer.created"]
        assert app.loops == [asyncio.get_running_loop()]


def test_an_asgi_application_in_synchronous_code() -> None:
    app = Asgi()
    with Sandbox() as sandbox:
        sandbox.webhooks.to(app, events=["customer.updated"])
        sandbox.trigger("customer.created")
        sandbox.trigger("customer.updated")
        assert app.got == ["/webhooks/montra? customer.updated"]


async def test_a_wsgi_application_in_a_coroutine_runs_in_a_thread() -> None:
    app = Wsgi()
    async with Sandbox() as sandbox:
        sandbox.webhooks.to(app)
        sandbox.trigger("customer.created")
        await sandbox.webhooks.settle()
        assert [one["type"] for one in app.got] == ["customer.created"]
        assert threading.current_thread() not in app.threads


async def test_both_services() -> None:
    app = Wsgi()
    async with Sandbox() as sandbox, BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
        endpoint = sandbox.webhooks.to(app, service=None)
        assert {one["service"] for one in sandbox.webhooks.endpoints()} == {"montra", "paywall"}
        checkout = await billing.for_user(email="ada@example.com").create_checkout(101)
        sandbox.pay(checkout)
        sandbox.trigger("customer.created")
        await sandbox.settle()
        assert [one["type"] for one in app.got] == ["subscription.created", "payment.completed", "customer.created"]
        sandbox.webhooks.remove(endpoint)
        sandbox.webhooks.remove(sandbox.paywall_id)
        sandbox.trigger("customer.created")
        await sandbox.settle()
        assert len(app.got) == 3
        for gone in (endpoint, sandbox.paywall_id):
            with pytest.raises(Problem, match="no webhook endpoint"):
                sandbox.webhooks.remove(gone)


def test_the_same_application_gets_nothing_twice() -> None:
    app = Wsgi()
    with Sandbox() as sandbox:
        sandbox.webhooks.to(app)
        sandbox.webhooks.to(app)
        sandbox.webhooks.to(app, path="/another")
        sandbox.trigger("customer.created")
        assert sorted(one["path"] for one in app.got) == ["/another", "/webhooks/montra"]


def test_an_asgi_application_keeps_its_event_loop_between_deliveries() -> None:
    """And what it begins in the background goes on."""
    app, ended = Asgi(), threading.Event()

    async def end() -> None:
        await asyncio.sleep(0.05)
        ended.set()

    async def begins(scope: Any, receive: Any, send: Any) -> None:
        app.tasks = [*getattr(app, "tasks", []), asyncio.ensure_future(end())]  # type: ignore[attr-defined]
        await app(scope, receive, send)

    with Sandbox() as sandbox:
        sandbox.webhooks.to(begins)
        sandbox.trigger("customer.created")
        sandbox.trigger("customer.created")
        assert ended.wait(30)
        assert (len(app.loops), len(set(app.loops))) == (2, 1)
    assert [one.name for one in threading.enumerate() if one.name == "montra-sandbox-app"] == []


def test_threads_of_applications_end_whatever_comes_between() -> None:
    """Endpoints are replaced, restored and reset in six threads at once; with reproducible ids they share names."""
    app = Asgi()
    with Sandbox(id_seed=3) as sandbox:
        sandbox.snapshot("empty")

        def work(seed: int) -> None:
            rng = random.Random(seed)
            acts = (
                lambda: sandbox.webhooks.to(app),
                lambda: sandbox.trigger("customer.created"),
                sandbox.settle,
                lambda: sandbox.restore("empty"),
                sandbox.reset,
            )
            for _ in range(40):
                with suppress(Problem):
                    rng.choice(acts)()

        with futures.ThreadPoolExecutor(6) as threads:
            for done in [threads.submit(work, seed) for seed in range(6)]:
                done.result(60)
    assert [one.name for one in threading.enumerate() if one.name.startswith("montra-sandbox")] == []


async def test_an_application_may_settle_while_it_handles_a_webhook() -> None:
    got: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append(json.loads((await receive())["body"])["type"])
        await sandbox.settle()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with Sandbox() as sandbox:
        sandbox.webhooks.to(app)
        sandbox.trigger("customer.created")
        await asyncio.wait_for(sandbox.settle(), 30)
        assert got == ["customer.created"]


@pytest.mark.parametrize("in_coroutine", [False, True])
async def test_an_application_that_never_responds(in_coroutine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("montra_sandbox.app_targets._APP_TIMEOUT", 0.1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(600)

    async with Sandbox() as sandbox:
        sandbox.webhooks.to(app)
        if in_coroutine:
            sandbox.trigger("customer.created")
            await sandbox.settle()
        else:
            await asyncio.to_thread(sandbox.trigger, "customer.created")
        assert sandbox.deliveries()[0]["last_error"] == "no response within 0.1 s"


def test_synchronous_code_above_a_running_event_loop() -> None:
    """The synchronous API of Playwright runs its event loop beneath a test, which is no coroutine."""
    app, done = Asgi(), []

    def test() -> None:
        with Sandbox() as sandbox:
            sandbox.webhooks.to(app)
            sandbox.trigger("customer.created")
            done.append(len(app.got))

    loop = asyncio.new_event_loop()
    loop.call_soon(test)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert done == [1]


def _flask_client() -> Any:
    from flask import Flask, request

    app = Flask(__name__)
    got: list[str] = []

    @app.post("/hooks")
    def hooks() -> str:
        got.append(f"{request.get_json()['type']} {len(request.headers['Montra-Signature'])}")
        return "thank you"

    return app.test_client(), got


def _fastapi_client() -> Any:
    from fastapi import FastAPI, Header
    from fastapi.testclient import TestClient

    app = FastAPI()
    got: list[str] = []

    @app.post("/hooks")
    async def hooks(event: dict[str, Any], montra_signature: str = Header()) -> str:
        got.append(f"{event['type']} {len(montra_signature)}")
        return "thank you"

    return TestClient(app), got


@pytest.mark.parametrize("make", [_flask_client, _fastapi_client])
def test_test_clients(make: Callable[[], Any]) -> None:
    client, got = make()
    with Sandbox() as sandbox:
        sandbox.webhooks.to(client, path="/hooks")
        sandbox.trigger("customer.created")
        assert got == ["customer.created 64"]
        assert "thank you" in sandbox.deliveries()[0]["response_body"]


async def test_an_asynchronous_client() -> None:
    import httpx

    app = Asgi()
    async with Sandbox() as sandbox:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            sandbox.webhooks.to(client)
            sandbox.trigger("customer.created")
            await sandbox.settle()
            assert app.got == ["/webhooks/montra? customer.created"]
            with pytest.raises(TypeError, match="has to be awaited"):
                await asyncio.to_thread(sandbox.trigger, "customer.created")


def test_a_refusal_is_logged_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    app = Wsgi("400 Bad Request")
    with Sandbox(frozen=True) as sandbox:  # only `advance` lets it be tried again
        sandbox.webhooks.to(app)
        sandbox.trigger("customer.created")
        assert "the application refused customer.created: 400 thank you" in caplog.text
        assert [one["status"] for one in sandbox.deliveries()] == ["pending"]
        app.status = "200 OK"
        sandbox.advance(seconds=2)
        assert [(one["status"], one["attempts"]) for one in sandbox.deliveries()] == [("succeeded", 2)]


def test_webhooks_of_a_leap_in_time_are_sent_at_its_end_with_one_attempt(caplog: pytest.LogCaptureFixture) -> None:
    app = Wsgi("500 Internal Server Error")
    with Sandbox() as sandbox, montra_sync.Montra(sandbox.api_key, sandbox.base_url) as montra:
        sandbox.freeze("2030-01-01T00:00:00Z")
        plan = montra.create_pricing_model(name="Pro")
        montra.create_product(plan.id, name="Pro", price_type="recurring", amount=20)
        montra.create_customer_with_subscription(plan.id, name="Ada", email="ada@example.com")
        sandbox.webhooks.to(app, events=["invoice.created"])
        sandbox.advance(days=100)
        assert [one["created_at"][:10] for one in app.got] == ["2030-02-01", "2030-03-01", "2030-04-01"]
        assert [(one["status"], one["attempts"]) for one in sandbox.deliveries()] == [("pending", 1)] * 3
        app.status = "200 OK"
        sandbox.advance(days=1)
        assert [(one["status"], one["attempts"]) for one in sandbox.deliveries()] == [("succeeded", 2)] * 3
        assert len(app.got) == 6


@pytest.mark.parametrize("is_asgi", [False, True])
def test_what_an_application_raises_is_raised_in_the_test(is_asgi: bool) -> None:
    def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise ZeroDivisionError("in the handler")

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("in the handler")

    with Sandbox() as sandbox:
        sandbox.webhooks.to(asgi if is_asgi else wsgi)
        with pytest.raises(ZeroDivisionError, match="in the handler"):
            sandbox.trigger("customer.created")
        [delivery] = sandbox.deliveries()
        assert (delivery["status"], delivery["last_error"]) == ("pending", "ZeroDivisionError in the application")


def test_a_route_that_there_is_not_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox() as sandbox:
        sandbox.webhooks.to(Wsgi("404 Not Found"), path="/hooks")
        sandbox.trigger("customer.created")
    assert "404, it has no POST /hooks; `webhooks.to(app, path=...)` names its route" in caplog.text


@pytest.mark.parametrize("is_asgi", [False, True])
def test_an_answer_without_end_is_cut_off(is_asgi: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("montra_sandbox.app_targets._APP_TIMEOUT", 0.2)

    def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])(b"x" * 10_000)
        return (b"x" * 100_000 for _ in range(50))

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await asyncio.sleep(0)

    with Sandbox() as sandbox:
        sandbox.webhooks.to(asgi if is_asgi else wsgi)
        tracemalloc.start()
        try:
            sandbox.trigger("customer.created")
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
        [delivery] = sandbox.deliveries()
        assert delivery["response_body"] == (None if is_asgi else "x" * 2048)


def test_an_application_that_does_not_respond() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    with Sandbox() as sandbox:
        sandbox.webhooks.to(silent)
        sandbox.trigger("customer.created")
        assert sandbox.deliveries()[0]["last_error"] == "the application did not respond"


def test_an_application_may_use_the_sandbox_while_it_handles_a_webhook() -> None:
    """Each delivery is made once, although the control inside settles, too."""
    with Sandbox() as sandbox:
        got: list[str] = []

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            got.append(json.load(environ["wsgi.input"])["type"])
            if got == ["customer.created"]:
                sandbox.trigger("customer.updated")
            start_response("200 OK", [])
            return []

        sandbox.webhooks.to(app, events=["customer.created", "customer.updated"])
        sandbox.trigger("customer.created")
        assert got.count("customer.updated") == 1
        assert {one["status"] for one in sandbox.deliveries()} == {"succeeded"}


def test_ctrl_c_in_an_application_loses_no_delivery() -> None:
    def interrupted(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise KeyboardInterrupt

    app = Wsgi()
    with Sandbox() as sandbox:
        endpoint = sandbox.webhooks.to(interrupted)
        with pytest.raises(KeyboardInterrupt):
            sandbox.trigger("customer.created")
        sandbox._apps.register([endpoint], AppTarget(app))
        sandbox.settle()
        assert [one["type"] for one in app.got] == ["customer.created"]


def test_webhooks_that_cause_webhooks_without_end_are_stopped() -> None:
    with Sandbox() as sandbox, montra_sync.Montra(sandbox.api_key, sandbox.base_url) as montra:
        numbers = iter(range(10_000))

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            montra.create_customer(name="A", email=f"{next(numbers)}@example.com")
            start_response("200 OK", [])
            return []

        sandbox.webhooks.to(app)
        with pytest.raises(RuntimeError, match="each caused further ones"):
            sandbox.trigger("customer.created")


async def test_a_url_gets_them_in_the_background() -> None:
    got: asyncio.Queue[str] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        signature = hmac.new(b"whsec_of_the_test", body, hashlib.sha256).hexdigest()
        assert request.headers["Montra-Signature"] == signature
        got.put_nowait(json.loads(body)["type"])
        return web.Response(text="x" * 5_000)

    app = web.Application()
    app.router.add_post("/hooks", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Sandbox(webhook_secret="whsec_of_the_test") as sandbox:
            assert sandbox.webhooks.secret == "whsec_of_the_test"
            sandbox.webhooks.to(f"http://127.0.0.1:{runner.addresses[0][1]}/hooks")
            sandbox.trigger("customer.created")
            assert await asyncio.wait_for(got.get(), 30) == "customer.created"
            await sandbox.settle()
            [delivery] = sandbox.deliveries()
            assert (delivery["last_status"], len(delivery["response_body"])) == (200, 2048)
            assert delivery["duration_ms"] > 0
            json.dumps(sandbox.deliveries())
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (5, TypeError),
        (web.Application(), TypeError),
        ("ftp://127.0.0.1/", Problem),
        ("", Problem),
        ("http://127.0.0.1/" + "x" * 2_000, Problem),
    ],
)
def test_what_is_no_target_is_refused(target: Any, error: type[Exception]) -> None:
    with Sandbox() as sandbox, pytest.raises(error):
        sandbox.webhooks.to(target)


def test_settings_of_an_endpoint_are_checked() -> None:
    with Sandbox() as sandbox:
        for wrong in (
            {"events": "*"},
            {"events": []},
            {"events": ["nope"]},
            {"service": "x"},
            {"secret": ""},
            {"owner": "sk_unknown"},
        ):
            with pytest.raises(Problem):
                sandbox.webhooks.to("http://127.0.0.1:9/", **wrong)
        assert sandbox.webhooks.endpoints() == []
        for i in range(200):
            sandbox.webhooks.to(f"http://127.0.0.1:9/{i}")
        with pytest.raises(Problem, match="200 webhook endpoints"):
            sandbox.webhooks.to("http://127.0.0.1:9/")


def test_a_url_that_is_there_already_gets_nothing_twice() -> None:
    with Sandbox() as sandbox:
        first = sandbox.webhooks.to("http://127.0.0.1:9/", events=["customer.created"])
        assert sandbox.webhooks.to("http://127.0.0.1:9/", secret="another") == first
        [endpoint] = sandbox.webhooks.endpoints()
        assert endpoint["events"] == ["*"]
        sandbox.trigger("customer.created")
        assert len(sandbox.deliveries()) == 1
        assert sandbox.add_webhook_endpoint("http://127.0.0.1:9/", service=None)["created"] == [sandbox.paywall_id]


def test_a_paywall_gets_its_own_webhook_back() -> None:
    with Sandbox() as sandbox:
        sandbox.set_paywall(sandbox.paywall_id, webhook_url="http://127.0.0.1:9/mine", webhook_secret="mine")
        for url in ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b"):
            sandbox.webhooks.to(url, service="paywall")
        sandbox.webhooks.remove(sandbox.paywall_id)
        assert [one["url"] for one in sandbox.webhooks.endpoints()] == ["http://127.0.0.1:9/mine"]
        assert sandbox.paywall(sandbox.paywall_id)["webhook_url"] == "http://127.0.0.1:9/mine"
        sandbox.webhooks.remove(sandbox.paywall_id)
        assert sandbox.webhooks.endpoints() == []


async def test_applications_have_no_address_over_http() -> None:
    async with Sandbox() as sandbox, aiohttp.ClientSession() as http:
        for path, body in (
            ("webhooks", {"url": "app:/x"}),
            ("scenarios/trial_then_paid", {"to": "app:/x"}),
        ):
            async with http.post(f"{sandbox.url}/_sandbox/{path}", json=body) as response:
                assert response.status == 400


def test_an_application_comes_back_with_a_snapshot() -> None:
    app = Wsgi()
    with Sandbox() as sandbox:
        sandbox.webhooks.to(app)
        name = sandbox.snapshot()
        sandbox.reset()
        sandbox.restore(name)
        sandbox.trigger("customer.created")
        assert len(app.got) == 1


def test_settling_waits_for_what_another_thread_delivers() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(environ: Any, start_response: Any) -> Iterable[bytes]:
        begun.set()
        go_on.wait(30)
        start_response("200 OK", [])
        return []

    with Sandbox() as sandbox, futures.ThreadPoolExecutor(2) as threads:
        sandbox.webhooks.to(slow)
        triggering = threads.submit(sandbox.trigger, "customer.created")
        assert begun.wait(30)
        settling = threads.submit(sandbox.settle)
        with pytest.raises(futures.TimeoutError):
            settling.result(0.2)
        go_on.set()
        settling.result(30)
        triggering.result(30)
        assert [one["status"] for one in sandbox.deliveries()] == ["succeeded"]


async def test_a_cancelled_settle_leaves_the_server_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox:
        async with raw_receiver(delay=0.3) as url:
            sandbox.webhooks.to(url)
            sandbox.trigger("customer.created")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(sandbox.settle(), 0.05)
            await sandbox.settle()
        assert [one["status"] for one in sandbox.deliveries()] == ["succeeded"]
    assert caplog.text == ""


async def test_urls_that_cause_webhooks_without_end_are_stopped() -> None:
    async with Sandbox() as sandbox, raw_receiver(then=lambda: sandbox.trigger("customer.created")) as url:
        sandbox.webhooks.to(url)
        sandbox.trigger("customer.created")
        with pytest.raises(RuntimeError, match="each caused further ones"):
            await sandbox.settle()
        sandbox.reset()


async def test_an_answer_from_before_a_reset_is_not_taken_for_a_new_delivery() -> None:
    """With reproducible ids, the new delivery has the id of the old one."""
    async with Sandbox(id_seed=1) as sandbox, raw_receiver(delay=0.3) as url:
        sandbox.webhooks.to(url)
        sandbox.trigger("customer.created", email="a@example.com", name="A")
        old = sandbox.deliveries()[0]["id"]
        await asyncio.sleep(0.1)  # it is under way
        sandbox.reset()
        sandbox.webhooks.to("http://127.0.0.1:9/")
        sandbox.trigger("customer.created", email="a@example.com", name="A")
        assert sandbox.deliveries()[0]["id"] == old
        await asyncio.sleep(0.5)  # the old answer has come
        assert sandbox.deliveries()[0]["status"] == "pending"


@asynccontextmanager
async def raw_receiver(delay: float = 0, then: Callable[[], object] = lambda: None) -> AsyncIterator[str]:
    """The URL of a receiver that answers after a while."""

    async def receive(_: web.Request) -> web.Response:
        await asyncio.sleep(delay)
        then()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def test_a_reset_forgets_applications() -> None:
    app = Wsgi()
    with Sandbox() as sandbox:
        sandbox.webhooks.to(app)
        sandbox.reset()
        sandbox.trigger("customer.created")
        assert app.got == []
        assert sandbox.webhooks.events(type="customer.created")[0]["deliveries"] == 0


def test_applications_of_an_earlier_process_are_gone(tmp_path: Any) -> None:
    file = str(tmp_path / "state.db")
    with Sandbox(db=file) as sandbox:
        sandbox.webhooks.to(Wsgi(), service=None)
        sandbox.webhooks.to("http://127.0.0.1:9/")
    with Sandbox(db=file) as sandbox:
        assert [one["url"] for one in sandbox.webhooks.endpoints()] == ["http://127.0.0.1:9/"]


def test_an_event_is_sent_again_to_the_endpoints_of_now() -> None:
    app = Wsgi()
    with Sandbox() as sandbox:
        sandbox.trigger("customer.created")
        sandbox.trigger("payment.completed")
        sandbox.webhooks.to(app, service=None)
        payment = sandbox.webhooks.events(type="payment.completed")[0]
        customer = sandbox.webhooks.events(type="customer.created")[0]
        assert [one["event_type"] for one in sandbox.replay_event(customer["id"])] == ["customer.created"]
        assert len(sandbox.replay_event(payment["id"])) == 1
        assert [one["id"] for one in app.got] == [customer["id"], payment["id"]]
        assert [one["status"] for one in sandbox.event(customer["id"])["deliveries"]] == ["succeeded"]
        sandbox.replay(sandbox.deliveries()[0]["id"])
        assert len(app.got) == 3
        for control in (sandbox.event, sandbox.replay_event):
            with pytest.raises(Problem, match="no event"):
                control("evt_unknown")
        with pytest.raises(Problem, match="limit"):
            sandbox.events(limit=0)
        older = sandbox.events(before=payment["id"])
        assert payment["id"] not in [one["id"] for one in older]


def test_what_a_handler_of_a_receiver_raises_is_a_delivery_that_failed() -> None:
    broken = True
    with Sandbox() as sandbox:
        receiver = WebhookReceiver(sandbox.webhook_secret, store=MemoryStore())
        app = Flask(__name__)
        app.testing = True
        app.register_blueprint(webhook_blueprint("/webhooks/montra", receiver))

        @receiver.on(CustomerCreated)
        def handle(event: CustomerCreated) -> None:
            if broken:
                raise ValueError("of the handler")

        sandbox.webhooks.to(app)
        sandbox.trigger("customer.created")
        assert [one["status"] for one in sandbox.deliveries()] == ["pending"]  # it comes again
        broken = False
        sandbox.advance(days=1)
        assert [one["status"] for one in sandbox.deliveries()] == ["succeeded"]
