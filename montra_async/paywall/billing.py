"""`BillingClient`: checkout, access, tokens and tickets of a paywall."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from typing import ClassVar

import aiohttp

from ..core.options import MAX_RESPONSE_SIZE, Hook, Timeout, not_text
from ..core.redaction import Secret, SecretText
from ..webhooks.helpers import WebhookHelpers
from .auth import AuthClient
from .catalog import CatalogApi
from .errors import PaywallConfigError, translate_errors
from .identity import Identity
from .locales import validated_language
from .paywall_client import PaywallClientSettings
from .purchases import PurchasesApi
from .support import SupportApi
from .tokens import TokensApi
from .user_scope import ClientCaches, validated_auth, validated_identity


class BillingClient(CatalogApi, PurchasesApi, TokensApi, SupportApi):
    """Checkout, prices, access, tokens and tickets of one paywall.

    Create one client and share it: it pools connections, and works on every event loop and in every thread. A view,
    `billing.for_user(email=..., user_id=...)`, makes calls for one user. Views are cheap: create one for each request.

    Args:
        paywall_id: id of the paywall. Default: the environment variable `PAYWALL_ID`.
        api_origin: the paywall's own domain, e.g. `https://pay.example.com`. Default: the environment variable
            `PAYWALL_ORIGIN`.
        api_key: server key `sk_...`. Default: the environment variable `MONETIZE_API_KEY`; some calls need no key.
        identity: the user that calls are made for. Default: none; `for_user` sets one.
        auth: the session of the user. Default: none.
        accept_language: language tag or `Accept-Language` header for labels and descriptions. Default: the paywall's
            default language.
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
        PaywallConfigError: `invalid_config`: no paywall id or origin, or settings that contradict each other;
            `apikey_in_browser`.
        PaywallInvalidArgumentError: `invalid_argument`: a setting that is invalid by itself.
    """

    webhooks: ClassVar[WebhookHelpers] = WebhookHelpers("paywall")

    def __init__(
        self,
        paywall_id: str | None = None,
        api_origin: SecretText | None = None,  # it may hold credentials by mistake
        api_key: SecretText | None = None,
        *,
        identity: Identity | None = None,
        auth: AuthClient | None = None,
        accept_language: str | None = None,
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
        problem = not_text(paywall_id=paywall_id, api_origin=api_origin, api_key=api_key, proxy=proxy)
        if problem is not None:
            del api_key, api_origin, proxy
            raise PaywallConfigError("invalid_config", problem)
        key = Secret((api_key if api_key is not None else os.environ.get("MONETIZE_API_KEY", "")).strip())
        origin = None if api_origin is None else Secret(api_origin)
        hidden_proxy = None if proxy is None else Secret(proxy)
        del api_key, api_origin, proxy  # error reporters record the local variables of a traceback's frames
        self._key = key if key.reveal() else None
        self._open(
            paywall_id,
            origin,
            PaywallClientSettings(
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
            ),
            key=self._key,
        )
        with translate_errors():
            self._accept_language = validated_language("accept_language", accept_language)
        self._identity = validated_identity(identity)
        self._auth = validated_auth(auth)
        self._caches = ClientCaches()
