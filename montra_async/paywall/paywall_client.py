"""What the three clients of the paywall service share: one paywall, its address, its connections, its words."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import copy
import os
import sys
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar
from urllib.parse import quote

import aiohttp
import attrs
from yarl import URL

from .._version import __version__
from ..core import validation
from ..core.base_url import parse_base_url
from ..core.decoding import BODY_KEPT, clean_message, clean_name, scrubbed, too_large
from ..core.errors import NetworkError, without_frames
from ..core.http.failover import Failover, edge_of
from ..core.http.messages import RawResponse, Request
from ..core.http.transport import Transport
from ..core.models.json import dumps
from ..core.options import (
    MAX_RESPONSE_SIZE,
    CallOptions,
    Connection,
    Hook,
    Hooks,
    Timeout,
    as_timeout,
    header_text,
    not_text,
)
from ..core.redaction import Secret, scrub
from ..core.validation import idempotency_key as checked_key
from .caching import Flight, Flights, timed_out
from .errors import PaywallError, of_network, translate_errors
from .responses import error_of, unreadable

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

SDK_VERSION = f"python-{__version__}"
_NOTHING: Mapping[int, str] = {}
_SECRET = ("Authorization", "X-Api-Key")


class ClientSettings(TypedDict, total=False):
    """Settings that every client of the paywall service takes, all of them optional.

    Attributes:
        timeout: seconds for a whole call with all its tries, or a `Timeout`; 60 by default.
        max_attempts: tries per call, 3 by default; 1 for no retries.
        pool_size: connections, and so calls, at the same time per event loop; 100 by default, further ones wait.
        max_response_size: bytes of an answer, decompressed, that are read into memory; 64 MiB by default. A larger one
            is an `invalid_response`. Of an error at most 64 KiB are read.
        headers: sent with every call, in addition to the client's own.
        session: your own aiohttp session, used on its own event loop, and closed by you.
        connector: your own aiohttp connector, or better a function that makes one for each event loop.
        proxy: address of an HTTP proxy.
        ssl: an `ssl.SSLContext` for private certificate authorities or client certificates. One that checks no
            certificates, and `False`, need `allow_insecure_tls` as well.
        trace_configs: aiohttp's tracing.
        on_request, on_response, on_retry: functions that are told about each try with a `CallEvent`.
        capabilities: what your application can do beyond the ordinary, sent as `X-SDK-Capabilities`.
        edge_fallback: False for no mirror, or the origin of another mirror than `https://edge.<host>`.
        allow_insecure_http: allow a plain `http://` origin that is not this machine. Keys travel in clear.
        allow_insecure_tls: allow connections to whoever answers, whatever its certificate. Anybody on the way can read
            keys and tokens; an `InsecureTlsWarning` says so.
        allow_insecure_browser_usage: allow a server key in a browser's Python.
    """

    timeout: float | Timeout
    max_attempts: int
    pool_size: int
    max_response_size: int
    headers: Mapping[str, str]
    session: aiohttp.ClientSession
    connector: aiohttp.BaseConnector | Callable[[], aiohttp.BaseConnector]
    proxy: str
    ssl: SSLContext | aiohttp.Fingerprint | bool
    trace_configs: Iterable[aiohttp.TraceConfig]
    on_request: Hook
    on_response: Hook
    on_retry: Hook
    capabilities: Iterable[str]
    edge_fallback: bool | str
    allow_insecure_http: bool
    allow_insecure_tls: bool
    allow_insecure_browser_usage: bool


@attrs.frozen(kw_only=True)
class PaywallEndpoint:
    """One paywall and the connections to it. Shared by all views, and by clients made from another client."""

    paywall_id: str
    origin: URL
    transport: Transport

    @property
    def paywall(self) -> str:
        """Path of the paywall's own endpoints."""
        return f"/api/v1/paywall/{quote(self.paywall_id, safe='')}"


class Signer(Protocol):
    """Gives out access tokens: an `AuthClient`."""

    async def _token(self) -> Secret:
        """A token that is good for another minute, refreshed when needed."""
        ...

    async def _another_token(self, refused: Secret) -> Secret | None:
        """A token other than the one that was refused; None when there is none to be had."""
        ...


