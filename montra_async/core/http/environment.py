"""Proxies of clients with `trust_env=True`: from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.

aiohttp's own `trust_env` is not used: it would read `.netrc` as well, and send its credentials to the service.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from yarl import URL

from ..base_url import Proxy, parse_proxy
from ..redaction import Secret

_SCHEMES = ("http", "https")


@attrs.frozen
class EnvironmentProxies:
    """What the environment said when the client was made.

    Attributes:
        by_scheme: the proxy of `http` and of `https`, where there is one.
        direct: hosts, and the ends of host names, that are reached without a proxy; `*` for all.
    """

    by_scheme: Mapping[str, Proxy]
    direct: frozenset[str]

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Credentials of the proxies."""
        return tuple(secret for proxy in self.by_scheme.values() for secret in proxy.secrets)

    def proxy_of(self, url: URL) -> Proxy | None:
        """The proxy for a URL; None for none, or when `NO_PROXY` names its host."""
        host = (url.host or "").lower()
        parts = host.split(".")
        ends = [".".join(parts[start:]) for start in range(len(parts))]  # itself, and the domains that it is in
        names = ("*", *ends, *(f"{end}:{url.port}" for end in ends))
        return self.by_scheme.get(url.scheme) if self.direct.isdisjoint(names) else None


def read_environment() -> EnvironmentProxies:
    """Read the variables, in upper or lower case. `HTTP_PROXY` is ignored where `REQUEST_METHOD` is set (CGI).

    Raises:
        ConfigError: a variable holds no address of an HTTP proxy. The message has its name, not its value.
    """
    from urllib.request import getproxies_environment

    found = {name: Secret(value) for name, value in getproxies_environment().items()}
    by_scheme: dict[str, Proxy] = {}
    for scheme in _SCHEMES:
        for name in (scheme, "all"):
            if name in found and found[name].reveal().strip():
                by_scheme[scheme] = parse_proxy(found[name], f"{name.upper()}_PROXY")
                break
    listed = found["no"].reveal() if "no" in found else ""
    direct = (one.strip().removeprefix("*.").strip(".[]").lower() for one in listed.split(","))
    return EnvironmentProxies(by_scheme, frozenset(one for one in direct if one))
