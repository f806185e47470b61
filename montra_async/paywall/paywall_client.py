"""`PaywallClient`: the base of the three clients of the paywall service. Authorizes requests and shares responses."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import attrs
from yarl import URL

from .._version import __version__
from ..core import validation
from ..core.base_url import parse_base_url
from ..core.client import BaseClient, Decoder, check_key
from ..core.errors import ConfigError, NetworkError
from ..core.http.connection import ClientSettings, as_tuple
from ..core.http.failover import Failover, edge_of
from ..core.http.messages import RawResponse, Request
from ..core.options import CallOptions, header_text
from ..core.redaction import Secret
from .errors import PaywallConfigError, PaywallError, PaywallNetworkError, translate, translate_errors
from .responses import PAYWALL
from .single_flight import Flight, SingleFlight, timeout_error

T = TypeVar("T")

SDK_VERSION = f"python-{__version__}"


@attrs.frozen(kw_only=True, repr=False)
class PaywallClientSettings(ClientSettings):
    """The settings that the constructors of the paywall service's clients add to those of every client.

    Attributes:
        capabilities: optional features that the application supports. Default: none.
        edge_fallback: True for the mirror `https://edge.<host>`, False for none, or the origin of another mirror.
        allow_insecure_http: allow a plain `http://` origin of another host.
        allow_insecure_browser_usage: allow a server key in a browser's Python.
    """

    capabilities: Iterable[str] = attrs.field(default=(), converter=as_tuple)
    edge_fallback: bool | str = True
    allow_insecure_http: bool = False
    allow_insecure_browser_usage: bool = False


@attrs.frozen(kw_only=True)
class PaywallEndpoint:
    """The address of one paywall.

    Attributes:
        paywall_id: id of the paywall.
        origin: scheme, host and port of the paywall's own domain.
    """

    paywall_id: str
    origin: URL

    @property
    def path(self) -> str:
        """Path of the paywall's own endpoints."""
        return f"/api/v1/paywall/{quote(self.paywall_id, safe='')}"


class TokenProvider(Protocol):
    """Gives the access tokens of one session."""

    async def token(self) -> Secret:
        """A token that is valid for another 60 seconds. It is refreshed when necessary."""
        ...

    async def token_after(self, refused: Secret) -> Secret | None:
        """A token other than the refused one; None when there is none."""
        ...