class PaywallClient:
    """Base of the clients: sends calls of one paywall. A view shares everything but what it was made for."""

    _place: PaywallEndpoint
    _options: CallOptions
    _unhurried: tuple[CallOptions, CallOptions] | None = None

    def with_options(
        self,
        *,
        timeout: float | Timeout | None = None,
        max_attempts: int | None = None,
        headers: Mapping[str, str] | None = None,
        max_response_size: int | None = None,
    ) -> Self:
        """The same client with other settings for the calls made through it: a cheap view on the same connections."""
        view = copy.copy(self)
        with translate_errors():
            view._options = self._options.but(timeout, max_attempts, headers, max_response_size)
        return view

    async def aclose(self) -> None:
        """Close the connections. Calls that are under way fail; a later call opens new connections."""
        await self._place.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        place: PaywallEndpoint | None = getattr(self, "_place", None)  # a frame may hold one that is still being made
        where = "" if place is None else f" {place.paywall_id} at {place.origin}"
        return f"<{type(self).__name__}{where}>"

    def _open(
        self,
        paywall_id: str | None,
        api_origin: str | None,
        key: Secret | None,
        settings: ClientSettings,
    ) -> None:
        """Set up the connections of a client that shares nobody's."""
        problem = not_text(paywall_id=paywall_id, api_origin=api_origin, proxy=settings.get("proxy"))
        proxy = Secret(str(settings.pop("proxy"))) if "proxy" in settings else None
        _check_names(self, settings)
        if problem is not None:
            raise PaywallError("invalid_config", problem)
        with translate_errors():
            paywall_id = paywall_id or os.environ.get("PAYWALL_ID", "").strip()
            origin = (api_origin or os.environ.get("PAYWALL_ORIGIN", "")).strip()
            if not paywall_id:
                raise PaywallError("invalid_config", "no paywall: pass paywall_id=..., or set PAYWALL_ID")
            if not origin:
                problem = "no origin: pass api_origin='https://<your paywall's domain>', or set PAYWALL_ORIGIN"
                raise PaywallError("invalid_config", problem)
            _check_key(key, settings)
            validation.segment("paywall_id", paywall_id)
            base = parse_base_url("api_origin", origin, allow_insecure_http=settings.get("allow_insecure_http", False))
            if base.path not in ("", "/"):
                raise PaywallError(
                    "invalid_config", "api_origin: only scheme, host and port, e.g. https://pay.example.com"
                )
            self._options = _options(settings)
            self._place = PaywallEndpoint(
                paywall_id=paywall_id,
                origin=base.origin(),
                transport=_transport(paywall_id, base.origin(), key, proxy, settings),
            )

    # Calls

    def _call(self, method: str, path: str, query: str = "") -> Request:
        """A call of the endpoint `path`. Only what is read may be repeated freely."""
        url = URL(f"{self._place.origin}{path}{query}", encoded=True)
        return Request(method=method, path=path, url=url, repeatable=method == "GET")

    def _json_call(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> Request:
        """A POST. `key` makes it repeatable."""
        call = self._call("POST", path)
        with translate_errors():
            call.body = dumps({name: value for name, value in body.items() if value is not None})
            call.headers["Content-Type"] = "application/json"
            return self._keyed(call, key)

    def _keyed(self, call: Request, key: str | None) -> Request:
        if key is not None:
            call.idempotency_key = call.headers["Idempotency-Key"] = checked_key(key)
            call.repeatable = True
        return call

    async def _send(
        self,
        call: Request,
        read: Callable[[RawResponse, Request], T],
        by_status: Mapping[int, str] = _NOTHING,
        *,
        signer: Signer | None = None,
    ) -> T:
        """Send and read; every failure becomes a PaywallError without secrets."""
        answer = await self._answer(call, signer)
        try:
            if not 200 <= answer.status < 300:
                raise error_of(answer, call, by_status)
            problem = too_large(answer)
            if problem is not None:
                raise unreadable(answer, call, problem)
            return read(answer, call)
        except PaywallError as error:
            without_frames(error)  # they hold what was answered, also those of what it came from
            raise self._without_secrets(error, call) from None

    async def _answer(self, call: Request, signer: Signer | None = None) -> RawResponse:
        """Whatever came back. A token that is refused is renewed once, and the call made again: it was not executed."""
        if signer is None:
            return await self._once(call)
        total = self._call_options.timeout.total
        if total is None or call.remaining is not None:  # those who wait for a flight watch their own clocks
            return await self._in_time(self._signed(call, signer), lambda: timed_out(total, call), None)
        loop = asyncio.get_running_loop()
        end = loop.time() + total
        call.remaining = lambda: end - loop.time()
        return await self._in_time(self._signed(call, signer), lambda: timed_out(total, call), total)

    async def _in_time(self, work: Awaitable[T], late: Callable[[], PaywallError], total: float | None) -> T:
        """The result of `work`, within so many seconds, and until this client is closed.

        Raises:
            PaywallError: what `late` makes when the time is over; `network_error` when the client was closed.
        """
        deadline = await self._place.transport.deadline(total)
        try:
            with deadline:
                return await work
        except TimeoutError:
            if not deadline.expired:
                raise
        if deadline.owner_closed:
            raise PaywallError("network_error", "the client was closed during the call", sent=True)
        raise late()

    async def _signed(self, call: Request, signer: Signer) -> RawResponse:
        token = await signer._token()
        answer = await self._once(with_header(call, "Authorization", f"Bearer {token.reveal()}"))
        if answer.status != 401 or call.single_use:
            return answer
        another = await signer._another_token(token)
        if another is None:
            return answer
        return await self._once(with_header(call, "Authorization", f"Bearer {another.reveal()}"))

    async def _once(self, call: Request) -> RawResponse:
        try:
            with translate_errors():
                return await self._place.transport.send(call, self._options_of(call))
        except NetworkError as error:
            raise of_network(error) from error

    def _options_of(self, call: Request) -> CallOptions:
        """Without a total time-out where somebody else watches the clock: `call.remaining`."""
        options = self._call_options
        if call.remaining is None or options.timeout.total is None:
            return options
        if self._unhurried is None or self._unhurried[0] is not options:
            patient = attrs.evolve(options, timeout=attrs.evolve(options.timeout, total=None))
            self._unhurried = (options, patient)
        return self._unhurried[1]

    async def _shared(
        self,
        flights: Flights,
        key: Hashable,
        make: Callable[[Flight], Awaitable[T]],
        *,
        lands: bool = False,
    ) -> T:
        """Join the call of this key, within this caller's own total time-out.

        Only callers with the same settings share one, so that nobody gets another's time-outs and headers; the total
        time-out may differ. A call that `lands` changes something, and is shared whatever the settings.
        """
        total = self._call_options.timeout.total
        settings = None if lands else _settings_key(self._call_options)
        return await flights.join((key, settings), make, total=total, lands=lands)

    @property
    def _call_options(self) -> CallOptions:
        return self._options

    def _without_secrets(self, error: PaywallError, call: Request) -> PaywallError:
        """A service may quote the key, token or password it refused."""

        def clean(text: str) -> str:
            return scrub(self._place.transport.scrub(text), *call.secrets)

        error.code, error.message = clean_name(error.code, clean), clean_message(error.message, clean)
        error.body = scrubbed(error.body, clean)
        if isinstance(error.body, str):
            error.body = error.body[:BODY_KEPT]
        error.request_id = None if error.request_id is None else clean_name(error.request_id, clean)
        error.args = (error.code, error.message)
        return error


def with_header(call: Request, name: str, value: str) -> Request:
    if name in _SECRET:  # also one that is replaced later: the service may quote it
        call.secrets = (*call.secrets, Secret(value.removeprefix("Bearer ")))
    call.headers[name] = value
    return call


def headers_key(options: CallOptions) -> Hashable:
    """What the caller's own headers add to a key: an answer may depend on them."""
    if not options.headers:
        return ()
    return tuple(sorted((name.lower(), value) for name, value in options.headers.items()))


def _settings_key(options: CallOptions) -> Hashable:
    timeout = options.timeout
    patience = (timeout.connect, timeout.read, timeout.pool)
    return (*patience, options.max_attempts, options.max_response_size, headers_key(options))


def _check_names(client: object, settings: ClientSettings) -> None:
    """Python checks the names of parameters, but not those of settings."""
    if unknown := sorted(settings.keys() - ClientSettings.__annotations__.keys()):
        raise TypeError(f"{type(client).__name__}() got an unexpected keyword argument {unknown[0]!r}")


def _check_key(key: Secret | None, settings: ClientSettings) -> None:
    if key is None:
        return
    if not key.reveal().isascii() or not key.reveal().isprintable() or " " in key.reveal():
        problem = "the API key holds characters that no key has; was it copied whole, and nothing else?"
        raise PaywallError("invalid_config", problem)
    if sys.platform == "emscripten" and not settings.get("allow_insecure_browser_usage"):
        raise PaywallError("apikey_in_browser", "a server key in a browser can be read by everybody who visits it")


def _options(settings: ClientSettings) -> CallOptions:
    timeout = settings.get("timeout")
    return CallOptions(
        timeout=Timeout() if timeout is None else as_timeout(timeout),
        max_attempts=settings.get("max_attempts", 3),
        headers=settings.get("headers", {}),
        max_response_size=settings.get("max_response_size", MAX_RESPONSE_SIZE),
    )


def _transport(
    paywall_id: str, origin: URL, key: Secret | None, proxy: Secret | None, settings: ClientSettings
) -> Transport:
    base = {
        "Accept": "application/json",
        "User-Agent": f"montra-python/{__version__}",
        "X-SDK-Version": SDK_VERSION,
        "X-Paywall-Id": quote(paywall_id, safe="!#$&'*+^`|~"),
    }
    if capabilities := ",".join(validation.texts("capabilities", list(settings.get("capabilities", ()))) or ()):
        header_text("capabilities", capabilities)
        base["X-SDK-Capabilities"] = capabilities
    return Transport(
        headers=lambda: base,
        secrets=() if key is None else (key,),
        connection=Connection(
            pool_size=settings.get("pool_size", 100),
            session=settings.get("session"),
            connector=settings.get("connector"),
            proxy=proxy,
            ssl=settings.get("ssl", True),
            trace_configs=tuple(settings.get("trace_configs", ())),
            allow_insecure_tls=settings.get("allow_insecure_tls", False),
        ),
        hooks=Hooks(
            on_request=settings.get("on_request"),
            on_response=settings.get("on_response"),
            on_retry=settings.get("on_retry"),
        ),
        failover=_failover(origin, settings),
    )


def _failover(origin: URL, settings: ClientSettings) -> Failover | None:
    wanted = settings.get("edge_fallback", True)
    if isinstance(wanted, str):
        allowed = settings.get("allow_insecure_http", False)
        return Failover(origin, parse_base_url("edge_fallback", wanted, allow_insecure_http=allowed).origin())
    edge = edge_of(origin) if wanted else None
    return None if edge is None else Failover(origin, edge)
