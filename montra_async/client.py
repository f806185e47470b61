"""`Montra`: all resources of the Montra API on one transport."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

import aiohttp

from ._version import __version__
from .core.base_url import parse_base_url
from .core.errors import ConfigError
from .core.http.transport import Transport
from .core.options import MAX_RESPONSE_SIZE, CallOptions, Connection, Hook, Hooks, Timeout, as_timeout, not_text
from .core.redaction import Secret
from .core.signature import signing_secrets, verify_signature
from .resources.analytics import AnalyticsApi
from .resources.audit_logs import AuditLogsApi
from .resources.checkout_links import CheckoutLinksApi
from .resources.customers import CustomersApi
from .resources.features import FeaturesApi
from .resources.invoices import InvoicesApi
from .resources.meters import MetersApi
from .resources.pricing_models import PricingModelsApi
from .resources.refunds import RefundsApi
from .resources.subscriptions import SubscriptionsApi
from .resources.webhook_endpoints import WebhookEndpointsApi

if TYPE_CHECKING:
    from datetime import timedelta

    from .core.signature import Secrets
    from .webhooks import WebhookEvent
    from .webhooks.parsing import Signature

DEFAULT_BASE_URL = "https://dev.montra.fi/api/v1"


class Webhooks:
    """`client.webhooks`: what a receiver of webhooks needs. Pure functions, also in `montra_async.webhooks`."""

    verify_signature = staticmethod(verify_signature)

    @staticmethod
    def parse(
        raw_body: bytes | str,
        signature: Signature,
        secret: Secrets,
        *,
        max_age: timedelta | None = None,
        clock_skew: timedelta | None = None,
        require_created_at: bool = False,
    ) -> WebhookEvent:
        """An event that Montra surely sent: see `montra_async.webhooks.parse`."""
        from .webhooks import parse  # its many classes are made when somebody wants them
        from .webhooks.parsing import CLOCK_SKEW

        secrets = signing_secrets(secret)
        del secret  # what is below may raise: a traceback with local variables must not show it
        return parse(
            raw_body,
            signature,
            secrets,
            max_age=max_age,
            clock_skew=CLOCK_SKEW if clock_skew is None else clock_skew,
            require_created_at=require_created_at,
        )


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

    Make one client and keep it: it pools connections, works on every event loop (also one after the other, and after a
    fork), and may be made at import time. `async with` or `aclose()` closes its connections; it opens new ones when it
    is used again.

    Args:
        api_key: `sk_...`; the environment's `MONTRA_API_KEY` when not given.
        base_url: the environment's `MONTRA_BASE_URL`, else `https://dev.montra.fi/api/v1`.
        timeout: seconds for a whole call with all its tries, or a `Timeout`; 60 by default.
        max_attempts: tries per call, 3 by default; 1 for no retries.
        pool_size: connections, and so calls, at the same time per event loop; further ones wait.
        max_response_size: bytes of an answer, decompressed; 64 MiB by default. A larger one is an
            `InvalidResponseError`. Of an error at most 64 KiB are read.
        headers: sent with every call, in addition to the client's own.
        session: your own aiohttp session, used on its own event loop, and closed by you.
        connector: your own aiohttp connector, or better a function that makes one for each event loop.
        proxy: address of an HTTP proxy.
        ssl: an `ssl.SSLContext` for private certificate authorities or client certificates. One that checks no
            certificates, and `False`, need `allow_insecure_tls` as well.
        trace_configs: aiohttp's tracing.
        on_request, on_response, on_retry: functions that are told about each try with a `CallEvent`.
        allow_insecure_http: allow a plain `http://` base URL for other hosts than this one. The key travels in clear.
        allow_insecure_tls: allow connections to whoever answers, whatever its certificate. Anybody on the way can read
            the key; an `InsecureTlsWarning` says so.

    Raises:
        ConfigError: no key, or a base URL that a key must not be sent to.
        InvalidArgumentError: a setting can't be right.
    """

    webhooks: ClassVar[Webhooks] = Webhooks()

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float | Timeout | None = None,
        max_attempts: int = 3,
        pool_size: int = 100,
        max_response_size: int = MAX_RESPONSE_SIZE,
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | Callable[[], aiohttp.BaseConnector] | None = None,
        proxy: str | None = None,
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
        del api_key, proxy  # error reporters print the local variables of a traceback's frames
        _check_key(key)
        address = base_url or os.environ.get("MONTRA_BASE_URL") or DEFAULT_BASE_URL
        self._base = str(parse_base_url("base_url", address, allow_insecure_http=allow_insecure_http))
        self._options = CallOptions(
            timeout=Timeout() if timeout is None else as_timeout(timeout),
            max_attempts=max_attempts,
            headers=headers or {},
            max_response_size=max_response_size,
        )
        self._transport = Transport(
            headers=lambda: _base_headers(key),
            secrets=(key,),
            connection=Connection(
                pool_size=pool_size,
                session=session,
                connector=connector,
                proxy=hidden_proxy,
                ssl=ssl,
                trace_configs=tuple(trace_configs),
                allow_insecure_tls=allow_insecure_tls,
            ),
            hooks=Hooks(on_request=on_request, on_response=on_response, on_retry=on_retry),
        )

    def with_options(
        self,
        *,
        timeout: float | Timeout | None = None,
        max_attempts: int | None = None,
        headers: Mapping[str, str] | None = None,
        max_response_size: int | None = None,
    ) -> Montra:
        """The same client with other settings for the calls made through it: a cheap view on the same connections."""
        view = object.__new__(type(self))
        view._base = self._base
        view._transport = self._transport
        view._options = self._options.but(timeout, max_attempts, headers, max_response_size)
        return view

    async def aclose(self) -> None:
        """Close the connections. Calls that are under way fail; a later call opens new connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> Montra:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Montra {self._base}>"


def _check_key(key: Secret) -> None:
    if not key.reveal():
        raise ConfigError("no API key: pass api_key=..., or set the environment variable MONTRA_API_KEY")
    if not key.reveal().isascii() or not key.reveal().isprintable() or " " in key.reveal():
        raise ConfigError("the API key holds characters that no key has; was it copied whole, and nothing else?")


def _base_headers(key: Secret) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {key.reveal()}",
        "Accept": "application/json",
        "User-Agent": f"montra-python/{__version__}",
    }
