"""Translates what aiohttp raises into the errors that users catch. Pure functions."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import attrs
from aiohttp.http_exceptions import HttpProcessingError

from ..errors import CallInfo, MontraError, NetworkError, RequestTimeoutError, chain_of
from ..redaction import bounded, on_one_line, scrub
from .aiohttp_compat import original_error

_BEFORE_SENDING = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientSSLError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)
_NEVER_AGAIN = (aiohttp.ClientSSLError, aiohttp.ClientHttpProxyError, aiohttp.ServerFingerprintMismatch)
_LONGEST_TEXT = 300  # characters of somebody else's message


@attrs.frozen(kw_only=True)
class Failure:
    """An attempt without a response.

    Attributes:
        error: what the user catches.
        cause: its `__cause__`, without anything of the request: aiohttp's own errors hold headers and the proxy.
        retryable: whether another attempt may succeed.
        dropped: whether the connection died before any byte of a response.
    """

    error: NetworkError
    cause: Exception
    retryable: bool
    dropped: bool


def failure_of(
    error: Exception,
    call: CallInfo,
    host: str,
    *,
    proxy: str | None = None,
    scrub: Callable[[str], str] = scrub,
) -> Failure:
    """The failure that an exception stands for.

    Args:
        error: what aiohttp raised, or what user code raised inside aiohttp.
        call: the call it belongs to.
        host: host and port of the service.
        proxy: host and port of the proxy; None without one.
        scrub: removes known secrets from a text.
    """
    error = _root_of(error)
    expected = isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError, OSError))
    shown = cause_of(error, scrub)
    problem = network_error(error, call, host, proxy, scrub) if expected else _unexpected(shown, call)
    return Failure(
        error=problem,
        cause=shown,
        retryable=expected and not isinstance(error, _NEVER_AGAIN),
        dropped=_is_dropped(error),
    )


def raised_by_us(error: BaseException) -> MontraError | None:
    """The SDK's error among the causes of an aiohttp error, e.g. of a file that can't be read; None without one."""
    for one in chain_of(error):
        if isinstance(one, MontraError):
            return one
    return None


def network_error(
    error: BaseException, call: CallInfo, host: str, proxy: str | None = None, scrub: Callable[[str], str] = scrub
) -> NetworkError:
    """The error to raise for `error`. Its message names the host but no query, header or credential.

    Args:
        error: an expected error of aiohttp or of the system.
        call: the call it belongs to.
        host: host and port of the service.
        proxy: host and port of the proxy; None without one.
        scrub: removes known secrets from a text.
    """
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        problem = f"connecting to {host}{_through(proxy)} timed out; Timeout(connect=...) sets how long it may take"
        return RequestTimeoutError(problem, call, sent=False, phase="connect")
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):  # two classes before Python 3.11
        problem = f"{host} sent nothing for the whole read time-out; Timeout(read=...) sets it"
        return RequestTimeoutError(problem, call, phase="read")
    if isinstance(error, aiohttp.ClientSSLError):
        problem = f"no trusted TLS connection to {host}{_through(proxy)}: {_reason(error, scrub)}"
        return NetworkError(problem, call, sent=False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        problem = f"{_named(proxy)} refused the connection to {host} with {error.status}"
        return NetworkError(problem, call, sent=False)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        problem = f"cannot connect to {_named(proxy)} on the way to {host}: {_reason(error, scrub)}"
        return NetworkError(problem, call, sent=False)
    if isinstance(error, _BEFORE_SENDING):
        return NetworkError(f"cannot connect to {host}: {_reason(error, scrub)}", call, sent=False)
    if isinstance(error, aiohttp.ClientPayloadError):
        return NetworkError(f"the response of {host} was cut off", call)
    if isinstance(error, aiohttp.ClientResponseError):
        return NetworkError(f"{host}{_through(proxy)} does not respond in HTTP", call)
    return NetworkError(f"{host}{_through(proxy)} closed the connection before answering", call)


def cause_of(error: BaseException, scrub: Callable[[str], str] = scrub) -> Exception:
    """A copy of `error` for `__cause__`: its kind and its message, nothing that it refers to."""
    system = getattr(error, "os_error", error)
    if type(system).__module__ == "builtins" and isinstance(system, OSError) and system.errno is not None:
        return OSError(system.errno, _reason(error, scrub))
    text = f"{type(error).__name__}: {_text_of(error, scrub)}"
    return aiohttp.ClientError(text) if isinstance(error, aiohttp.ClientError) else Exception(text)


def emptied(error: BaseException) -> None:
    """Remove request and response from an error of aiohttp and from its causes.

    Python 3.10 attaches it as the context to whatever is raised next in the same task.
    """
    nothing: Any = None
    for one in list(chain_of(error)):
        one.__traceback__ = one.__cause__ = one.__context__ = None
        if isinstance(one, (aiohttp.ClientResponseError, HttpProcessingError)):
            one.message, one.headers, one.args = "", nothing, ()
        if isinstance(one, aiohttp.ClientResponseError):
            one.request_info, one.history = nothing, ()


def _root_of(error: Exception) -> Exception:
    root = original_error(error)
    return root if isinstance(root, Exception) else error


def _is_dropped(error: BaseException) -> bool:
    if isinstance(error, _BEFORE_SENDING):
        return False
    return isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError))


def _unexpected(cause: Exception, call: CallInfo) -> NetworkError:
    return NetworkError(f"the attempt failed inside aiohttp or in code that it called: {cause}", call)


def _named(proxy: str | None) -> str:
    return "the proxy" if proxy is None else f"the proxy {proxy}"


def _through(proxy: str | None) -> str:
    return "" if proxy is None else f" (through the proxy {proxy})"


def _reason(error: BaseException, scrub: Callable[[str], str]) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _cut(scrub(str(error.certificate_error)))
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(reason, ssl.SSLError) or not isinstance(reason, OSError):
        return _text_of(reason, scrub) or type(reason).__name__
    known = reason.errno is not None and reason.errno in errno.errorcode
    return os.strerror(reason.errno or 0) if known else _cut(scrub(reason.strerror or str(reason)))


def _text_of(error: BaseException, scrub: Callable[[str], str]) -> str:
    if isinstance(error, aiohttp.ClientResponseError):  # its text names the URL, with whatever stands in it
        return f"{error.status}, {_cut(scrub(error.message))}"
    return _cut(scrub(str(error)))


def _cut(text: str) -> str:
    return bounded(on_one_line(text), _LONGEST_TEXT)
