"""Where the keys may go: parse a base URL, and refuse to send a key in clear."""

from __future__ import annotations

import ipaddress

from yarl import URL

from .errors import ConfigError


def parse_base_url(parameter: str, value: str, *, allow_insecure_http: bool) -> URL:
    """A checked base URL without a slash at its end.

    Raises:
        ConfigError: not an http(s) URL; carries credentials, a query or a fragment; or is plain http to anything but
            this machine.
    """
    try:
        url = URL(value.strip())
        host, _ = url.host, url.port
    except ValueError:
        raise ConfigError(f"{parameter}: not a URL") from None
    if url.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{parameter}: give a full URL such as https://api.example.com/v1")
    if url.user is not None or url.password is not None:
        raise ConfigError(f"{parameter}: credentials do not belong in a URL")
    if url.query_string or url.fragment:
        raise ConfigError(f"{parameter}: a query or fragment does not belong in a base URL")
    if url.scheme == "http" and not allow_insecure_http and not is_loopback(host):
        raise ConfigError(
            f"{parameter}: plain http:// to {host} would send the key in clear; use https://, "
            "or allow_insecure_http=True if you know why"
        )
    return url.with_path(url.raw_path.rstrip("/"), encoded=True)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
