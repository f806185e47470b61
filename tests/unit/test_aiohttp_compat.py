"""What `core/aiohttp_compat.py` depends on: each private attribute is there, and can be missing."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import payload, web
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from montra_async import Montra, NetworkError, RequestTimeoutError, Timeout
from montra_async.core.http import aiohttp_compat as compat
from montra_async.core.http.connector import LazyConnector

from ..scripted import scripted_server

BODY = b'{"success":true,"data":[]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@attrs.frozen
class Live:
    """A session with an open response over a connection in use."""

    session: aiohttp.ClientSession
    response: aiohttp.ClientResponse

    @property
    def connector(self) -> Any:
        return self.session.connector

    @property
    def connection(self) -> Any:
        assert self.response.connection is not None
        return self.response.connection

    @property
    def protocol(self) -> Any:
        return self.connection.protocol


@asynccontextmanager
async def live() -> AsyncIterator[Live]:
    async with scripted_server() as server, aiohttp.ClientSession() as session:
        server.says([ANSWER[:-5], 60.0])
        async with session.get(server.url) as response:
            yield Live(session, response)


def attributes_in(kind: type) -> set[str]:
    """Names of attributes in the source of a class."""
    return {node.attr for node in ast.walk(ast.parse(inspect.getsource(kind))) if isinstance(node, ast.Attribute)}


CANARIES: dict[str, Callable[[Live], bool]] = {
    "_acquired": lambda live: live.protocol in live.connector._acquired,
    "_autoclose": lambda live: payload.BytesPayload(b"")._autoclose is True and hasattr(payload.Payload, "autoclose"),
    "_backends": lambda live: importlib.import_module("anyio._backends._asyncio") is not None,
    "_call_connection_lost": lambda live: callable(live.protocol.transport._call_connection_lost),
    "_cancel_message": lambda live: sys.version_info >= (3, 11) or hasattr(asyncio.current_task(), "_cancel_message"),
    "_closed": lambda live: live.connector._closed is False,
    "_connection": lambda live: isinstance(live.response._connection, Connection),
    "_conns": lambda live: live.connector._conns is not None and callable(live.connector._conns.values),
    "_fut_waiter": lambda live: hasattr(asyncio.current_task(), "_fut_waiter"),
    "_loop": lambda live: live.session._loop is live.connector._loop is asyncio.get_running_loop(),
    "_middlewares": lambda live: live.session._middlewares == (),
    "_must_cancel": lambda live: hasattr(asyncio.current_task(), "_must_cancel"),
    "_protocol": lambda live: live.connection._protocol is live.protocol,
    "_retry_connection": lambda live: live.session._retry_connection is True,
    "_size": lambda live: payload.BytesPayload(b"12345")._size == payload.BytesPayload(b"12345").size == 5,
    "_ssl": lambda live: aiohttp.TCPConnector(ssl=False)._ssl is False,
    "_ssl_protocol": lambda live: "_ssl_protocol" in attributes_in(asyncio.sslproto._SSLProtocolTransport),
    "_traces": lambda live: live.response._traces == [],
    "_transport": lambda live: "_transport" in attributes_in(asyncio.sslproto.SSLProtocol),
    "_value": lambda live: asyncio.Semaphore(3)._value == 3,
    "_waiters": lambda live: not asyncio.Semaphore(3)._waiters,
    # Public by name, but undocumented
    "connect": lambda live: (
        [*inspect.signature(aiohttp.TCPConnector.connect).parameters][1:] == ["req", "traces", "timeout"]
    ),
    "read_timeout": lambda live: isinstance(inspect.getattr_static(ResponseHandler, "read_timeout"), property),
    "start_timeout": lambda live: callable(live.protocol.start_timeout),
    "LazyTimeout": lambda live: isinstance(compat.lazy_timeout(connect=1, read=1), compat.LazyTimeout),
}
"""By name: whether the installed versions have it, as it is used."""

OWN = {"_pieces", "_semaphore", "_asyncio"}
"""Private names in the module that are its own, or the end of `anyio._backends._asyncio`."""


@pytest.mark.parametrize("name", CANARIES)
async def test_the_installed_versions_have_what_is_used(name: str) -> None:
    async with live() as connected:
        assert CANARIES[name](connected), f"{name} is gone or has changed: see what depends on it in aiohttp_compat"


def test_nothing_is_used_without_a_canary() -> None:
    tree = ast.parse(inspect.getsource(compat))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names |= {*node.value.split(".")}
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    private = {name for name in names if name.startswith("_") and not name.startswith("__")}
    assert private - OWN == {name for name in CANARIES if name.startswith("_")}


# Each attribute is missing, in turn


async def test_without_a_switch_a_middleware_keeps_aiohttp_from_sending_twice() -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the first request of all, hang up at the others."""
        nonlocal served
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                served += 1
                if served > 1:
                    break
                writer.write(ANSWER)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession() as session:
        request = compat.request_once(SimpleNamespace(request=session.request), owned=True)  # type: ignore[arg-type]
        await (await request("GET", url)).read()
        with pytest.raises(compat.AttemptFailed) as caught:
            await request("GET", url)
    listener.close()
    assert served == 2
    assert isinstance(compat.original_error(caught.value), aiohttp.ServerDisconnectedError)


