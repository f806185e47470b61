"""Settings of a client and of its calls."""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import aiohttp
import attrs

from .base_url import Proxy, parse_proxy
from .errors import ConfigError, InvalidArgumentError
from .http.aiohttp_compat import verifies_certificates
from .http.connector import LazyTimeout
from .redaction import Secret, ShownWhenHalfBuilt
from .type_guards import is_mapping

Seconds: TypeAlias = float

ERROR_TIMEOUT: Seconds = 30.0

MAX_RESPONSE_SIZE = 64 * 1024 * 1024
"""Bytes of an answer, decompressed, by default: lists come in one piece."""


def _positive(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise InvalidArgumentError(attribute.name, f"seconds (more than 0, less than 10**9) or None, not {value!r}")


def _at_least_one(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgumentError(attribute.name, f"a whole number of at least 1, not {value!r}")


@attrs.frozen(kw_only=True, repr=False)
class Timeout(ShownWhenHalfBuilt):
    """Time-outs in seconds; None waits for ever.

    Attributes:
        total: the whole call with all its tries and pauses.
        connect: name look-up, TCP and TLS of one try.
        read: the longest silence while waiting for, or reading, an answer. Noticed up to a tenth, at most 1 s, later.
        pool: waiting for a free connection when `pool_size` calls are under way.
    """

    total: Seconds | None = attrs.field(default=60.0, validator=_positive)
    connect: Seconds | None = attrs.field(default=5.0, validator=_positive)
    read: Seconds | None = attrs.field(default=30.0, validator=_positive)
    pool: Seconds | None = attrs.field(default=30.0, validator=_positive)


def as_timeout(value: float | Timeout) -> Timeout:
    """A bare number is the total time-out."""
    if isinstance(value, Timeout):
        return value
    try:
        return Timeout(total=value)
    except InvalidArgumentError as error:
        raise InvalidArgumentError("timeout", error.problem) from None


@attrs.frozen(kw_only=True)
class CallEvent:
    """What a hook is told about one try of one call.

    Attributes:
        method, path: the call; the path carries ids but never a query or a key.
        attempt: 1 for the first try.
        elapsed: seconds since this try began; 0.0 in `on_request`.
        status: HTTP status, None before an answer and when none came.
        request_id: the answer's `x-request-id`, when present.
        error: what went wrong instead of an answer.
        pause: seconds until the next try, in `on_retry` only.
    """

    method: str
    path: str
    attempt: int
    elapsed: Seconds = 0.0
    status: int | None = None
    request_id: str | None = None
    error: Exception | None = None
    pause: Seconds | None = None


Hook: TypeAlias = Callable[[CallEvent], object]


@attrs.frozen(kw_only=True)
class Hooks:
    """Plain functions, called on the event loop: be quick. One that raises is logged and ignored."""

    on_request: Hook | None = None
    on_response: Hook | None = None
    on_retry: Hook | None = None


@attrs.frozen(kw_only=True, repr=False)
class Connection(ShownWhenHalfBuilt):
    """How connections are made. `session` wins over everything else; `proxy` may hold a password."""

    pool_size: int = attrs.field(default=100, validator=_at_least_one)
    session: aiohttp.ClientSession | None = None
    connector: aiohttp.BaseConnector | Callable[[], aiohttp.BaseConnector] | None = None
    proxy: Proxy | None = attrs.field(default=None, converter=attrs.converters.optional(parse_proxy))
    ssl: Any = True
    trace_configs: tuple[aiohttp.TraceConfig, ...] = ()
    allow_insecure_tls: bool = False

    def __attrs_post_init__(self) -> None:
        self._check_kinds()
        rest = (self.connector, self.proxy, self.trace_configs or None, None if self.ssl is True else self.ssl)
        if self.session is not None and any(part is not None for part in rest):
            raise ConfigError("session= brings its own connector, proxy, ssl and trace_configs: give one or the other")
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
        if any(not isinstance(one, aiohttp.TraceConfig) for one in self.trace_configs):
            raise ConfigError("trace_configs: aiohttp.TraceConfig objects")

    def check_certificates(self, value: Any, name: str) -> None:
        """Refuse to send a key to whoever answers, unless that was asked for by name.

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


def not_text(**settings: object) -> str | None:
    """What is wrong when one of these is neither text nor None. The message holds no value: it may be a secret."""
    wrong = [
        f"{name}: a string, not {type(one).__name__}"
        for name, one in settings.items()
        if one is not None and not isinstance(one, str)
    ]
    return wrong[0] if wrong else None


class InsecureTlsWarning(UserWarning):
    """A client that sends its key to any certificate was asked for."""


_RESERVED = frozenset(
    {"authorization", "idempotency-key", "content-type", "content-length", "transfer-encoding", "host"}
)


_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""What RFC 9110 allows as the name of a header."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def is_header_value(value: str) -> bool:
    """Whether `value` fits into one header: no line break or other control character, no half of a surrogate pair."""
    return _CONTROL.search(value) is None


def header_text(parameter: str, value: str | None) -> str | None:
    """`value`, which is to be sent in a header.

    Raises:
        InvalidArgumentError: it can't be.
    """
    if value is not None and not is_header_value(value):
        raise InvalidArgumentError(parameter, "line breaks and other control characters can't be sent in a header")
    return value


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Refuse headers that would break a call, or replace what the client is responsible for."""
    if not is_mapping(headers):
        raise InvalidArgumentError("headers", f"a mapping of names to values, not {type(headers).__name__}")
    for name, value in headers.items():
        if not all(isinstance(part, str) for part in (name, value)):
            raise InvalidArgumentError("headers", "names and values are strings")
        if name.lower() in _RESERVED:
            raise InvalidArgumentError("headers", f"{name} is set by the client")
        if not _TOKEN.fullmatch(name) or not is_header_value(value):
            raise InvalidArgumentError("headers", f"{name!r} can't be sent in a header")
    return dict(headers)


def _eager_timeout(options: CallOptions) -> aiohttp.ClientTimeout:
    timeout = options.timeout
    return aiohttp.ClientTimeout(total=None, connect=timeout.connect, sock_read=timeout.read)


def _lazy_timeout(options: CallOptions) -> LazyTimeout:
    timeout = options.timeout
    return LazyTimeout.of(connect=timeout.connect, silence=timeout.read)


@attrs.frozen(kw_only=True, repr=False)
class CallOptions(ShownWhenHalfBuilt):
    """What `with_options` changes."""

    timeout: Timeout = attrs.field(factory=Timeout)
    max_attempts: int = attrs.field(default=3, validator=_at_least_one)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=check_headers, repr=False)
    eager_timeout: aiohttp.ClientTimeout = attrs.field(
        init=False, repr=False, default=attrs.Factory(_eager_timeout, takes_self=True)
    )
    lazy_timeout: LazyTimeout = attrs.field(
        init=False, repr=False, default=attrs.Factory(_lazy_timeout, takes_self=True)
    )
    max_response_size: int = attrs.field(default=MAX_RESPONSE_SIZE, validator=_at_least_one)
    error_timeout: Seconds = ERROR_TIMEOUT
    """For the body of an error that answers a call without a total time-out."""

    def replace(
        self,
        timeout: float | Timeout | None,
        max_attempts: int | None,
        headers: Mapping[str, str] | None,
        max_response_size: int | None = None,
    ) -> CallOptions:
        """These options with some of them changed. Headers are added to the present ones."""
        return CallOptions(
            timeout=self.timeout if timeout is None else as_timeout(timeout),
            max_attempts=self.max_attempts if max_attempts is None else max_attempts,
            headers={**self.headers, **(headers or {})},
            max_response_size=self.max_response_size if max_response_size is None else max_response_size,
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
    ssl: Any = True
    trace_configs: Iterable[aiohttp.TraceConfig] = ()
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
        """How connections are made."""
        return Connection(
            pool_size=self.pool_size,
            session=self.session,
            connector=self.connector,
            proxy=self.proxy,
            ssl=self.ssl,
            trace_configs=tuple(self.trace_configs),
            allow_insecure_tls=self.allow_insecure_tls,
        )

    def hooks(self) -> Hooks:
        """The functions that are told about attempts."""
        return Hooks(on_request=self.on_request, on_response=self.on_response, on_retry=self.on_retry)
