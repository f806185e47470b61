"""No secret on any way out: every public call through every way it can end, searched for canaries.

Searched is everything that a log, an error reporter or a crash dump would keep: tracebacks with local variables, the
whole chain of causes, `repr`, `str`, attributes, pickles, log records of all levels (asyncio's and aiohttp's too), and
what hooks are told.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import inspect
import json
import logging
import pickle
import pkgutil
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

import montra_async
import montra_sync
import montra_sync.paywall
from montra_async import CallEvent, MontraError
from montra_async.core.errors import chain_of
from montra_async.paywall import AuthClient, AuthSession, AuthUser, MemorySessionStorage, PaywallError

CANARY = "canary"
API_KEY = f"sk_test_{CANARY}MontraKey"
SERVER_KEY = f"sk_{CANARY}PaywallKey"
ACCESS = f"{CANARY}AccessToken.eyJ"
REFRESH = f"{CANARY}RefreshToken"
PASSWORD = f"{CANARY}Password1"
CODE = f"{CANARY}Code"
NEW_ACCESS = f"{CANARY}NewAccessToken"


class Hidden(dict[str, Any]):
    """Arguments that the frames of the test itself do not show."""

    def __repr__(self) -> str:
        return "<hidden>"


SECRET_ARGUMENTS = Hidden(password=PASSWORD, token=CODE, code=CODE, code_verifier=CODE, captcha_token=CODE)
ARGUMENTS: dict[str, Any] = {
    "amount": 5,
    "amount_due": 5,
    "interval": "daily",
    "points": 3,
    "scheduled_for": datetime.now(timezone.utc) + timedelta(days=3),
    "price_type": "one_time",
    "duration": "once",
    "percent_off": 5,
    "file": b"content",
    "items": [{"name": "A", "email": "a@example.com"}, {"customer_id": "x1", "meter_slug": "x1"}],
    "email": "a@example.com",
    "url": "https://example.com/hook",
    "body": {"model": "m"},
    "limit": 5,
    "offset": 0,
    "type": "queries",
    "provider": "google",
    "name": "n",
}
PLAIN = {"with_options", "for_user", "set_identity", "with_storage", "aclose", "close", "metered"}
"""What makes no call of its own; `metered` is a debit."""


def calls_of(client: type) -> list[str]:
    return [
        name
        for name, member in inspect.getmembers(client, callable)
        if not name.startswith("_") and name not in PLAIN and name != "webhooks"
    ]


def arguments_of(method: Callable[..., Any]) -> Hidden:
    """Something for every required parameter, and for every secret one."""
    found = Hidden()
    for name, parameter in inspect.signature(method).parameters.items():
        if name in SECRET_ARGUMENTS and "percent_off" not in inspect.signature(method).parameters:
            found[name] = SECRET_ARGUMENTS[name]
        elif parameter.default is inspect.Parameter.empty or name in ("amount", "percent_off"):
            found[name] = ARGUMENTS.get(name, "x1")
    return found


@attrs.define
class Malicious:
    """A server that answers with everything it was told."""

    url: str = ""
    way: str = "echo 200"
    requests: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests += 1
                body = await self._body(reader, head)
                if not await self._answer(writer, head, body):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _body(self, reader: asyncio.StreamReader, head: str) -> str:
        lowered = head.lower()
        if "transfer-encoding: chunked" in lowered:
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            return body.decode("utf-8", "replace")
        _, found, rest = lowered.partition("content-length: ")
        return (await reader.readexactly(int(rest.split("\r\n")[0]))).decode() if found else ""

    async def _answer(self, writer: asyncio.StreamWriter, head: str, body: str) -> bool:
        kind, _, detail = self.way.partition(" ")
        if kind == "silence":
            await asyncio.sleep(60)
        if kind == "drop":
            return False
        told = {name: value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:] if line)}
        if kind == "garbage":
            writer.write(f"{head}{body}\r\n\r\n".encode())
            await writer.drain()
            return False
        key = told.get("Authorization") or told.get("X-Api-Key") or "none"
        token: dict[str, Any] = {}
        if "/auth/" in head.split("\r\n")[0]:  # the others have no token to give
            token = {
                "access_token": NEW_ACCESS,
                "refresh_token": REFRESH,
                "user": {"password": PASSWORD, "token": CODE},
            }
        everything = json.dumps(
            {
                "success": detail == "200",
                "code": key,
                "message": f"you sent {told} {body}",
                "error": {"code": key, "message": f"{told} {body}", "details": {key: [key, {key: told}], "t": token}},
                "data": {"id": [key], "session": token},
                "session": token,
                **token,
            }
        )
        if kind == "truncated":
            everything = everything[: len(everything) * 2 // 3]
        if kind == "cut":
            writer.write(f"HTTP/1.1 {detail} OK\r\nContent-Length: 99999\r\n\r\n{everything}".encode())
            await writer.drain()
            return False
        headers = [
            f"HTTP/1.1 {detail} {key}",
            "Content-Type: application/json",
            f"x-request-id: {key}",
            f"X-Echo: {key}",
            f"Location: https://{key.split()[-1]}.example.com/",
            f"Content-Length: {len(everything)}",
        ]
        writer.write(("\r\n".join(headers) + "\r\n\r\n" + everything).encode())
        await writer.drain()
        return True


@pytest.fixture
async def server() -> AsyncIterator[Malicious]:
    made = Malicious()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(made.serve(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, limit=2**20)
    made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield made
    listener.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@attrs.define
class Watch:
    """What a log, hooks and error reporters were told."""

    said: list[str] = attrs.field(factory=list[str], repr=False)

    def hook(self, event: CallEvent) -> None:
        self.said.append(repr(event))
        if event.error is not None:
            self.error(event.error)

    def error(self, error: BaseException) -> None:
        for one in chain_of(error):
            self.said += traceback.TracebackException.from_exception(one, capture_locals=True).format()
            self.said += [repr(one), str(one), repr(one.args), repr(getattr(one, "__dict__", {}))]
            if isinstance(one, MontraError):
                self.said.append(pickle.dumps(one, 0).decode("latin-1"))
                self.said.append(json.dumps(getattr(one, "body", None), default=repr))

    def result(self, value: object) -> None:
        self.said.append(repr(value))

    def problems(self) -> list[str]:
        coded = base64.b64encode(CANARY.encode()).decode().rstrip("=")[:6]
        return [text[:2000] for text in self.said if CANARY in text or coded in text]


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
    """Fails the test when anything was said that holds a canary."""
    caplog.set_level(logging.DEBUG)
    made = Watch()
    yield made
    made.said += [f"{record.getMessage()} {record.args!r} {record.exc_text or ''}" for record in caplog.records]
    for record in caplog.records:
        if record.exc_info and record.exc_info[1] is not None:
            made.error(record.exc_info[1])
    problems = made.problems()
    assert not problems, f"{len(problems)} leaks, the first:\n{problems[0]}"


def clients(server: Malicious, watch: Watch, kinds: Any = montra_async, **settings: Any) -> list[Any]:
    """A client of each kind; `kinds` is the package that they come from."""
    paywall = importlib.import_module(f"{kinds.__name__}.paywall")
    told = {"on_request": watch.hook, "on_response": watch.hook, "on_retry": watch.hook, "max_attempts": 2, **settings}
    auth = paywall.AuthClient("pw", server.url, storage=MemorySessionStorage(), **told)
    billing = paywall.BillingClient("pw", server.url, SERVER_KEY, **told)
    named = {"email": "a@example.com", "user_id": "u1"}
    return [
        kinds.Montra(API_KEY, server.url, **told),
        billing.for_user(**named, auth=auth),
        billing.for_user(**named),
        auth,
        paywall.ApiGatewayClient("pw", server.url, auth=auth, **told),
    ]


async def signed_in(client: Any) -> None:
    """A session whose token is good for an hour."""
    behind = getattr(client, "_async", client)
    auth = behind if isinstance(behind, AuthClient) else getattr(behind, "_auth", None)
    if auth is not None:
        until = datetime.now(timezone.utc) + timedelta(hours=1)
        user = AuthUser(id="user_1", email="a@example.com")
        session = AuthSession(access_token=ACCESS, refresh_token=REFRESH, expires_at=until, user=user)
        for _ in range(100):  # a busy machine may take longer than a client's time-out
            with contextlib.suppress(PaywallError):
                await auth._store_session(session)
                return
        raise AssertionError("the session is never stored")


async def made(client: Any, name: str) -> Any:
    """Make a call; read what it gives."""
    method = getattr(client, name)
    if hasattr(client, "_async"):
        return await asyncio.to_thread(made_in_thread, method)
    found = method(**arguments_of(method))
    if inspect.isasyncgen(found):
        return [one async for one in found]
    found = await found
    if hasattr(found, "read"):
        async with found as answer:
            return await answer.read()
    return found


def made_in_thread(method: Callable[..., Any]) -> Any:
    found = method(**arguments_of(method))
    if inspect.isgenerator(found):
        return list(found)
    if hasattr(found, "read"):
        with found as answer:
            return answer.read()
    return found


async def ended(watch: Watch, call: Any) -> None:
    """Wait for a call, and tell the watch how it ended."""
    try:
        watch.result(_redacted(await call))
    except asyncio.CancelledError as error:
        watch.error(error)
    except Exception as error:
        watch.error(error)


def _redacted(value: object) -> object:
    """An access token and the bytes of an answer are what the caller asked for."""
    return None if isinstance(value, (str, bytes, dict)) else value


@pytest.fixture(autouse=True)
def _bulk_calls_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("montra_async.core.bulk_calls._MAX_ROUNDS", 0)


async def with_headers(client: Any, method: Any) -> Any:
    """A call with its response. What it returned is what the caller asked for; the headers echo the request."""
    response = await client.with_raw_response(method, **arguments_of(method))
    return attrs.evolve(response, data=_redacted(response.data))


@pytest.mark.parametrize("way", ["echo 200", "echo 400", "echo 401", "echo 503", "garbage"])
async def test_every_answer_with_its_headers(server: Malicious, watch: Watch, way: str) -> None:
    server.way = way
    for client in clients(server, watch, timeout=5, max_attempts=1):
        for name in calls_of(type(client)):
            method = getattr(client, name)
            if inspect.iscoroutinefunction(method) and name != "with_raw_response":
                await signed_in(client)
                await ended(watch, with_headers(client, method))
        await client.aclose()


ANSWERS = (
    *(f"echo {status}" for status in (200, 204, 302, 400, 401, 402, 403, 404, 409, 422, 429, 500, 503)),
    "truncated 200",
    "truncated 400",
    "cut 200",
    "cut 500",
    "drop",
    "garbage",
)


@pytest.mark.parametrize("way", ANSWERS)
async def test_every_answer(server: Malicious, watch: Watch, way: str) -> None:
    server.way = way
    for client in clients(server, watch, timeout=5):
        transport = client._transport
        transport._jitter = lambda: 0.0
        for name in calls_of(type(client)):
            await signed_in(client)
            await ended(watch, made(client, name))
            watch.result(client)
        await client.aclose()


@pytest.mark.parametrize(
    "way", ["echo 200", "echo 400", "echo 401", "echo 402", "echo 503", "truncated 400", "cut 200", "drop", "garbage"]
)
async def test_every_answer_to_a_synchronous_call(server: Malicious, watch: Watch, way: str) -> None:
    server.way = way
    for client in clients(server, watch, montra_sync, timeout=5, max_attempts=1):
        for name in calls_of(type(client)):
            await signed_in(client)
            await ended(watch, made(client, name))
            watch.result(client)
        await asyncio.to_thread(client.close)


async def test_every_time_out_of_a_synchronous_call(server: Malicious, watch: Watch) -> None:
    server.way = "silence"
    for client in clients(server, watch, montra_sync, timeout=0.02):
        for name in calls_of(type(client)):
            if not isinstance(client, montra_sync.paywall.ApiGatewayClient):  # it waits as long as it takes
                await signed_in(client)
                await ended(watch, made(client, name))


def everything(server: Malicious, watch: Watch, **settings: Any) -> list[tuple[Any, str]]:
    return [(client, name) for client in clients(server, watch, **settings) for name in calls_of(type(client))]


async def test_every_time_out(server: Malicious, watch: Watch) -> None:
    server.way = "silence"
    for client, name in everything(server, watch, timeout=0.02):
        await signed_in(client)
        await ended(watch, asyncio.wait_for(made(client, name), 0.2))


async def test_time_outs_and_cancellations_of_the_users_own(server: Malicious, watch: Watch) -> None:
    server.way = "silence"
    for client, name in everything(server, watch):
        await signed_in(client)
        await ended(watch, asyncio.wait_for(made(client, name), 0.01))
        task = asyncio.ensure_future(made(client, name))
        await asyncio.sleep(0.005)
        task.cancel()
        await ended(watch, task)


async def test_every_closing(server: Malicious, watch: Watch) -> None:
    server.way = "silence"
    for client, name in everything(server, watch):
        await signed_in(client)
        task = asyncio.ensure_future(made(client, name))
        await asyncio.sleep(0.005)
        await client.aclose()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(ended(watch, task)), 5)


async def test_hooks_that_raise(server: Malicious, watch: Watch) -> None:
    def broken(_: CallEvent) -> None:
        raise KeyError("mine")

    server.way = "echo 500"
    for client, name in everything(server, watch, on_response=broken, max_attempts=1):
        await signed_in(client)
        await ended(watch, made(client, name))


@pytest.mark.parametrize(
    "steps", [range(0, 60, 7), pytest.param(range(200), marks=pytest.mark.hostile)], ids=["some", "all"]
)
async def test_a_cancellation_at_any_step(server: Malicious, watch: Watch, steps: range) -> None:
    server.way = "echo 503"
    for client, name in everything(server, watch):
        for step in steps:
            await signed_in(client)
            task = asyncio.ensure_future(made(client, name))
            for _ in range(step):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            await ended(watch, task)
        else:
            continue
        await ended(watch, task)


async def test_debugging_of_asyncio(server: Malicious, watch: Watch) -> None:
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0.0
    server.way = "echo 401"
    for client, name in everything(server, watch):
        await signed_in(client)
        await ended(watch, made(client, name))


@pytest.mark.parametrize("address", ["http://user:{}@127.0.0.1:1", "http://{}:x@127.0.0.1:1"])
async def test_a_proxy_that_refuses(server: Malicious, watch: Watch, address: str) -> None:
    for client, name in everything(server, watch, proxy=Hidden(url=address.format(PASSWORD))["url"], max_attempts=1):
        await signed_in(client)
        await ended(watch, made(client, name))


def may_refuse(kind: type) -> bool:
    """Its constructor checks what it is given."""
    fields = getattr(kind, "__attrs_attrs__", None)
    if fields is None:
        return not issubclass(kind, BaseException) and "__init__" in vars(kind) and not inspect.isabstract(kind)
    return hasattr(kind, "__attrs_post_init__") or any(field.validator for field in fields)


def kinds_of_ours() -> list[type]:
    """The classes whose constructors check what they are given."""
    modules = pkgutil.walk_packages(montra_async.__path__, "montra_async.")
    named = [vars(importlib.import_module(module.name)).values() for module in modules]
    found = {one for values in named for one in values if issubclass(type(one), type)}
    return sorted((one for one in found if one.__module__.startswith("montra_async") and may_refuse(one)), key=repr)


@pytest.mark.parametrize("kind", kinds_of_ours(), ids=lambda kind: kind.__name__)
def test_a_half_built_object_can_be_shown(kind: type) -> None:
    """As an error reporter does that finds it in a frame, after an argument of its was refused."""
    assert isinstance(repr(object.__new__(kind)), str)


def test_there_are_objects_that_refuse() -> None:
    assert len(kinds_of_ours()) > 10
