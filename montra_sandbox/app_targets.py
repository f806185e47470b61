"""Calls an application of the same process without a socket: ASGI, WSGI, or through a test client."""

from __future__ import annotations

import asyncio
import inspect
import io
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeAlias, cast
from wsgiref.util import setup_testing_defaults

from .forks import ForkLock
from .server_thread import ServerThread
from .webhook_sender import MAX_ANSWER, Answer, PendingDelivery, answer_text

AsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]
WsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

Outcome: TypeAlias = tuple[Answer, BaseException | None]
"""What an application answered, and what it raised."""

GONE: Outcome = (Answer(status=None, error="the application is gone"), None)
"""Of an application of an earlier run of a sandbox with a database file, or of one that was stopped."""

_HOST = "testserver"
_APP_TIMEOUT = 30.0
DELIVERING: ContextVar[bool] = ContextVar("montra_sandbox_delivering", default=False)
"""Whether this thread or task makes deliveries: what an application calls must not wait for the end of that."""
_NO_APPLICATION = "{} is neither a URL nor an ASGI or WSGI application; start a server for it, and give its URL"


def is_asgi(app: Any) -> bool:
    """Whether an application is an ASGI one; if not, it is a WSGI one.

    Args:
        app: the application.

    Raises:
        TypeError: it is neither.
    """
    if not callable(app):
        raise TypeError(_NO_APPLICATION.format(type(app).__name__))
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(app.__call__):
        return True
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # of an extension module
        return False
    for arguments, found in (((None, None), False), ((None, None, None), True)):
        with suppress(TypeError):
            signature.bind(*arguments)
            return found
    raise TypeError(_NO_APPLICATION.format(type(app).__name__))


class AppTarget:
    """An application that gets deliveries.

    Args:
        app: an ASGI application (a coroutine function of scope, receive and send, or an object with such a `__call__`),
            a WSGI application (a function of environ and start_response), or a test client: Starlette's and FastAPI's
            `TestClient`, Flask's, Django's, or one of httpx.

    Raises:
        TypeError: it is none of these.

    Attributes:
        app: as given.
    """

    def __init__(self, app: Any) -> None:
        self.app: Any = app
        is_client = not callable(app) and callable(getattr(app, "post", None))
        self._client = TestClient(app) if is_client else None
        self._is_asgi = not is_client and is_asgi(app)
        self._lock = ForkLock()
        self._thread: ServerThread[None] | None = None
        self._is_closed = False

    def deliver(self, delivery: PendingDelivery) -> Outcome:
        """Make a delivery from synchronous code; what was answered, and what the application raised.

        An ASGI application runs on one event loop in a thread, for all deliveries; others run in this thread.

        Args:
            delivery: the delivery.
        """
        if self._client is not None:
            return self._client.deliver(delivery)
        if not self._is_asgi:
            return self._deliver_wsgi(delivery)
        with self._lock:
            if self._is_closed:
                return GONE
            if self._thread is None:
                self._thread = ServerThread(_nothing, _nothing, name="montra-sandbox-app")
                self._thread.start()
            outcome = self._thread.submit(lambda: self._deliver_asgi(delivery))
        try:
            return outcome.result()
        except RuntimeError:  # it was closed meanwhile
            return GONE

    async def deliver_async(self, delivery: PendingDelivery) -> Outcome:
        """The same in a coroutine: an ASGI application runs on the caller's event loop, another one in a thread.

        Args:
            delivery: the delivery.
        """
        if self._client is not None:
            return await self._client.deliver_async(delivery)
        if self._is_asgi:
            return await self._deliver_asgi(delivery)
        return await asyncio.to_thread(self._deliver_wsgi, delivery)

    def close(self) -> None:
        """End the thread, if there is one. Later deliveries find nobody."""
        with self._lock:
            self._is_closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()

    async def _deliver_asgi(self, delivery: PendingDelivery) -> Outcome:
        exchange = _AsgiExchange(delivery.body)
        started = time.perf_counter()
        DELIVERING.set(True)
        try:
            call = cast("AsgiApp", self.app)(_scope(delivery), exchange.receive, exchange.send)
            await asyncio.wait_for(call, _APP_TIMEOUT)
        except asyncio.TimeoutError:
            return _answer(None, b"", None, started, f"no response within {_APP_TIMEOUT:g} s"), None
        except Exception as error:
            return _answer(exchange.status, b"", error, started), error
        return _answer(exchange.status, bytes(exchange.body), None, started), None

    def _deliver_wsgi(self, delivery: PendingDelivery) -> Outcome:
        status: int | None = None
        written = bytearray()

        def start_response(line: str, *_: Any) -> Callable[[bytes], None]:
            nonlocal status
            status = int(line.split(" ", 1)[0])
            return write

        def write(chunk: bytes) -> None:
            written.extend(chunk[: MAX_ANSWER - len(written)])

        started = time.perf_counter()
        raised: BaseException | None = None
        try:
            chunks = cast("WsgiApp", self.app)(_environ(delivery), start_response)
            try:
                for chunk in chunks:
                    write(chunk)
            finally:
                close = getattr(chunks, "close", None)
                if close is not None:
                    close()
        except Exception as error:
            raised = error
        return _answer(status, bytes(written), raised, started), raised