async def test_a_session_that_does_not_know_its_loop_is_accepted() -> None:
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session:
        assert compat.belongs_to(session, loop)
        other = asyncio.new_event_loop()
        assert not compat.belongs_to(session, other)
        other.close()
        del session._loop
        assert compat.belongs_to(session, loop)
        session._loop = loop


async def test_a_connector_that_does_not_show_its_ssl_is_trusted() -> None:
    connector = aiohttp.TCPConnector(ssl=False)
    assert not compat.verifies_certificates(connector)
    del connector._ssl
    assert compat.verifies_certificates(connector)
    await connector.close()


async def test_a_response_without_traces_is_told_to_nobody() -> None:
    async with live() as connected:
        del connected.response._traces
        await compat.send_body_to_traces(connected.response, b"")


@pytest.mark.parametrize("name", ["_conns", "_acquired"])
async def test_a_connector_that_keeps_its_connections_elsewhere_is_left_alone(name: str) -> None:
    async with live() as connected:
        connector, kept = connected.connector, getattr(connected.connector, name)
        delattr(connector, name)
        compat.discard_sockets(connected.session)
        assert connected.session.closed
        assert connector.closed
        setattr(connector, name, kept)
        connector._closed = False
        await connector.close()


async def test_sockets_are_closed_without_the_loop() -> None:
    async with live() as connected:
        sock = connected.protocol.transport.get_extra_info("socket")
        compat.discard_sockets(connected.session)
        assert sock.fileno() == -1
        compat.discard_sockets(connected.session)  # safe to call twice


@pytest.mark.parametrize("transport", [object(), None], ids=["other loop", "closed"])
def test_a_transport_of_another_event_loop_is_left_to_garbage_collection(transport: Any) -> None:
    compat._close_socket(attrs.make_class("P", ["transport"])(transport))


async def test_a_response_that_keeps_its_connection_elsewhere_is_left_alone() -> None:
    async with live() as connected:
        connection = connected.response._connection
        del connected.response._connection
        compat.detach_connection(connected.response)
        connected.response._connection = connection


async def test_without_a_subclass_of_its_time_outs_aiohttp_watches_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    @attrs.frozen(slots=True)
    class Slotted(aiohttp.ClientTimeout):
        pass

    monkeypatch.setattr(compat, "LazyTimeout", Slotted)
    assert compat.lazy_timeout(connect=1, read=2) == aiohttp.ClientTimeout(total=None, connect=1, sock_read=2)


@pytest.mark.parametrize("name", ["read_timeout", "start_timeout"])
async def test_without_a_way_to_start_a_read_time_out_the_total_one_holds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bare:
        """A protocol without the attribute; the others are there."""

    protocol = Bare()
    for other in {"read_timeout", "start_timeout"} - {name}:
        setattr(protocol, other, lambda: pytest.fail("half of it"))
    compat.start_read_timeout(None, protocol, 1.0)  # type: ignore[arg-type]

    async with scripted_server() as server:
        server.says([60.0])
        monkeypatch.setattr(aiohttp.TCPConnector, "connect", aiohttp.BaseConnector.connect)
        monkeypatch.setattr("montra_async.core.http.connector.start_read_timeout", lambda *_: None)
        timeout = Timeout(total=0.3, read=0.05)
        async with Montra("sk_test_x", server.url, timeout=timeout, max_attempts=1) as client:
            with pytest.raises(RequestTimeoutError) as caught:
                await client.list_customers()
    assert caught.value.phase == "total"


