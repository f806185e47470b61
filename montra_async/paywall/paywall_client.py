"""`PaywallClient`: what the three clients of the paywall service share: one paywall, its connections, its tokens."""

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
from ..core.decoding import too_large
from ..core.errors import ConfigError, NetworkError
from ..core.http.connection import ClientSettings
from ..core.http.failover import Failover, edge_of
from ..core.http.messages import RawResponse, Request
from ..core.options import CallOptions, header_text, not_text
from ..core.redaction import Secret
from .errors import PaywallConfigError, PaywallError, PaywallNetworkError, translate, translate_errors
from .responses import PAYWALL, error_of, invalid_response
from .single_flight import Flight, SingleFlight, timeout_error

T = TypeVar("T")

SDK_VERSION = f"python-{__version__}"
_NO_CODES: Mapping[int, str] = {}
_SECRET_HEADERS = ("Authorization", "X-Api-Key")


@attrs.frozen(kw_only=True, repr=False)
class PaywallClientSettings(ClientSettings):
    """What the constructors of the paywall service's clients take beside the settings of every client."""

    capabilities: Iterable[str] = ()
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
    """Gives access tokens of one session."""

    async def token(self) -> Secret:
        """A token that is valid for another minute. It is refreshed when necessary."""
        ...

    async def token_after(self, refused: Secret) -> Secret | None:
        """A token other than the refused one; None when there is none."""
        ...


