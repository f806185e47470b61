"""Settings of connections: the pool, TLS, proxy, and what the user brings of aiohttp's own objects."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import aiohttp
import attrs
from yarl import URL

from ..base_url import Proxy, parse_proxy
from ..errors import ConfigError
from ..options import MAX_RESPONSE_SIZE, CallOptions, Hook, Hooks, Timeout, as_timeout, at_least_one
from ..redaction import Secret, ShownWhenHalfBuilt
from .aiohttp_compat import lazy_timeout, verifies_certificates
from .environment import EnvironmentProxies, read_environment


def as_tuple(value: Any) -> Any:
    """The elements of an iterable. Anything else is returned as it is, and refused later."""
    iterable = hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
    return tuple(value) if iterable else value


class InsecureTlsWarning(UserWarning):
    """`allow_insecure_tls` was given: the client accepts any certificate."""


@attrs.frozen(kw_only=True, repr=False)
class Connection(ShownWhenHalfBuilt):
    """How connections are made.

    Attributes:
        pool_size: requests in flight at most, per event loop.
        session: a session of the user's, which is not closed; excludes `connector`, `proxy`, `ssl`, `trace_configs`.
        connector: of the user's, which is not closed, or a function that makes one per event loop.
        proxy: address of an HTTP proxy, as a `Secret`: it may hold a password.
        environment: proxies of the environment; None when it is not asked.
        ssl: True for the system's certificate authorities, or an `ssl.SSLContext` or `aiohttp.Fingerprint`.
        trace_configs: of aiohttp.
        allow_insecure_tls: accept a setting that accepts any certificate.
    """

    pool_size: int = attrs.field(default=100, validator=at_least_one)
    session: aiohttp.ClientSession | None = None
    connector: aiohttp.BaseConnector | Callable[[], aiohttp.BaseConnector] | None = None
    proxy: Proxy | None = attrs.field(default=None, converter=attrs.converters.optional(parse_proxy))
    environment: EnvironmentProxies | None = attrs.field(default=None, repr=False)
    ssl: Any = True
    trace_configs: Iterable[aiohttp.TraceConfig] = ()
    allow_insecure_tls: bool = False

    def __attrs_post_init__(self) -> None:
        self._check_kinds()
        ssl = None if self.ssl is True else self.ssl
        rest = (self.connector, self.proxy, self.environment, self.trace_configs or None, ssl)
        if self.session is not None and any(part is not None for part in rest):
            raise ConfigError(
                "session= brings its own connector, proxy, trust_env, ssl and trace_configs: give one or the other"
            )
        for name in ("ssl", "session", "connector"):
            self.check_certificates(getattr(self, name), name)

    def _check_kinds(self) -> None:
        if self.session is not None and not isinstance(self.session, aiohttp.ClientSession):
            raise ConfigError(f"session: an aiohttp.ClientSession, not {type(self.session).__name__}")
        if self.connector is not None and not (
            isinstance(self.connector, aiohttp.BaseConnector) or callable(self.connector)
        ):
            raise ConfigError(f"connector: an aiohttp connector or a function, not {type(self.connector).__name__}")
        if not isinstance(self.ssl, (bool, ssl.SSLContext, aiohttp.Fingerprint)):
            raise ConfigError(f"ssl: an ssl.SSLContext, not {type(self.ssl).__name__}")
        if not isinstance(self.trace_configs, tuple) or any(
            not isinstance(one, aiohttp.TraceConfig) for one in self.trace_configs
        ):
            raise ConfigError("trace_configs: aiohttp.TraceConfig objects")

    def proxy_of(self, url: URL) -> Proxy | None:
        """The proxy on the way to a URL; None without one.

        Args:
            url: of the service.
        """
        return self.proxy if self.environment is None else self.environment.proxy_of(url)

    @property
    def sends_own_headers(self) -> bool:
        """Whether aiohttp's session has the headers of every request, the key among them.

        A session of the user's does not have them. With a proxy, aiohttp would send those of its session to the proxy,
        too, and make the key the `Proxy-Authorization`: they go with each request then.
        """
        return self.session is None and self.proxy is None and self.environment is None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Credentials of proxies."""
        if self.environment is not None:
            return self.environment.secrets
        return () if self.proxy is None else self.proxy.secrets

    def check_certificates(self, value: Any, name: str) -> None:
        """Refuse a setting that accepts any certificate, unless `allow_insecure_tls` was given.

        Args:
            value: of `ssl=`, or a session or connector.
            name: of the setting, for the error.

        Raises:
            ConfigError: `value` accepts any certificate.
        """
        if verifies_certificates(value):
            return
        if not self.allow_insecure_tls:
            raise ConfigError(
                f"{name}: this accepts any certificate, so anybody on the way can read the key; give "
                "ssl=ssl.create_default_context(cafile=...) to trust a certificate authority of your own, or "
                "allow_insecure_tls=True if you know why"
            )
        warnings.warn(
            "allow_insecure_tls=True: certificates are not checked, and anybody on the way can read the key",
            InsecureTlsWarning,
            stacklevel=2,
        )


@attrs.frozen(kw_only=True, repr=False)
class ClientSettings(ShownWhenHalfBuilt):
    """What the constructors of both services' clients take, as the user gave it. `Montra` documents each setting."""

    timeout: float | Timeout | None = None
    max_attempts: int = 3
    pool_size: int = 100
    max_response_size: int = MAX_RESPONSE_SIZE
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    session: aiohttp.ClientSession | None = None
    connector: aiohttp.BaseConnector | Callable[[], aiohttp.BaseConnector] | None = None
    proxy: Secret | None = None
    trust_env: bool = False
    ssl: Any = True
    trace_configs: Iterable[aiohttp.TraceConfig] = attrs.field(default=(), converter=as_tuple)
    on_request: Hook | None = None
    on_response: Hook | None = None
    on_retry: Hook | None = None
    allow_insecure_tls: bool = False

    def call_options(self) -> CallOptions:
        """The options of calls."""
        return CallOptions(
            timeout=Timeout() if self.timeout is None else as_timeout(self.timeout),
            max_attempts=self.max_attempts,
            headers={} if self.headers is None else self.headers,
            max_response_size=self.max_response_size,
        )

    def connection(self) -> Connection:
        """How connections are made.

        Raises:
            ConfigError: settings that contradict each other, or a proxy that is none.
        """
        if not isinstance(self.trust_env, bool):
            raise ConfigError("trust_env: True or False")
        return Connection(
            pool_size=self.pool_size,
            session=self.session,
            connector=self.connector,
            proxy=self.proxy,
            environment=read_environment() if self.trust_env and self.proxy is None else None,
            ssl=self.ssl,
            trace_configs=self.trace_configs,
            allow_insecure_tls=self.allow_insecure_tls,
        )

    def hooks(self) -> Hooks:
        """The functions that are told about attempts."""
        return Hooks(on_request=self.on_request, on_response=self.on_response, on_retry=self.on_retry)


def eager_timeout_of(options: CallOptions) -> aiohttp.ClientTimeout:
    """The time-outs of a call for aiohttp, which applies them from the beginning of a request."""
    return _eager_timeout(options.timeout.connect, options.timeout.read)


def lazy_timeout_of(options: CallOptions) -> aiohttp.ClientTimeout:
    """The time-outs of a call for a `LazyConnector`."""
    return _lazy_timeout(options.timeout.connect, options.timeout.read)


@lru_cache(maxsize=256)
def _eager_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)


@lru_cache(maxsize=256)
def _lazy_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return lazy_timeout(connect=connect, read=read)
