"""Pure: from what aiohttp raises to what our users catch."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl

import aiohttp

from .errors import CallInfo, InvalidArgumentError, NetworkError, RequestTimeoutError

EXPECTED = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
"""What a request may raise through no fault of ours."""

_BEFORE_SENDING = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientSSLError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)
_NEVER_AGAIN = (aiohttp.ClientSSLError, aiohttp.ClientHttpProxyError, aiohttp.ServerFingerprintMismatch)


def may_retry(error: BaseException | None) -> bool:
    """A wrong certificate or a refusing proxy will not be better in a second."""
    return not isinstance(error, _NEVER_AGAIN)


def dropped(error: BaseException | None) -> bool:
    """The connection died before any byte of an answer."""
    if isinstance(error, _BEFORE_SENDING):
        return False
    return isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError))


def network_error(error: BaseException, call: CallInfo, host: str) -> NetworkError:
    """The error to raise for `error`, with words that name the host but no query, header or credential.

    Raises:
        InvalidArgumentError: the request's body could not be read; the fault lies with the argument, not the network.
    """
    if isinstance(problem := error.__cause__, InvalidArgumentError):
        error.__cause__ = None  # it stands for this problem, and is not to be its context with it as cause
        raise problem from problem.__cause__
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return RequestTimeoutError(f"connecting to {host} timed out", call, sent=False, phase="connect")
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):  # two classes before Python 3.11
        return RequestTimeoutError(f"{host} stayed silent for the whole read time-out", call, phase="read")
    if isinstance(error, aiohttp.ClientSSLError):
        return NetworkError(f"no trusted TLS connection to {host}: {_reason(error)}", call, sent=False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return NetworkError(f"the proxy refused the connection to {host} with {error.status}", call, sent=False)
    if isinstance(error, _BEFORE_SENDING):
        return NetworkError(f"cannot connect to {host}: {_reason(error)}", call, sent=False)
    if isinstance(error, aiohttp.ClientPayloadError):
        return NetworkError(f"the answer of {host} was cut off", call)
    if isinstance(error, aiohttp.ClientResponseError):
        return NetworkError(f"{host} does not answer in HTTP", call)
    return NetworkError(f"{host} closed the connection before answering", call)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(reason, ssl.SSLError) or not isinstance(reason, OSError):
        return str(reason) or type(reason).__name__
    known = reason.errno is not None and reason.errno in errno.errorcode
    return os.strerror(reason.errno or 0) if known else reason.strerror or str(reason)


def without_frames(error: BaseException) -> BaseException:
    """`error` without tracebacks, all the way down.

    The frames below us hold request headers in their local variables: error reporters that record locals would
    send our key away with them.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        todo += (one.__cause__, one.__context__)
    return error
