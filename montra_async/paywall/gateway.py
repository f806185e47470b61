"""`ApiGatewayClient`: calls of AI providers through the paywall service, which charges the user."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from typing import Any

import aiohttp
import attrs
from yarl import URL

from ..core import validation
from ..core.compat import Self
from ..core.errors import InvalidArgumentError
from ..core.http.messages import RawResponse, Request
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
from ..core.redaction import Secret, SecretText
from .auth import AuthClient
from .billing import BillingClient
from .errors import PaywallConfigError, translate_errors
from .gateway_body import set_body
from .gateway_response import QUERY_TYPE, GatewayResponse
from .paywall_client import PaywallClient, PaywallClientSettings
from .responses import error_of, quota_error
from .token_provider import SessionTokenProvider
from .user_scope import validated_auth

_RESERVED_HEADERS = frozenset({"x-sdk-version", "x-paywall-id", "x-user-id", "x-api-key"})
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class ApiGatewayClient(PaywallClient):
    """Calls AI providers through the paywall's gateway, which charges the user one token per call.

    A server that has the provider's key should call the provider itself, and charge with
    `billing.for_user(...).metered(...)`: then a failed response costs nothing.

    Args:
        paywall_id: id of the paywall. Default: the environment variable `PAYWALL_ID`.
        api_origin: the paywall's own domain, e.g. `https://pay.example.com`. Default: the environment variable
            `PAYWALL_ORIGIN`.
        user_id: your own id of the user to charge, used without a session. Default: that of `billing`'s identity.
        auth: the session of the user to charge. Default: that of `billing`.
        billing: a client whose paywall, connections and settings are shared, and whose cached balances are updated.
            Give no other setting with it. Default: None.
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
        trust_env: whether the proxies of the environment are used (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`,
            `NO_PROXY`), as they are when the client is made. `.netrc` is never read; `proxy` wins. Default: False.
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
        PaywallConfigError: `invalid_config`: no paywall id or origin, or settings that contradict each other.
        PaywallInvalidArgumentError: `invalid_argument`: a setting that is invalid by itself.
    """

    def __init__(
        self,
        paywall_id: str | None = None,
        api_origin: SecretText | None = None,  # it may hold credentials by mistake
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
        trust_env: bool = False,
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
        problem = not_text(paywall_id=paywall_id, api_origin=api_origin, proxy=proxy)
        if problem is not None:
            del api_origin, proxy
            raise PaywallConfigError("invalid_config", problem)
        origin = None if api_origin is None else Secret(api_origin)
        hidden_proxy = None if proxy is None else Secret(proxy)
        del api_origin, proxy  # error reporters record the local variables of a traceback's frames
        settings = PaywallClientSettings(
            timeout=timeout,
            max_attempts=max_attempts,
            pool_size=pool_size,
            max_response_size=max_response_size,
            headers=headers,
            session=session,
            connector=connector,
            proxy=hidden_proxy,
            trust_env=trust_env,
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
            self._open(paywall_id, origin, settings)
        elif paywall_id is not None or origin is not None or settings != PaywallClientSettings():
            raise PaywallConfigError(
                "invalid_config", "billing= brings paywall, origin and settings with it: give one or the other"
            )
        else:
            self._share(billing)
            auth = auth or billing._auth
            user_id = user_id or billing._identity.user_id
        self._set_user(user_id, auth)

    def for_user(self, *, user_id: str | None = None, auth: AuthClient | None = None) -> Self:
        """A view of this client that charges one user. It shares the connections.

        Args:
            user_id: your own id of the user, used without a session. Default: None.
            auth: the user's session. Default: None.

        Raises:
            PaywallInvalidArgumentError: `invalid_argument`.
        """
        view = copy.copy(self)
        view._set_user(user_id, auth)
        return view

    def _set_user(self, user_id: str | None, auth: AuthClient | None) -> None:
        with translate_errors():
            self._user_id = header_text("user_id", validation.optional_text("user_id", user_id))
        self._auth = validated_auth(auth)

    async def call(
        self,
        provider_id: str,
        path: str = "",
        *,
        method: str = "POST",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> GatewayResponse:
        """Call a provider, and return its response when the headers have arrived.

            async with await gateway.call("openai", "v1/chat/completions", body={...}) as response:
                async for event in response.iter_sse():
                    ...

        `POST /api/v1/api-gateway/{provider_id}/{path}`. There is no time-out for the response. A call is sent once,
        because it may have been charged: it is retried only if it certainly did not reach the service, and once after
        its access token was refused.

        Args:
            provider_id: id of a provider of the paywall.
            path: path and query of the provider's endpoint. Default: none.
            method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Default: `POST`.
            body: bytes, str, a file open for binary reading, an iterator or async iterable of bytes, an aiohttp form,
                or JSON. Default: no body.
            headers: headers in addition to the client's own, which they can't replace. Default: none.

        Raises:
            QuotaExceededError: `not_enough_queries`: the user has no tokens left.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallApiError: the code of the service or the provider, e.g. `provider-disabled`.
            PaywallNetworkError: `network_error`, `timeout`: the call may have been charged if `error.sent`.
        """
        request = self._gateway_request(provider_id, path, method, body, headers)
        user_id = self._user_id
        tokens = None if self._auth is None else await self._auth._token_provider()
        if tokens is None and user_id is not None:
            request.headers["X-User-ID"] = user_id
        response = await self._respond(request, tokens)
        if response.stream is None:
            error = quota_error(response, request) if response.status == 402 else error_of(response, request)
            raise self._redacted(error, response, request)
        self._update_balances(response, tokens)
        return GatewayResponse(response, response.stream, request.path)

    def _gateway_request(
        self, provider_id: str, path: str, method: str, body: Any, headers: Mapping[str, str] | None
    ) -> Request:
        with translate_errors():
            if method not in _METHODS:
                raise InvalidArgumentError("method", f"one of {', '.join(sorted(_METHODS))}, not {method!r}")
            provider = validation.segment("provider_id", provider_id)
            provider_path, query = _split_path(path)
            full_path = f"/api/v1/api-gateway/{provider}{provider_path}"
            paywall = validation.query(paywall_id=self._endpoint.paywall_id)
            request = Request(
                method=method,
                path=full_path,
                url=URL(f"{self._endpoint.origin}{full_path}{paywall}{query}", encoded=True),
                repeatable=False,
                streams=True,
            )
            request.headers = _validated_headers(headers or {})
            set_body(request, body)
        return request

    @property
    def _call_options(self) -> CallOptions:
        """The client's options, without the time-outs of the response."""
        timeout = self._options.timeout
        unlimited = Timeout(total=None, read=None, connect=timeout.connect, pool=timeout.pool)
        return attrs.evolve(self._options, timeout=unlimited, error_timeout=timeout.total or ERROR_TIMEOUT)

    def _update_balances(self, response: RawResponse, tokens: SessionTokenProvider | None) -> None:
        """Update the balances in the cache of the billing client."""
        if self._billing is not None and tokens is not None and tokens.user_id is not None:
            self._billing._record_charge(tokens.user_id, response.headers.get(QUERY_TYPE))


def _split_path(path: str) -> tuple[str, str]:
    """The encoded path of a provider's endpoint, with a leading slash, and its query, with a leading `&`.

    Raises:
        InvalidArgumentError: the path leads to another endpoint, or replaces `paywall_id`.
    """
    if not isinstance(path, str):
        raise InvalidArgumentError("path", f"a string, not {type(path).__name__}")
    below, _, query = path.lstrip("/").partition("?")
    if any(part in (".", "..") for part in below.split("/")):
        raise InvalidArgumentError("path", "`.` and `..` would lead elsewhere")
    header_text("path", path)
    if any(part.partition("=")[0] == "paywall_id" for part in query.split("&")):
        raise InvalidArgumentError("path", "paywall_id is set by the client")
    encoded = f"/{URL.build(path='/' + below).raw_path[1:]}" if below else ""
    return encoded, f"&{URL.build(query_string=query).raw_query_string}" if query else ""


def _validated_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's headers. `Content-Type` is allowed here, because the body is the caller's.

    Raises:
        InvalidArgumentError: a header is set by the client, or can't be sent.
    """
    content_types = {name: value for name, value in headers.items() if name.lower() == "content-type"}
    others = {name: value for name, value in headers.items() if name not in content_types}
    if reserved := [name for name in others if name.lower() in _RESERVED_HEADERS]:
        raise InvalidArgumentError("headers", f"{reserved[0]} is set by the client")
    for name, value in content_types.items():
        header_text(name, validation.text(name, value))
    return {**check_headers(others), **content_types}
