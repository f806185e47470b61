"""Parses base URLs and proxy addresses, and refuses to send a key unencrypted."""

from __future__ import annotations

import ipaddress

import attrs
from yarl import URL

from .errors import ConfigError
from .redaction import Secret


def parse_base_url(parameter: str, address: Secret, *, allow_insecure_http: bool) -> URL:
    """A base URL without a slash at its end.

    Args:
        parameter: name of the argument, for errors.
        address: the URL. It may be a secret by mistake: hold credentials, or be the key itself.
        allow_insecure_http: whether plain http to another machine is accepted.

    Raises:
        ConfigError: not an http(s) URL; carries credentials, a query or a fragment; or is plain http to anything but
            this machine. Neither the message nor a frame contains the address.
    """
    found = _read_base_url(address, allow_insecure_http=allow_insecure_http)
    if isinstance(found, str):
        raise ConfigError(f"{parameter}: {found}")
    return found


def _read_base_url(address: Secret, *, allow_insecure_http: bool) -> URL | str:
    """The URL, or a message that says what is wrong with it."""
    try:
        url = URL(address.reveal().strip())
        host, _ = url.host, url.port
    except ValueError:
        return "not a URL"
    if url.scheme not in ("http", "https") or not host:
        return "give a full URL, with https:// in front"
    if url.user is not None or url.password is not None:
        return "credentials do not belong in a URL"
    if url.query_string or url.fragment:
        return "a query or fragment does not belong in a base URL"
    if url.scheme == "http" and not allow_insecure_http and not is_loopback(host):
        return (
            f"plain http:// to {host} would send the key in clear; use https://, "
            "or allow_insecure_http=True if you know why"
        )
    return url.with_path(url.raw_path.rstrip("/"), encoded=True)


@attrs.frozen(kw_only=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        url: its address, with credentials.
        host: host and port, for messages.
        secrets: credentials to remove from every text that is shown.
    """

    url: Secret
    host: str
    secrets: tuple[Secret, ...]


def parse_proxy(address: Secret, name: str = "proxy") -> Proxy:
    """A proxy from its address.

    Args:
        address: URL, with credentials.
        name: of the argument or environment variable that holds it, for errors. Default: `proxy`.

    Raises:
        ConfigError: not the address of an HTTP proxy. Neither the message nor a frame contains the address, which may
            contain a password.
    """
    found = _read_proxy(address)
    if isinstance(found, str):
        raise ConfigError(f"{name}: {found}")
    return found


def _read_proxy(address: Secret) -> Proxy | str:
    """The proxy, or a message that says what is wrong with its address."""
    try:
        url = URL(address.reveal().strip())
        host, port, password = url.host, url.port, url.password
    except ValueError:
        return "not a URL"
    if url.scheme.startswith("socks"):
        return (
            f"{url.scheme}:// is not spoken here, only http:// and https://; install aiohttp-socks and give "
            "connector=lambda: ProxyConnector.from_url(...), or use an HTTP proxy"
        )
    if url.scheme not in ("http", "https") or not host:
        return "give a full URL such as http://proxy.example.com:3128"
    secrets = {password, url.raw_password, _userinfo(url)} - {None, ""}
    return Proxy(url=address, host=f"{host}:{port}", secrets=tuple(Secret(one) for one in secrets if one))


def _userinfo(url: URL) -> str | None:
    return f"{url.raw_user or ''}:{url.raw_password}" if url.raw_password else None


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