class TestClient:
    """The test client of a framework, which calls its application as the framework's own tests do.

    Args:
        client: the client.
    """

    __test__ = False  # pytest takes it for a test otherwise

    def __init__(self, client: Any) -> None:
        self._client = client
        self._is_async = inspect.iscoroutinefunction(client.post)
        self._module = next((one.__module__ for one in type(client).__mro__ if _is_of_a_framework(one)), "")

    def deliver(self, delivery: PendingDelivery) -> Outcome:
        """Make a delivery from synchronous code.

        Args:
            delivery: the delivery.

        Raises:
            TypeError: the client's calls have to be awaited.
        """
        if self._is_async:
            raise TypeError("this client has to be awaited: `await sandbox.settle()` in a coroutine makes deliveries")
        started = time.perf_counter()
        try:
            response = self._post(delivery)
        except Exception as error:
            return _answer(None, b"", error, started), error
        return _client_answer(response, started), None

    async def deliver_async(self, delivery: PendingDelivery) -> Outcome:
        """The same in a coroutine.

        Args:
            delivery: the delivery.
        """
        if not self._is_async:
            return await asyncio.to_thread(self.deliver, delivery)
        started = time.perf_counter()
        try:
            response = await asyncio.wait_for(self._post(delivery), _APP_TIMEOUT)
        except asyncio.TimeoutError:
            return _answer(None, b"", None, started, f"no response within {_APP_TIMEOUT:g} s"), None
        except Exception as error:
            return _answer(None, b"", error, started), error
        return _client_answer(response, started), None

    def _post(self, delivery: PendingDelivery) -> Any:
        if self._module.startswith("django."):
            extra = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in delivery.headers.items()}
            return self._client.post(delivery.path, data=delivery.body, content_type="application/json", **extra)
        body = "data" if self._module.startswith(("werkzeug.", "flask.")) else "content"
        return self._client.post(delivery.path, headers=delivery.headers, **{body: delivery.body})


def _is_of_a_framework(kind: type) -> bool:
    return kind.__module__.startswith(("django.", "werkzeug.", "flask."))


async def _nothing(*_: Any) -> None:
    """Neither opens nor closes anything."""


class _AsgiExchange:
    """What an ASGI application receives and sends during one request."""

    def __init__(self, request_body: bytes) -> None:
        self._request_body: bytes | None = request_body
        self._is_complete = asyncio.Event()
        self.status: int | None = None
        self.body = bytearray()

    async def receive(self) -> dict[str, Any]:
        if self._request_body is not None:
            body, self._request_body = self._request_body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._is_complete.wait()  # a client that stays until it has its response
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.body.extend(message.get("body", b"")[: MAX_ANSWER - len(self.body)])
            if not message.get("more_body", False):
                self._is_complete.set()


def _client_answer(response: Any, started: float) -> Answer:
    content = response.content if hasattr(response, "content") else response.data
    return _answer(int(response.status_code), bytes(content), None, started)


def _answer(
    status: int | None, body: bytes, raised: BaseException | None, started: float, error: str | None = None
) -> Answer:
    duration = (time.perf_counter() - started) * 1000
    if error is not None:
        return Answer(status=None, error=error, duration_ms=duration)
    if raised is not None:
        return Answer(status=None, error=f"{type(raised).__name__} in the application", duration_ms=duration)
    error = None if status is not None else "the application did not respond"
    return Answer(status=status, error=error, body=answer_text(body), duration_ms=duration)


def _scope(delivery: PendingDelivery) -> dict[str, Any]:
    path, _, query = delivery.path.partition("?")
    headers = [("host", _HOST), ("content-length", str(len(delivery.body))), *delivery.headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 0),
        "server": (_HOST, 80),
        "state": {},
    }


def _environ(delivery: PendingDelivery) -> dict[str, Any]:
    path, _, query = delivery.path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(delivery.body)),
        "HTTP_HOST": _HOST,
        "SERVER_NAME": _HOST,
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": io.BytesIO(delivery.body),
    }
    for name, value in delivery.headers.items():
        if name != "Content-Type":
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    setup_testing_defaults(environ)
    return environ
