"""Everything that depends on private or undocumented parts of aiohttp, asyncio or anyio. No other module does.

Each access is one function or class. It says why it is needed, and falls back to something slower or less exact, never
to an error, where a version of the dependency lacks the attribute. `tests/unit/test_aiohttp_compat.py` fails when the
installed version lacks one.
"""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import math
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Protocol

import aiohttp
from aiohttp import payload
from aiohttp.client_middlewares import ClientHandlerType, ClientMiddlewareType
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

# Sessions and connectors


class AttemptFailed(aiohttp.ClientConnectionError):
    """Replaces an error after which aiohttp would send the request again by itself. `cause` is that error."""

    def __init__(self, cause: aiohttp.ClientError) -> None:
        super().__init__(f"{type(cause).__name__} before a response")
        self.cause = cause


def original_error(error: BaseException) -> BaseException:
    """The error that aiohttp raised, for an `AttemptFailed`; any other error unchanged."""
    return error.cause if isinstance(error, AttemptFailed) else error


def request_once(session: aiohttp.ClientSession, *, owned: bool) -> Callable[..., Awaitable[aiohttp.ClientResponse]]:
    """`session.request` without aiohttp's own retry: attempts are counted, and reported, by the transport.

    aiohttp sends PUT, DELETE and GET a second time when a kept-alive connection turns out to be dead, without telling
    its caller. `_retry_connection` switches that off in a session of our own. The settings of a user's session are not
    changed: there, and where the switch is missing, a middleware behind the user's own ones (`_middlewares`) replaces
    the error that makes aiohttp retry.
    """
    if owned and hasattr(session, "_retry_connection"):
        session._retry_connection = False
        return session.request
    own: Iterable[ClientMiddlewareType] = getattr(session, "_middlewares", ())
    return functools.partial(session.request, middlewares=(*own, _hide_retryable_error), auto_decompress=True)