class PaywallClient(BaseClient):
    """Base of the paywall service's clients: calls of one paywall. A view shares the connections and caches."""

    _service = PAYWALL
    _endpoint: PaywallEndpoint
    _untimed_options: tuple[CallOptions, CallOptions] | None = None

    def __repr__(self) -> str:
        endpoint: PaywallEndpoint | None = getattr(self, "_endpoint", None)  # a frame may hold one without attributes
        where = "" if endpoint is None else f" {endpoint.paywall_id} at {endpoint.origin}"
        return f"<{type(self).__name__}{where}>"

    def _open(
        self,
        paywall_id: str | None,
        origin: Secret | None,
        settings: PaywallClientSettings,
        *,
        key: Secret | None = None,
    ) -> None:
        """Set up a client with connections of its own.

        Raises:
            PaywallError: `invalid_config`, `invalid_argument`, `apikey_in_browser`.
        """
        with translate_errors():
            self._endpoint = endpoint = _endpoint_of(paywall_id, origin, settings)
            _check_key(key, settings)
            headers = _base_headers(endpoint, settings)
            self._connect(
                base_url=str(endpoint.origin),
                headers=lambda: headers,
                secrets=() if key is None else (key,),
                settings=settings,
                failover=_failover(endpoint.origin, settings),
            )

    def _share(self, other: PaywallClient) -> None:
        """Use the connections, the paywall and the options of another client."""
        self._base_url, self._endpoint = other._base_url, other._endpoint
        self._transport, self._options = other._transport, other._options

    # Requests

    def _request(self, method: str, path: str, query: str = "") -> Request:
        """A request. Only a GET may be executed more than once."""
        request = super()._request(method, path, query)
        request.repeatable = method == "GET"
        return request

    def _json_post(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> Request:
        """A POST with a JSON body, without the fields that are None. An idempotency key makes it repeatable."""
        with translate_errors():
            return self._with_optional_key(self._json_request("POST", path, body), key)

    def _with_optional_key(self, request: Request, key: str | None) -> Request:
        if key is not None:
            self._with_idempotency_key(request, key)
            request.repeatable = True
        return request

    # Sending

    async def _send(self, request: Request, decode: Decoder[T], *, tokens: TokenProvider | None = None) -> T:
        """Send a request and decode its response.

        Args:
            request: the request.
            decode: returns the result of a success, and raises the error of any other response.
            tokens: gives the access token that the request is sent with. Default: no token.

        Raises:
            PaywallError: what went wrong, without secrets.
        """
        response = await self._respond(request, tokens)
        return self._decode(response, request, decode)

    async def _respond(self, request: Request, tokens: TokenProvider | None = None) -> RawResponse:
        """Return the response, whatever its status.

        After a 401 the token is refreshed and the request is sent again, once: it was not executed.
        """
        if tokens is None:
            return await self._send_once(request)
        total = self._call_options.timeout.total
        limit = None if request.remaining is not None else total  # waiters of a shared call have their own deadlines
        if limit is not None:
            loop = asyncio.get_running_loop()
            end = loop.time() + limit
            request.remaining = lambda: end - loop.time()
        return await self._with_deadline(
            lambda: self._send_with_token(request, tokens), lambda: timeout_error(total, request), limit, request
        )

    async def _with_deadline(
        self,
        begin: Callable[[], Awaitable[T]],
        make_timeout_error: Callable[[], PaywallError],
        total: float | None,
        request: Request | None = None,
    ) -> T:
        """Await what `begin` returns for at most `total` seconds, and until this client is closed.

        Args:
            begin: begins what is awaited.
            make_timeout_error: makes the error that is raised when the time has expired.
            total: seconds; None for no limit.
            request: the request that is sent, for the error of a closed client. None: there is none.

        Raises:
            PaywallConfigError: no connection can be made, for example because the user's session is closed.
            PaywallNetworkError: the client was closed.
        """
        with translate_errors():
            deadline = await self._transport.deadline(total)
        try:
            with deadline:
                return await begin()
        except TimeoutError:
            if not deadline.expired:
                raise
        if deadline.owner_closed:
            call, sent = (None, True) if request is None else (request.info(), request.sent)
            raise PaywallNetworkError("network_error", "the client was closed during the call", call=call, sent=sent)
        raise make_timeout_error()

    async def _send_with_token(self, request: Request, tokens: TokenProvider) -> RawResponse:
        token = await tokens.token()
        response = await self._send_once(with_secret(request, "Authorization", token, scheme="Bearer "))
        if response.status != 401 or request.single_use:
            return response
        other = await tokens.token_after(token)
        if other is None:
            return response
        return await self._send_once(with_secret(request, "Authorization", other, scheme="Bearer "))

    async def _send_once(self, request: Request) -> RawResponse:
        try:
            with translate_errors():
                return await self._transport.send(request, self._options_for(request))
        except NetworkError as error:
            raise translate(error) from error

    def _options_for(self, request: Request) -> CallOptions:
        """The options of a request, without a total time-out where `request.remaining` limits the time."""
        options = self._call_options
        if request.remaining is None or options.timeout.total is None:
            return options
        if self._untimed_options is None or self._untimed_options[0] is not options:
            untimed = attrs.evolve(options, timeout=attrs.evolve(options.timeout, total=None))
            self._untimed_options = (options, untimed)
        return self._untimed_options[1]

    async def _run_shared(
        self,
        flights: SingleFlight,
        key: Hashable,
        make: Callable[[Flight], Awaitable[T]],
        *,
        cancel_when_abandoned: bool = True,
    ) -> T:
        """Run or join the call of `key`, within this caller's own total time-out.

        Only callers with the same settings share a call, so that each gets its own time-outs and headers; the total
        time-out may differ. A call that is not cancelled when abandoned changes something, and is shared whatever the
        settings.

        Args:
            flights: the calls in progress.
            key: facts that identify the call, and the callers that may see its result.
            make: sends the request.
            cancel_when_abandoned: whether to cancel the call when its last caller has left. Default: True.
        """
        total = self._call_options.timeout.total
        settings = None if not cancel_when_abandoned else _settings_key(self._call_options)
        return await flights.run((key, settings), make, total=total, cancel_when_abandoned=cancel_when_abandoned)

    @property
    def _call_options(self) -> CallOptions:
        return self._options


def with_secret(request: Request, name: str, secret: Secret, *, scheme: str = "") -> Request:
    """Set a header that holds a secret.

    The request remembers the secret, also when the header is replaced later: the service may quote it in an error.
    """
    request.secrets = (*request.secrets, secret)
    request.headers[name] = f"{scheme}{secret.reveal()}"
    return request


def headers_key(options: CallOptions) -> Hashable:
    """The caller's own headers as a part of a cache key: a response may depend on them."""
    if not options.headers:
        return ()
    return tuple(sorted((name.lower(), value) for name, value in options.headers.items()))


def _settings_key(options: CallOptions) -> Hashable:
    timeout = options.timeout
    timeouts = (timeout.connect, timeout.read, timeout.pool)
    return (*timeouts, options.max_attempts, options.max_response_size, headers_key(options))


def _endpoint_of(paywall_id: str | None, address: Secret | None, settings: PaywallClientSettings) -> PaywallEndpoint:
    """The paywall's address, from arguments or the environment.

    Raises:
        ConfigError: no address, or one that a key must not be sent to.
    """
    paywall_id = paywall_id or os.environ.get("PAYWALL_ID", "").strip()
    origin = Secret(os.environ.get("PAYWALL_ORIGIN", "").strip()) if address is None else address
    if not paywall_id:
        raise ConfigError("no paywall: pass paywall_id=..., or set PAYWALL_ID")
    if not origin.reveal():
        raise ConfigError("no origin: pass api_origin='https://<your paywall's domain>', or set PAYWALL_ORIGIN")
    validation.segment("paywall_id", paywall_id)
    base = parse_base_url("api_origin", origin, allow_insecure_http=settings.allow_insecure_http)
    if base.path not in ("", "/"):
        raise ConfigError("api_origin: only scheme, host and port, e.g. https://pay.example.com")
    return PaywallEndpoint(paywall_id=paywall_id, origin=base.origin())


def _check_key(key: Secret | None, settings: PaywallClientSettings) -> None:
    """
    Raises:
        ConfigError: the key is malformed, or would be exposed in a browser.
    """
    if key is None:
        return
    check_key(key)
    if sys.platform == "emscripten" and not settings.allow_insecure_browser_usage:
        raise PaywallConfigError("apikey_in_browser", "every visitor of the page can read a server key in a browser")


def _base_headers(endpoint: PaywallEndpoint, settings: PaywallClientSettings) -> dict[str, str]:
    """The headers that every request carries."""
    headers = {
        "Accept": "application/json",
        "User-Agent": f"montra-python/{__version__}",
        "X-SDK-Version": SDK_VERSION,
        "X-Paywall-Id": quote(endpoint.paywall_id, safe="!#$&'*+^`|~"),
    }
    if capabilities := ",".join(validation.texts("capabilities", settings.capabilities) or ()):
        header_text("capabilities", capabilities)
        headers["X-SDK-Capabilities"] = capabilities
    return headers


def _failover(origin: URL, settings: PaywallClientSettings) -> Failover | None:
    """The mirror of the service; None when it has none, or it is switched off."""
    mirror = settings.edge_fallback
    if isinstance(mirror, str):
        allowed = settings.allow_insecure_http
        return Failover(origin, parse_base_url("edge_fallback", Secret(mirror), allow_insecure_http=allowed).origin())
    edge = edge_of(origin) if mirror else None
    return None if edge is None else Failover(origin, edge)
