"""What of aiohttp has no public switch: its own resending of requests, and what its traces are told of a body."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
from __future__ import annotations

import functools
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType, ClientMiddlewareType


class AttemptFailed(aiohttp.ClientConnectionError):
    """Stands for an error after which aiohttp would send the request again by itself. `cause` is that error."""

    def __init__(self, cause: aiohttp.ClientError) -> None:
        super().__init__(f"{type(cause).__name__} before an answer")
        self.cause = cause


def sending_once(session: aiohttp.ClientSession, *, owned: bool) -> Callable[..., Awaitable[aiohttp.ClientResponse]]:
    """`session.request`, which lets each request reach the network once: attempts are counted in the transport.

    aiohttp sends PUT, DELETE and GET again when a kept connection turns out to be dead, which its caller never learns.
    A session of our own has a switch. The settings of a session that belongs to the user are not ours to change: there,
    a middleware below the user's own ones turns the error into another.
    """
    if owned and hasattr(session, "_retry_connection"):
        session._retry_connection = False
        return session.request
    own: Iterable[ClientMiddlewareType] = getattr(session, "_middlewares", ())
    return functools.partial(session.request, middlewares=(*own, _once), auto_decompress=True)


async def _once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent, and aiohttp does not try again
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise AttemptFailed(error) from None


async def tell_traces(response: aiohttp.ClientResponse, body: bytes) -> None:
    """Tell the traces of a session about a body, as `ClientResponse.read` does."""
    traces: Iterable[Any] = getattr(response, "_traces", ())
    for trace in traces:
        await trace.send_response_chunk_received(response.method, response.url, body)


def verifies_certificates(connection: Any) -> bool:
    """Whether a session, a connector or a value of `ssl=` checks whom it talks to."""
    if isinstance(connection, aiohttp.ClientSession):
        connection = connection.connector
    if isinstance(connection, aiohttp.BaseConnector):
        connection = getattr(connection, "_ssl", True)
    if isinstance(connection, ssl.SSLContext):
        return connection.verify_mode is not ssl.CERT_NONE and connection.check_hostname
    return connection is not False


def unwrapped(error: BaseException) -> BaseException:
    """The error that aiohttp raised."""
    return error.cause if isinstance(error, AttemptFailed) else error
