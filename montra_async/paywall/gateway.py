"""`ApiGatewayClient`: calls of AI providers that the paywall service meters, streamed."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from io import BytesIO
from ssl import SSLContext
from types import TracebackType
from typing import Any, cast

import aiohttp
import attrs
from yarl import URL

from ..core import validation
from ..core.compat import Self
from ..core.decoding import redact, size_limit
from ..core.errors import InvalidArgumentError, NetworkError
from ..core.http.messages import RawResponse, Request
from ..core.http.multipart import from_object
from ..core.http.streaming import Stream
from ..core.models.json import dumps, loads
from ..core.options import (
    ERROR_TIMEOUT,
    MAX_RESPONSE_SIZE,
    CallOptions,
    Hook,
    Timeout,
    check_headers,
    header_text,
    not_text,
)
from ..core.redaction import Secret, SecretText, scrub
from .auth import AuthClient
from .billing import BillingClient
from .errors import PaywallConfigError, PaywallInvalidResponseError, translate, translate_errors
from .paywall_client import PaywallClient, PaywallClientSettings, with_header
from .responses import error_of, quota_error
from .sse import MAX_EVENT_SIZE, EventReader, LineReader, ServerSentEvent
from .token_refresh import SessionTokenProvider
from .user_scope import checked_auth

QUERY_TYPE = "X-Query-Type"
_OURS = frozenset({"x-sdk-version", "x-paywall-id", "x-user-id", "x-api-key"})
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


_CHARSETS = frozenset(
    {
        *("utf-8", "utf8", "utf-16le", "utf-16be", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1"),
        *("iso-8859-2", "iso-8859-5", "iso-8859-7", "iso-8859-9", "iso-8859-15", "koi8-r", "koi8-u"),
        *("windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254", "windows-1256"),
        *("shift_jis", "euc-jp", "iso-2022-jp", "gb2312", "gbk", "gb18030", "big5", "euc-kr"),
    }
)
"""Encodings of text that a provider may choose. Python has others, which take quadratic time or make something else of
bytes than text."""


class ApiGatewayClient(PaywallClient):
    """Calls providers through the paywall's gateway, which charges the user one credit per call.

    A server that holds the provider's own key does better to call the provider itself and charge afterwards, by
    `billing.for_user(...).metered(...)`: then a failed answer costs nothing.

    Args:
        paywall_id: the environment's `PAYWALL_ID` when not given.
        api_origin: the paywall's own domain; else the environment's `PAYWALL_ORIGIN`.
        user_id: whom to charge, where there is no session.
        auth: the session of the user to charge.
        billing: share this client's connections, and keep the balances it remembers right.
        timeout: seconds for a whole call with all its attempts, or a `Timeout`. Default: 60.
        max_attempts: attempts per call. Default: 3; 1 for no retries.
        pool_size: maximum number of connections, and so of concurrent calls, per event loop. Default: 100. Further
            calls wait.
        max_response_size: bytes of a decompressed response that is read into memory. Default: 64 MiB. A larger one
            is an `invalid_response`. Of an error's body at most 64 KiB are read.
        headers: headers of every request, in addition to the client's own.
        session: an aiohttp session of yours. It is used on its own event loop, and you close it.
        connector: an aiohttp connector of yours, or better a function that makes one for each event loop.
        proxy: URL of an HTTP proxy.
        ssl: an `ssl.SSLContext` for private certificate authorities or client certificates. A context that checks no
            certificates, and `False`, also need `allow_insecure_tls`.
        trace_configs: aiohttp's tracing.
        on_request: function that is called before each attempt with a `CallEvent`. It runs on the event loop.
        on_response: function that is called after each attempt with a `CallEvent`.
        on_retry: function that is called before the pause of each retry with a `CallEvent`.
        capabilities: optional features that your application supports, sent as `X-SDK-Capabilities`.
        edge_fallback: whether a mirror is used while the service can't be reached. Default: `https://edge.<host>`.
            False for none, or the origin of another mirror.
        allow_insecure_http: allow a plain `http://` origin of another host than this one. Keys travel in clear.
        allow_insecure_tls: allow connections without a check of certificates. Anybody on the network path can read
            keys and tokens; an `InsecureTlsWarning` says so.
        allow_insecure_browser_usage: allow a server key in a browser's Python.

    Raises:
        PaywallError: `invalid_config`, `invalid_argument`.
    """

    def __init__(
        self,
        paywall_id: str | None = None,
        api_origin: str | None = None,
        *,
        user_id: str | None = None,
        auth: AuthClient | None = None,
        billing: BillingClient | None = None,
        timeout: float | Timeout | None = None,
        max_attempts: int = 3,
        pool_size: int = 100,
        max_response_size: int = MAX_RESPONSE_SIZE,
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | Callable[[], aiohttp.BaseConnector] | None = None,
        proxy: SecretText | None = None,
        ssl: SSLContext | aiohttp.Fingerprint | bool = True,
        trace_configs: Iterable[aiohttp.TraceConfig] = (),
        on_request: Hook | None = None,
        on_response: Hook | None = None,
        on_retry: Hook | None = None,
        capabilities: Iterable[str] = (),
        edge_fallback: bool | str = True,
        allow_insecure_http: bool = False,
        allow_insecure_tls: bool = False,
        allow_insecure_browser_usage: bool = False,
    ) -> None:
        problem = not_text(proxy=proxy)
        if problem is not None:
            del proxy
            raise PaywallConfigError("invalid_config", problem)
        hidden_proxy = None if proxy is None else Secret(proxy)
        del proxy  # error reporters record the local variables of a traceback's frames
        settings = PaywallClientSettings(
            timeout=timeout,
            max_attempts=max_attempts,
            pool_size=pool_size,
            max_response_size=max_response_size,
            headers=headers,
            session=session,
            connector=connector,
            proxy=hidden_proxy,
            ssl=ssl,
            trace_configs=trace_configs,
            on_request=on_request,
            on_response=on_response,
            on_retry=on_retry,
            capabilities=capabilities,
            edge_fallback=edge_fallback,
            allow_insecure_http=allow_insecure_http,
            allow_insecure_tls=allow_insecure_tls,
            allow_insecure_browser_usage=allow_insecure_browser_usage,
        )
        self._billing = billing
        if billing is None:
            self._open(paywall_id, api_origin, settings)
        elif paywall_id is not None or api_origin is not None or settings != PaywallClientSettings():
            raise PaywallConfigError(
                "invalid_config", "billing= brings paywall, origin and settings with it: give one or the other"
            )
        else:
            self._share(billing)
            auth = auth or billing._auth
            user_id = user_id or billing._identity.user_id
        self._act_for(user_id, auth)

    def for_user(self, *, user_id: str | None = None, auth: AuthClient | None = None) -> Self:
        """The same client charging this user: a cheap view on the same connections.

        Args:
            user_id: your own id of the user.
            auth: the user's session, used instead where there is one.
        """
        view = copy.copy(self)
        view._act_for(user_id, auth)
        return view

    def _act_for(self, user_id: str | None, auth: AuthClient | None) -> None:
        with translate_errors():
            self._user_id = header_text("user_id", validation.optional_text("user_id", user_id))
        self._auth = checked_auth(auth)

    async def call(
        self,
        provider_id: str,
        path: str = "",
        *,
        method: str = "POST",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> GatewayResponse:
        """Call a provider (`/api/v1/api-gateway/{provider_id}/{path}`); its answer, as soon as it begins.

            async with await gateway.call("openai", "v1/chat/completions", body={...}) as answer:
                async for event in answer.iter_sse():
                    ...

        Waits for the answer as long as it takes. Sent once: it may have been charged. Only a call that surely did not
        reach the service is tried again, and one whose token was refused.

        Args:
            provider_id: a provider of the paywall.
            path: what follows it, with its query if it has one.
            method: GET, POST, PUT, PATCH or DELETE.
            body: bytes, str, an open binary file, an iterator or async iterable of bytes, an aiohttp form, or anything
                that JSON can hold.
            headers: added to the client's own, which they can't replace.

        Raises:
            QuotaExceededError: the user has no credit left.
            PaywallError: the service's code or the provider's, e.g. `provider-disabled`.
        """
        request = self._gateway_call(provider_id, path, method, body, headers)
        user_id = self._user_id
        tokens = None if self._auth is None else await self._auth._token_provider()
        if tokens is None and user_id is not None:
            with_header(request, "X-User-ID", user_id)
        response = await self._respond(request, tokens)
        if response.stream is None:
            error = quota_error(response, request) if response.status == 402 else error_of(response, request, {})
            raise redact(error, lambda text: scrub(self._transport.scrub(text), *request.secrets))
        self._note(response, tokens)
        return GatewayResponse(response, response.stream, request.path)

    def _gateway_call(
        self, provider_id: str, path: str, method: str, body: Any, headers: Mapping[str, str] | None
    ) -> Request:
        with translate_errors():
            if method not in _METHODS:
                raise InvalidArgumentError("method", f"one of {', '.join(sorted(_METHODS))}, not {method!r}")
            shown = f"/api/v1/api-gateway/{validation.segment('provider_id', provider_id)}"
            if not isinstance(path, str):
                raise InvalidArgumentError("path", f"a string, not {type(path).__name__}")
            below, _, query = path.lstrip("/").partition("?")
            if any(part in (".", "..") for part in below.split("/")):
                raise InvalidArgumentError("path", "`.` and `..` would lead elsewhere")
            header_text("path", path)
            if any(part.partition("=")[0] == "paywall_id" for part in query.split("&")):
                raise InvalidArgumentError("path", "paywall_id is set by the client")
            if below:
                shown = f"{shown}/{URL.build(path='/' + below).raw_path[1:]}"
            asked = validation.query(paywall_id=self._endpoint.paywall_id)
            more = f"&{URL.build(query_string=query).raw_query_string}" if query else ""
            request = Request(
                method=method,
                path=shown,
                url=URL(f"{self._endpoint.origin}{shown}{asked}{more}", encoded=True),
                repeatable=False,
                streams=True,
            )
            request.headers = self._headers(headers or {})
            _put_body(request, body)
        return request

    @staticmethod
    def _headers(given: Mapping[str, str]) -> dict[str, str]:
        kinds = {name: value for name, value in given.items() if name.lower() == "content-type"}
        rest = {name: value for name, value in given.items() if name not in kinds}
        if refused := [name for name in rest if name.lower() in _OURS]:
            raise InvalidArgumentError("headers", f"{refused[0]} is set by the client")
        for name, value in kinds.items():
            header_text(name, validation.text(name, value))
        return {**check_headers(rest), **kinds}

    @property
    def _call_options(self) -> CallOptions:
        """No time-out but the ones for a connection."""
        timeout = self._options.timeout
        patient = Timeout(total=None, read=None, connect=timeout.connect, pool=timeout.pool)
        return attrs.evolve(self._options, timeout=patient, error_timeout=timeout.total or ERROR_TIMEOUT)

    def _note(self, response: RawResponse, tokens: SessionTokenProvider | None) -> None:
        """Keep right what the billing client remembers of the balances."""
        if self._billing is not None and tokens is not None and tokens.user_id is not None:
            self._billing._charged(tokens.user_id, response.headers.get(QUERY_TYPE))


class GatewayResponse:
    """A provider's answer, read as it comes. Nothing is read ahead: a slow reader makes the provider wait.

    Leave it by `async with`, read it to its end, or `aclose()` it; until then it holds a connection of the pool. Its
    body can be read once.

    Attributes:
        status: HTTP status, 2xx.
        headers: of the answer.
        query_type: what was charged.
    """

    status: int
    headers: Mapping[str, str]
    query_type: str | None

    def __init__(self, response: RawResponse, stream: Stream, path: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self.query_type = response.headers.get(QUERY_TYPE)
        self._stream = stream
        self._path = path

    async def iter_chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives.

        Raises:
            PaywallError: `network_error` when the connection breaks.
        """
        chunks = self._stream.chunks()
        try:
            async for chunk in chunks:
                yield chunk
                del chunk  # what came is in no variable when the rest does not come: it may quote our token
        except NetworkError as error:
            raise translate(error) from error
        finally:
            await chunks.aclose()

    async def iter_lines(self, *, max_line_size: int = MAX_EVENT_SIZE) -> AsyncGenerator[str, None]:
        """The body as lines of text, without their ends.

        Args:
            max_line_size: characters of one line; 16 Mi by default.

        Raises:
            PaywallError: `invalid_response` when a line is longer; `network_error` when the connection breaks.
        """
        reader = LineReader(self._encoding(), max_line_size)
        chunks = self.iter_chunks()
        try:
            async for chunk in chunks:
                for line in self._lines(reader, chunk):
                    yield line
                del chunk
            for line in self._lines(reader, b"", end=True):
                yield line
        finally:
            await chunks.aclose()

    async def iter_sse(self, *, max_event_size: int = MAX_EVENT_SIZE) -> AsyncGenerator[ServerSentEvent, None]:
        """The body as server-sent events. A half event at the end of the stream is none.

        Args:
            max_event_size: characters of one event; 16 Mi by default.

        Raises:
            PaywallError: `invalid_response` when an event is longer; `network_error` when the connection breaks.
        """
        reader = EventReader(max_event_size)
        lines = self.iter_lines(max_line_size=max_event_size)
        try:
            async for line in lines:
                if (event := self._event(reader, line)) is not None:
                    yield event
        finally:
            await lines.aclose()

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            PaywallError: `invalid_response` when it is longer than the client's `max_response_size`; `network_error`
                when the connection breaks.
        """
        content = BytesIO()
        limit = self._stream.max_size
        chunks = self.iter_chunks()
        try:
            async for chunk in chunks:
                content.write(chunk)
                del chunk
                if content.tell() > limit:
                    raise self._invalid(f"the body is larger than {size_limit(limit)}")
        finally:
            await chunks.aclose()
        return content.getvalue()

    async def text(self) -> str:
        """The whole body as text."""
        return (await self.read()).decode(self._encoding(), "replace")

    async def json(self) -> Any:
        """The whole body as JSON; numbers with a fraction are `Decimal`.

        Raises:
            PaywallError: `invalid_response` when it is none.
        """
        content = await self.read()
        try:
            return loads(content)
        except ValueError:
            raise self._invalid("the provider's answer is not JSON") from None

    async def aclose(self) -> None:
        """Let go of the connection; what has not been read is lost."""
        self._stream.close()

    async def __aenter__(self) -> GatewayResponse:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def __repr__(self) -> str:
        return f"<GatewayResponse {getattr(self, 'status', '?')} of {getattr(self, '_path', '?')}>"

    def _event(self, reader: EventReader, line: str) -> ServerSentEvent | None:
        try:
            return reader.feed(line)
        except ValueError as error:
            raise self._invalid(str(error)) from None

    def _lines(self, reader: LineReader, chunk: bytes, *, end: bool = False) -> list[str]:
        try:
            return reader.feed(chunk, end=end)
        except ValueError as error:
            raise self._invalid(str(error)) from None

    def _invalid(self, problem: str) -> PaywallInvalidResponseError:
        return PaywallInvalidResponseError(
            "invalid_response", f"{problem} ({self._path})", status=self.status, sent=True
        )

    def _encoding(self) -> str:
        _, _, charset = self.headers.get("Content-Type", "").lower().partition("charset=")
        name = charset.split(";")[0].strip("\"' ")
        return name if name in _CHARSETS else "utf-8"


def _put_body(request: Request, body: Any) -> None:
    """Bytes, text, files, streams and forms as they are, everything else as JSON."""
    if body is None:
        return
    kind: str | None = "application/octet-stream"
    if isinstance(body, (bytes, bytearray)):
        request.body = bytes(body)
    elif isinstance(body, str):
        try:
            request.body, kind = body.encode(), "text/plain; charset=utf-8"
        except UnicodeEncodeError:
            raise InvalidArgumentError("body", "holds half a surrogate pair, which can't be sent") from None
    elif isinstance(body, (aiohttp.FormData, aiohttp.MultipartWriter)):
        request.body, request.single_use, kind = (lambda: body), True, None  # it knows its type and boundary
    elif callable(getattr(body, "read", None)):
        make, _, again = from_object("body", body)
        request.body, request.single_use = (lambda: make("application/octet-stream")), not again
    elif isinstance(body, (AsyncIterable, Iterator)):
        pieces = cast("AsyncIterable[bytes] | Iterator[bytes]", body)
        request.body, request.single_use = (lambda: _pieces(pieces)), True
    else:
        request.body, kind = dumps(body), "application/json"
    if kind is not None and not any(name.lower() == "content-type" for name in request.headers):
        with_header(request, "Content-Type", kind)


async def _pieces(body: AsyncIterable[bytes] | Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The pieces of a body; what goes wrong in making them is the argument's fault, not the network's."""
    try:
        if isinstance(body, AsyncIterable):
            async for piece in body:
                yield _checked_piece(piece)
            return
        while (taken := await asyncio.to_thread(_next, body)) is not None:
            yield _checked_piece(taken)
    except InvalidArgumentError:
        raise
    except Exception as error:
        raise InvalidArgumentError("body", f"making it failed with {type(error).__name__}: {error}") from error


def _checked_piece(piece: bytes) -> bytes:
    if not isinstance(piece, (bytes, bytearray)):
        raise InvalidArgumentError("body", f"its pieces are bytes, not {type(piece).__name__}")
    return bytes(piece)


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)