class PaywallClient(BaseClient):
    """Base of the paywall service's clients: calls of one paywall. A view shares its connections and caches."""

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
        api_origin: str | None,
        settings: PaywallClientSettings,
        *,
        key: Secret | None = None,
    ) -> None:
        """Set up a client with connections of its own.

        Raises:
            PaywallError: `invalid_config`, `invalid_argument`, `apikey_in_browser`.
        """
        problem = not_text(paywall_id=paywall_id, api_origin=api_origin)
        if problem is not None:
            raise PaywallConfigError("invalid_config", problem)
        with translate_errors():
            self._endpoint = endpoint = _endpoint_of(paywall_id, api_origin, settings)
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
        """A request. Only a GET is repeated freely."""
        request = super()._request(method, path, query)
        request.repeatable = method == "GET"
        return request

    def _json_post(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> Request:
        """A POST with a JSON body, without the fields that are None. An idempotency key makes it repeatable."""
        with translate_errors():
            request = self._json_request("POST", path, body)
            return self._keyed(request, key)

    def _keyed(self, request: Request, key: str | None) -> Request:
        if key is not None:
            self._with_idempotency_key(request, key)
            request.repeatable = True
        return request

    async def _send(
        self,
        request: Request,
        decode: Decoder[T],
        codes: Mapping[int, str] = _NO_CODES,
        *,
        tokens: TokenProvider | None = None,
    ) -> T:
        """Send a request and decode its response.

        Args:
            request: the request.
            decode: makes the result from a success.
            codes: error codes by status that this endpoint defines, whatever the body says.
            tokens: gives the access token that the request is sent with.

        Raises:
            PaywallError: what went wrong, without secrets.
        """

        def decode_success(response: RawResponse, request: Request) -> T:
            if not 200 <= response.status < 300:
                raise error_of(response, request, codes)
            problem = too_large(response)
            if problem is not None:
                raise invalid_response(response, request, problem)
            return decode(response, request)

        response = await self._respond(request, tokens)
        return self._decode(response, request, decode_success)

    async def _respond(self, request: Request, tokens: TokenProvider | None = None) -> RawResponse:
        """Whatever came back. A token that is refused is renewed once, and the call made again: it was not executed."""
        if tokens is None:
            return await self._send_once(request)
        total = self._call_options.timeout.total
        if total is None or request.remaining is not None:  # those who wait for a flight watch their own clocks
            return await self._within(
                self._send_with_token(request, tokens), lambda: timeout_error(total, request), None
            )
        loop = asyncio.get_running_loop()
        end = loop.time() + total
        request.remaining = lambda: end - loop.time()
        return await self._within(self._send_with_token(request, tokens), lambda: timeout_error(total, request), total)

    async def _within(self, work: Awaitable[T], late: Callable[[], PaywallError], total: float | None) -> T:
        """The result of `work`, within so many seconds, and until this client is closed.

        Raises:
            PaywallError: what `late` makes when the time is over; `network_error` when the client was closed.
        """
        deadline = await self._transport.deadline(total)
        try:
            with deadline:
                return await work
        except TimeoutError:
            if not deadline.expired:
                raise
        if deadline.owner_closed:
            raise PaywallNetworkError("network_error", "the client was closed during the call", sent=True)
        raise late()

    async def _send_with_token(self, request: Request, tokens: TokenProvider) -> RawResponse:
        token = await tokens.token()
        response = await self._send_once(with_header(request, "Authorization", f"Bearer {token.reveal()}"))
        if response.status != 401 or request.single_use:
            return response
        another = await tokens.token_after(token)
        if another is None:
            return response
        return await self._send_once(with_header(request, "Authorization", f"Bearer {another.reveal()}"))

    async def _send_once(self, request: Request) -> RawResponse:
        try:
            with translate_errors():
                return await self._transport.send(request, self._options_for(request))
        except NetworkError as error:
            raise translate(error) from error

    def _options_for(self, request: Request) -> CallOptions:
        """Without a total time-out where somebody else watches the clock: `request.remaining`."""
        options = self._call_options
        if request.remaining is None or options.timeout.total is None:
            return options
        if self._untimed_options is None or self._untimed_options[0] is not options:
            patient = attrs.evolve(options, timeout=attrs.evolve(options.timeout, total=None))
            self._untimed_options = (options, patient)
        return self._untimed_options[1]

    async def _run_shared(
        self,
        flights: SingleFlight,
        key: Hashable,
        make: Callable[[Flight], Awaitable[T]],
        *,
        cancel_when_abandoned: bool = True,
    ) -> T:
        """Join the call of this key, within this caller's own total time-out.

        Only callers with the same settings share one, so that nobody gets another's time-outs and headers; the total
        time-out may differ. A call that `lands` changes something, and is shared whatever the settings.
        """
        total = self._call_options.timeout.total
        settings = None if not cancel_when_abandoned else _settings_key(self._call_options)
        return await flights.run((key, settings), make, total=total, cancel_when_abandoned=cancel_when_abandoned)

    @property
    def _call_options(self) -> CallOptions:
        return self._options


def with_header(request: Request, name: str, value: str) -> Request:
    if name in _SECRET_HEADERS:  # also one that is replaced later: the service may quote it
        request.secrets = (*request.secrets, Secret(value.removeprefix("Bearer ")))
    request.headers[name] = value
    return request


def headers_key(options: CallOptions) -> Hashable:
    """What the caller's own headers add to a key: an answer may depend on them."""
    if not options.headers:
        return ()
    return tuple(sorted((name.lower(), value) for name, value in options.headers.items()))


def _settings_key(options: CallOptions) -> Hashable:
    timeout = options.timeout
    timeouts = (timeout.connect, timeout.read, timeout.pool)
    return (*timeouts, options.max_attempts, options.max_response_size, headers_key(options))


def _endpoint_of(paywall_id: str | None, api_origin: str | None, settings: PaywallClientSettings) -> PaywallEndpoint:
    """The paywall's address, from arguments or the environment.

    Raises:
        ConfigError: none, or one that a key must not be sent to.
    """
    paywall_id = paywall_id or os.environ.get("PAYWALL_ID", "").strip()
    origin = (api_origin or os.environ.get("PAYWALL_ORIGIN", "")).strip()
    if not paywall_id:
        raise ConfigError("no paywall: pass paywall_id=..., or set PAYWALL_ID")
    if not origin:
        raise ConfigError("no origin: pass api_origin='https://<your paywall's domain>', or set PAYWALL_ORIGIN")
    validation.segment("paywall_id", paywall_id)
    base = parse_base_url("api_origin", origin, allow_insecure_http=settings.allow_insecure_http)
    if base.path not in ("", "/"):
        raise ConfigError("api_origin: only scheme, host and port, e.g. https://pay.example.com")
    return PaywallEndpoint(paywall_id=paywall_id, origin=base.origin())


def _check_key(key: Secret | None, settings: PaywallClientSettings) -> None:
    if key is None:
        return
    check_key(key)
    if sys.platform == "emscripten" and not settings.allow_insecure_browser_usage:
        raise PaywallConfigError(
            "apikey_in_browser", "a server key in a browser can be read by everybody who visits the page"
        )


def _base_headers(endpoint: PaywallEndpoint, settings: PaywallClientSettings) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "User-Agent": f"montra-python/{__version__}",
        "X-SDK-Version": SDK_VERSION,
        "X-Paywall-Id": quote(endpoint.paywall_id, safe="!#$&'*+^`|~"),
    }
    if capabilities := ",".join(validation.texts("capabilities", list(settings.capabilities)) or ()):
        header_text("capabilities", capabilities)
        headers["X-SDK-Capabilities"] = capabilities
    return headers


def _failover(origin: URL, settings: PaywallClientSettings) -> Failover | None:
    wanted = settings.edge_fallback
    if isinstance(wanted, str):
        allowed = settings.allow_insecure_http
        return Failover(origin, parse_base_url("edge_fallback", wanted, allow_insecure_http=allowed).origin())
    edge = edge_of(origin) if wanted else None
    return None if edge is None else Failover(origin, edge)
