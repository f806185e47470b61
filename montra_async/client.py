"""`Montra`: all resources of the Montra API on one `BaseClient`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from typing import ClassVar

import aiohttp

from ._version import __version__
from .core.base_url import parse_base_url
from .core.client import check_key
from .core.errors import ConfigError
from .core.http.connection import ClientSettings
from .core.options import MAX_RESPONSE_SIZE, Hook, Timeout, not_text
from .core.redaction import Secret, SecretText
from .resources.analytics import AnalyticsApi
from .resources.audit_logs import AuditLogsApi
from .resources.checkout_links import CheckoutLinksApi
from .resources.customers import CustomersApi
from .resources.features import FeaturesApi
from .resources.invoices import InvoicesApi
from .resources.meters import MetersApi
from .resources.pricing_models import PricingModelsApi
from .resources.refunds import RefundsApi
from .resources.responses import MONTRA
from .resources.subscriptions import SubscriptionsApi
from .resources.webhook_endpoints import WebhookEndpointsApi
from .webhooks.helpers import WebhookHelpers

DEFAULT_BASE_URL = "https://dev.montra.fi/api/v1"


class Montra(
    CustomersApi,
    MetersApi,
    PricingModelsApi,
    FeaturesApi,
    CheckoutLinksApi,
    SubscriptionsApi,
    RefundsApi,
    InvoicesApi,
    WebhookEndpointsApi,
    AuditLogsApi,
    AnalyticsApi,
):
    """The Montra API, one coroutine per endpoint.

    Create one client and keep it: it pools connections, works on every event loop (also on several, one after the
    other, and after a fork), and may be created at import time. `async with` or `aclose()` closes its connections; a
    later call opens new ones.

    Args:
        api_key: secret key `sk_...`. Default: the environment variable `MONTRA_API_KEY`.
        base_url: URL of the API. Default: the environment variable `MONTRA_BASE_URL`, else
            `https://dev.montra.fi/api/v1`.
        timeout: seconds for a whole call with all its attempts, or a `Timeout`. Default: 60.
        max_attempts: attempts per call. Default: 3; 1 for no retries.
        pool_size: maximum number of connections, and so of concurrent calls, per event loop. Default: 100. Further
            calls wait.
        max_response_size: bytes of a decompressed response. Default: 64 MiB. A larger one is an
            `InvalidResponseError`. Of an error's body at most 64 KiB are read.
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
        allow_insecure_http: allow a plain `http://` base URL of another host than this one. The key travels in clear.
        allow_insecure_tls: allow connections without a check of certificates. Anybody on the network path can read
            the key; an `InsecureTlsWarning` says so.

    Raises:
        ConfigError: no key, or a base URL that must not receive a key.
        InvalidArgumentError: a setting is invalid.
    """

    _service = MONTRA
    webhooks: ClassVar[WebhookHelpers] = WebhookHelpers("montra")

    def __init__(
        self,
        api_key: SecretText | None = None,
        base_url: SecretText | None = None,  # it may hold credentials by mistake
        *,
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
        allow_insecure_http: bool = False,
        allow_insecure_tls: bool = False,
    ) -> None:
        problem = not_text(api_key=api_key, base_url=base_url, proxy=proxy)
        if problem is not None:
            del api_key, base_url, proxy
            raise ConfigError(problem)
        key = Secret((api_key if api_key is not None else os.environ.get("MONTRA_API_KEY", "")).strip())
        hidden_proxy = None if proxy is None else Secret(proxy)
        del api_key, proxy  # error reporters record the local variables of a traceback's frames
        if not key.reveal():
            raise ConfigError("no API key: pass api_key=..., or set the environment variable MONTRA_API_KEY")
        check_key(key)
        address = Secret(base_url or os.environ.get("MONTRA_BASE_URL") or DEFAULT_BASE_URL)
        del base_url  # it may hold credentials, or be the key in the wrong place
        self._connect(
            base_url=str(parse_base_url("base_url", address, allow_insecure_http=allow_insecure_http)),
            headers=lambda: _base_headers(key),
            secrets=(key,),
            settings=ClientSettings(
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
                allow_insecure_tls=allow_insecure_tls,
            ),
        )


def _base_headers(key: Secret) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {key.reveal()}",
        "Accept": "application/json",
        "User-Agent": f"montra-python/{__version__}",
    }
