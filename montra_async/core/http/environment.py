"""Proxies of clients with `trust_env=True`: from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.

aiohttp's own `trust_env` is not used: it would read `.netrc` as well, and send its credentials to the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import attrs
from yarl import URL

from ..base_url import Proxy, parse_proxy
from ..errors import ConfigError
from ..redaction import Secret

_SCHEMES = ("http", "https")
_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]+):(?P<port>[0-9]{1,5})")

Network: TypeAlias = "IPv4Network | IPv6Network"


@attrs.frozen
class NoProxy:
    """The hosts of `NO_PROXY`, which are reached without a proxy.

    Separated by commas or spaces: names, which stand for the names that end with them, too; addresses and networks
    (`10.0.0.0/8`); each also with a port (`example.com:8443`, `[::1]:80`); `*` for all.

    Attributes:
        names: names, with `:port` where one was given.
        networks: addresses and networks, each with its port; None for every port.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[tuple[Network, int | None], ...] = ()

    @classmethod
    def parse(cls, listed: str) -> NoProxy:
        """The value of the variable. What can't be a host is a name that no host has."""
        names: set[str] = set()
        networks: list[tuple[Network, int | None]] = []
        for one in re.split(r"[,\s]+", listed):
            found = _PORT.fullmatch(one)
            host, port = (found["host"], int(found["port"])) if found else (one, None)
            try:
                networks.append((ip_network(host.strip("[]"), strict=False), port))
            except ValueError:
                name = host.removeprefix("*.").strip(".").lower()
                if name:
                    names.add(name if port is None else f"{name}:{port}")
        return cls(frozenset(names), tuple(networks))

    def covers(self, url: URL) -> bool:
        """Whether a URL is reached without a proxy."""
        if "*" in self.names:
            return True
        address = _address_of(url)
        if address is not None:
            return any(address in network and port in (None, url.port) for network, port in self.networks)
        spellings = {(host or "").lower() for host in (url.host, url.raw_host)}  # as people and as machines write it
        ends = {".".join(host.split(".")[start:]) for host in spellings for start in range(host.count(".") + 1)}
        return not self.names.isdisjoint(ends | {f"{end}:{url.port}" for end in ends})


def _address_of(url: URL) -> IPv4Address | IPv6Address | None:
    """The address in a URL; None when it has a name."""
    try:
        return ip_address(url.host or "")
    except ValueError:
        return None


@attrs.frozen
class EnvironmentProxies:
    """What the environment said when the client was made.

    Attributes:
        by_scheme: the proxy of `http` and of `https`, where there is one.
        direct: hosts that are reached without a proxy.
        problems: what is wrong with the variable for a scheme: only who would use it needs to know.
    """

    by_scheme: Mapping[str, Proxy]
    direct: NoProxy = NoProxy()
    problems: Mapping[str, ConfigError] = attrs.field(factory=dict[str, ConfigError])

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Credentials of the proxies."""
        return tuple(secret for proxy in self.by_scheme.values() for secret in proxy.secrets)

    def proxy_of(self, url: URL) -> Proxy | None:
        """The proxy for a URL; None for none, or when `NO_PROXY` names its host.

        Raises:
            ConfigError: the variable for its scheme holds no address of an HTTP proxy.
        """
        if self.direct.covers(url):
            return None
        if url.scheme in self.problems:
            raise ConfigError(str(self.problems[url.scheme]))
        return self.by_scheme.get(url.scheme)


def read_environment() -> EnvironmentProxies:
    """Read the variables, in upper or lower case. `HTTP_PROXY` is ignored where `REQUEST_METHOD` is set (CGI)."""
    from urllib.request import getproxies_environment

    found = {name: Secret(value) for name, value in getproxies_environment().items()}
    by_scheme: dict[str, Proxy] = {}
    problems: dict[str, ConfigError] = {}
    for scheme in _SCHEMES:
        name = next((name for name in (scheme, "all") if name in found and found[name].reveal().strip()), None)
        if name is not None:
            try:
                by_scheme[scheme] = parse_proxy(found[name], f"{name.upper()}_PROXY")
            except ConfigError as error:
                problems[scheme] = ConfigError(str(error))  # without frames, which hold the value
    listed = found["no"].reveal() if "no" in found else ""
    return EnvironmentProxies(by_scheme, NoProxy.parse(listed), problems)