async def test_aiohttp_calls_connect_for_every_request() -> None:
    async with scripted_server() as server:
        server.says([ANSWER])
        async with Montra("sk_test_x", server.url, timeout=Timeout(read=600)) as client:
            await client.list_customers()
            connector = (await client._transport._sessions.get_or_open()).client_session.connector
            assert isinstance(connector, LazyConnector)
            assert len(connector.unwatched) == 1


async def test_a_payload_of_aiohttp_with_other_attributes_still_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `_size` the length is unknown, and the body goes in chunks."""
    monkeypatch.setattr(compat.StreamedPayload, "size", None)
    monkeypatch.delattr(compat.StreamedPayload, "_autoclose")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"123"
        yield b"45"

    got: list[bytes] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        got.append(await request.read())
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    body = compat.StreamedPayload(pieces, size=5, content_type="text/plain")  # type: ignore[arg-type]
    async with aiohttp.ClientSession() as session, session.post(url, data=body):
        pass
    await runner.cleanup()
    assert got == [b"12345"]


class OldTask:
    """A task of Python 3.10 that is not being cancelled."""

    def __init__(self) -> None:
        self.cancellations: list[Any] = []

    def cancelled(self) -> bool:
        return False

    def cancel(self, message: Any = None) -> None:
        self.cancellations.append(message)


def test_a_task_without_private_attributes_is_cancelled_all_the_same() -> None:
    task = OldTask()
    assert compat.cancel_with_mark(task, "mark")
    assert task.cancellations == ["mark"]
    assert compat.take_mark(task, "mark")


@pytest.mark.parametrize(("message", "ours"), [("mark", True), ("another", False), (None, False)])
def test_whose_cancellation_it_was_is_told_by_its_message(message: Any, ours: bool) -> None:
    task: Any = OldTask()
    task._cancel_message = None
    assert compat.cancel_with_mark(task, "mark")
    task._cancel_message = message  # by the last who cancelled
    assert compat.take_mark(task, "mark") is ours
    assert task._cancel_message is None


@pytest.mark.parametrize("name", ["_must_cancel", "_fut_waiter"])
def test_a_task_that_is_being_cancelled_is_not_cancelled_again(name: str) -> None:
    task: Any = OldTask()
    waiter = OldTask()
    waiter.cancelled = lambda: True  # type: ignore[method-assign]
    setattr(task, name, True if name == "_must_cancel" else waiter)
    assert not compat.cancel_with_mark(task, "mark")
    assert task.cancellations == []


def test_another_place_of_anyios_backend_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(compat.importlib, "import_module", gone)
    compat.import_anyio_backend()


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ((3, 10, 0), compat.AnyioSemaphore),
        ((3, 10, 7), compat.AnyioSemaphore),
        ((3, 10, 8), asyncio.Semaphore),
        ((3, 13, 0), asyncio.Semaphore),
    ],
)
async def test_a_semaphore_that_is_right_is_chosen(
    version: tuple[int, int, int], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    assert type(compat.new_semaphore(1)) is kind


async def test_a_free_place_is_acquired_at_once_and_not_before_a_waiter() -> None:
    semaphore = asyncio.Semaphore(2)
    assert compat.try_acquire(semaphore)
    assert compat.try_acquire(semaphore)
    assert not compat.try_acquire(semaphore)
    waiter = asyncio.create_task(semaphore.acquire())
    await asyncio.sleep(0)
    semaphore.release()
    assert not compat.try_acquire(semaphore), "the place belongs to the waiter"
    await waiter
    semaphore.release()
    assert compat.try_acquire(semaphore)


async def test_a_semaphore_without_private_attributes_is_waited_for() -> None:
    assert not compat.try_acquire(compat.AnyioSemaphore(1))


async def test_a_session_that_the_user_closed_is_told_before_anything_is_sent() -> None:
    async with scripted_server() as server:
        server.says([ANSWER])
        session = aiohttp.ClientSession()
        client = Montra("sk_test_x", server.url, session=session)
        assert await client.list_customers() == []
        await session.close()
        with pytest.raises(NetworkError, match="closed before the call was sent") as caught:
            await client.list_customers()
        assert (caught.value.sent, caught.value.attempts) == (False, 1)
        await client.aclose()
    assert not compat.is_closed_session(RuntimeError("something else"))