async def _hide_retryable_error(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent, and aiohttp does not retry
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise AttemptFailed(error) from None


def belongs_to(value: aiohttp.ClientSession | aiohttp.BaseConnector, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a session or connector was made for `loop`; True when it does not say.

    The public `ClientSession.loop` is deprecated and warns; a connector has no public attribute.
    """
    return getattr(value, "_loop", loop) is loop


def verifies_certificates(connection: Any) -> bool:
    """Whether a session, a connector or a value of `ssl=` checks the server's certificate.

    A connector has no public attribute for the `ssl=` it was given. Without it, the connector is trusted.
    """
    if isinstance(connection, aiohttp.ClientSession):
        connection = connection.connector
    if isinstance(connection, aiohttp.BaseConnector):
        connection = getattr(connection, "_ssl", True)
    if isinstance(connection, ssl.SSLContext):
        return connection.verify_mode is not ssl.CERT_NONE and connection.check_hostname
    return connection is not False


async def send_body_to_traces(response: aiohttp.ClientResponse, body: bytes) -> None:
    """Call `on_response_chunk_received` of a session's traces, as `ClientResponse.read` does.

    The transport reads `response.content`, which has no limit on the size of a body otherwise, and tells no traces.
    """
    traces: Iterable[Any] = getattr(response, "_traces", ())
    for trace in traces:
        await trace.send_response_chunk_received(response.method, response.url, body)


def is_closed_session(error: BaseException) -> bool:
    """Whether aiohttp refused to send because the session is closed. False when that is unknown.

    It raises a plain RuntimeError, known by its text. Asking `ClientSession.closed` before each request costs more.
    """
    return type(error) is RuntimeError and str(error) == "Session is closed"


# Sockets of an event loop that will never run again


def discard_sockets(session: aiohttp.ClientSession) -> None:
    """Close the sockets of a session without using its event loop. Neither session nor connector warn later.

    `ClientSession.close` schedules callbacks on the loop, which raises when the loop is closed and disturbs the parent
    process in a forked child. Where the connector keeps its connections elsewhere, garbage collection closes them.
    """
    connector = session.connector
    if connector is None:  # another thread was quicker
        return
    session.detach()
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        idle = [protocol for kept in connector._conns.values() for protocol, _ in kept]
        for protocol in (*idle, *connector._acquired):
            _close_socket(protocol)
        connector._conns.clear()
        connector._acquired.clear()
    connector._closed = True


def _close_socket(protocol: Any) -> None:
    """Close the socket of one connection.

    `_call_connection_lost` is the last function that asyncio itself calls: it closes the socket and schedules nothing.
    A TLS transport refers to the transport that has the socket by `_ssl_protocol._transport`. Other event loops have
    neither: there, garbage collection closes the socket.
    """
    transport = protocol.transport
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is not None:
        transport._closed = True
        transport = getattr(tls, "_transport", None)
    lost = getattr(transport, "_call_connection_lost", None)
    if lost is not None:
        with contextlib.suppress(Exception):
            lost(None)


def detach_connection(response: aiohttp.ClientResponse) -> None:
    """Have a response and its connection forget each other, so that neither is closed on a loop that has ended.

    The public `ClientResponse.close` uses the loop. Where the attributes are missing, garbage collection closes both.
    """
    connection = getattr(response, "_connection", None)
    if connection is not None:
        response._connection = None
        connection._protocol = None


# Read time-outs


class LazyTimeout(aiohttp.ClientTimeout):
    """Time-outs of a request through a `LazyConnector`: `read_timeout`, in seconds, takes the place of `sock_read`."""

    read_timeout: float


def lazy_timeout(*, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    """Time-outs of which a `LazyConnector` watches `read`, in seconds.

    A `ClientTimeout` is frozen: its subclass's field is set past that. Where a subclass can't have a field, aiohttp
    watches `read` itself, at its usual cost.
    """
    if read is not None:
        with contextlib.suppress(AttributeError, TypeError):
            timeout = LazyTimeout(total=None, connect=connect)
            object.__setattr__(timeout, "read_timeout", read)
            return timeout
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)


class WatchableConnector(aiohttp.TCPConnector):
    """A `TCPConnector` that remembers the connections of requests with a `LazyTimeout`.

    `connect` is undocumented. Where aiohttp does not call it, requests with a `LazyTimeout` have no read time-out; the
    total time-out still ends them.

    Attributes:
        unwatched: the connections whose read time-out, in seconds, has not been started.
        shortest: the shortest of the read time-outs that `schedule` was called for; infinity when it has to be called.
    """

    def __init__(self, *, keepalive_timeout: float, ssl: Any) -> None:
        super().__init__(limit=0, keepalive_timeout=keepalive_timeout, ssl=ssl)
        self.unwatched: dict[ResponseHandler, tuple[Connection, float]] = {}
        self.shortest: float = math.inf

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if isinstance(timeout, LazyTimeout) and (protocol := connection.protocol) is not None:
            self.unwatched[protocol] = connection, timeout.read_timeout
            if timeout.read_timeout < self.shortest:
                self.schedule(timeout.read_timeout)
        return connection

    def schedule(self, read_timeout: float) -> None:
        """See to it that a read time-out, in seconds, is started in time."""
        raise NotImplementedError


def start_read_timeout(connection: Connection, protocol: ResponseHandler, seconds: float) -> None:
    """Start aiohttp's own read time-out of a connection, until the connection is released: an idle one has none.

    aiohttp sets it only at the beginning of a request. Where the attributes are missing, only the total time-out
    ends the request.
    """

    def stop() -> None:
        protocol.read_timeout = None
        protocol.start_timeout()  # without a time-out, it cancels the timer that is running

    if hasattr(protocol, "read_timeout") and hasattr(protocol, "start_timeout"):
        protocol.read_timeout = seconds
        protocol.start_timeout()
        connection.add_callback(stop)


# Payloads


class StreamedPayload(payload.Payload):
    """A part of a multipart body whose bytes come from an async generator.

    aiohttp's own payloads read files on the loop's default executor, where a file that blocks would never let go of a
    thread. `_size` and `_autoclose` are what a subclass has to set: without the first, the body is sent in chunks;
    without the second, aiohttp warns that the payload was never closed.

    Args:
        pieces: makes the generator.
        size: bytes that it yields; None when that is unknown.
        content_type: MIME type of the part.
    """

    _autoclose = True

    def __init__(self, pieces: Callable[[], AsyncGenerator[bytes, None]], *, size: int | None, content_type: str):
        super().__init__(pieces, content_type=content_type)
        self._pieces = pieces
        self._size = size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """
        Raises:
            TypeError: always.
        """
        raise TypeError("a file is streamed, never read whole")

    async def write(self, writer: Any) -> None:
        """Send all bytes."""
        async with aclosing(self._pieces()) as content:
            async for piece in content:
                await writer.write(piece)


# Cancellation before Python 3.11, whose tasks don't count their cancellations


def cancel_with_mark(task: Any, mark: str) -> bool:
    """Cancel a task of Python 3.10. False when it is being cancelled already: a second cancellation would be lost.

    `_cancel_message` tells the two apart afterwards: a later `cancel()` by somebody else replaces it.
    """
    if _is_being_cancelled(task):
        return False
    if hasattr(task, "_cancel_message"):
        task._cancel_message = mark
    task.cancel(mark)
    return True


def take_mark(task: Any, mark: str) -> bool:
    """Whether the last cancellation of a task of Python 3.10 was `cancel_with_mark`; True when that is unknown."""
    if not hasattr(task, "_cancel_message"):
        return True
    ours: bool = task._cancel_message == mark
    task._cancel_message = None
    return ours


def _is_being_cancelled(task: Any) -> bool:
    """Whether a task, or what it waits for, has been cancelled and has not run since."""
    while task is not None:
        if getattr(task, "_must_cancel", False) or task.cancelled():
            return True
        task = getattr(task, "_fut_waiter", None)
    return False


# Semaphores


class Semaphore(Protocol):
    """What the pool uses of `asyncio.Semaphore`."""

    def locked(self) -> bool: ...

    async def acquire(self) -> object: ...

    def release(self) -> None: ...


def new_semaphore(value: int) -> Semaphore:
    """A first-in, first-out semaphore for the running event loop.

    `asyncio.Semaphore` before Python 3.10.8 may stay locked for ever after a waiter is cancelled at the moment when it
    is woken (https://github.com/python/cpython/issues/90155), and lets new tasks overtake waiting ones.
    """
    return asyncio.Semaphore(value) if sys.version_info >= (3, 10, 8) else AnyioSemaphore(value)


def try_acquire(semaphore: Semaphore) -> bool:
    """Take a free place of a semaphore at once. Returns False when the caller has to wait for one.

    `locked` and `acquire` of asyncio create a generator and a coroutine each time, 1 % of a call. A semaphore without
    these private attributes is always waited for.
    """
    private: Any = semaphore
    if getattr(private, "_value", 0) > 0 and not getattr(private, "_waiters", True):
        private._value -= 1
        return True
    return False


def taken(semaphore: Semaphore, size: int) -> tuple[int, int]:
    """How many places of a semaphore are taken, and how many tasks wait for one. Any thread may ask.

    Args:
        semaphore: the semaphore.
        size: its number of places.
    """
    private: Any = semaphore
    if isinstance(semaphore, AnyioSemaphore):
        return semaphore.taken(size)
    waiters = getattr(private, "_waiters", None) or ()
    return max(0, size - getattr(private, "_value", size)), len(waiters)


class AnyioSemaphore:
    """anyio's semaphore with the methods of `asyncio.Semaphore`."""

    def __init__(self, value: int) -> None:
        import anyio

        self._semaphore = anyio.Semaphore(value)

    def locked(self) -> bool:
        return self._semaphore.value == 0

    async def acquire(self) -> None:
        await self._semaphore.acquire()

    def release(self) -> None:
        self._semaphore.release()

    def taken(self, size: int) -> tuple[int, int]:
        """How many of `size` places are taken, and how many tasks wait for one."""
        return size - self._semaphore.value, self._semaphore.statistics().tasks_waiting


# anyio


def import_anyio_backend() -> None:
    """Import anyio's asyncio backend now, which anyio does at its first use.

    A process that is forked while a thread is importing it would wait for the import lock for ever. Where the module
    has another name, the first use imports it.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("anyio._backends._asyncio")
