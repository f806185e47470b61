"""Protection against web pages of other origins that make the developer's browser send requests.

These functions only decide; `application` calls them before any route. Each check stops attacks that the others don't:

* the `Host` header, against DNS rebinding: a page at `http://evil.example:4242` whose name is switched to 127.0.0.1 is
  same-origin for the browser, and only the name distinguishes it from the developer's own page;
* `Origin` and `Sec-Fetch-Site`, against pages that send requests to this machine's address; no page can forge them;
* a token for the controls, if other machines may connect.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Sequence

import attrs
from aiohttp import web
from multidict import CIMultiDictProxy

from ..problems import Problem

TOKEN_HEADER: str = "X-Sandbox-Token"  # noqa: S105 - the name of a header
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_.-]{1,253}))(?::([0-9]{1,5}))?", re.ASCII)
_OWN_SITES = ("same-origin", "none")  # `none`: the user entered the address
_MAX_SHOWN = 100


@attrs.frozen
class HostName:
    """A host of a `Host` header or an option.

    Attributes:
        name: the name or address, in lower case.
        port: the port; None when it is not given.
    """

    name: str
    port: int | None

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The name as an IP address; None when it is not one."""
        try:
            return ipaddress.ip_address(self.name)
        except ValueError:
            return None

    @property
    def is_loopback(self) -> bool:
        """Whether it is `localhost` or a loopback address."""
        return self.name == "localhost" or (self.address is not None and self.address.is_loopback)


def parse_host(text: str) -> HostName | None:
    """Parse `name`, `name:port` or `[::1]:port`; None for other text.

    Args:
        text: the header or option.
    """
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    port = None if match[3] is None else int(match[3])
    return HostName((match[1] or match[2]).lower(), port)


def parse_allowed_host(text: str) -> HostName:
    """Parse a host name of an option. Without a port it matches any port.

    Args:
        text: the option.

    Raises:
        ValueError: not a host name.
    """
    host = parse_host(text)
    if host is None:
        raise ValueError(f"{text[:_MAX_SHOWN]!r} is not a host name; give a name or name:port, without http://")
    return host


@attrs.frozen(kw_only=True)
class AccessRules:
    """The host names and the token of one running server.

    Attributes:
        port: the port that it listens on.
        bound: the address or name that it is bound to.
        hosts: further names that it answers to.
        token: the token of the controls; None when they need none.
    """

    port: int
    bound: HostName
    hosts: Sequence[HostName] = ()
    token: str | None = attrs.field(default=None, repr=False)

    def check_host(self, headers: CIMultiDictProxy[str]) -> None:
        """Check the `Host` header.

        Args:
            headers: the request's headers.

        Raises:
            Problem: 403 `host_not_allowed`.
        """
        given = headers.getall("Host", [])
        host = parse_host(given[0]) if len(given) == 1 else None
        if host is None:
            raise Problem(403, "host_not_allowed", "send one Host header with the name or address of this server")
        if not self._answers_to(host):
            raise Problem(
                403,
                "host_not_allowed",
                f"the sandbox does not answer to the host {given[0][:_MAX_SHOWN]!r}, because a web page could use any"
                f" name (DNS rebinding); if it is yours, start with --allow-host {host.name[:_MAX_SHOWN]}"
                f" or Sandbox(allow_hosts=[{host.name[:_MAX_SHOWN]!r}])",
            )

    def _answers_to(self, host: HostName) -> bool:
        if any(allowed.name == host.name and allowed.port in (None, host.port) for allowed in self.hosts):
            return True
        if (host.port or 80) != self.port:
            return False
        # DNS rebinding needs a name: a page that connects by address has that address as its origin.
        is_unspecified = self.bound.address is not None and self.bound.address.is_unspecified
        return host.is_loopback or host.name == self.bound.name or (is_unspecified and host.address is not None)

    def check_token(self, given: str | None) -> None:
        """Check the token of the controls.

        Args:
            given: the header `X-Sandbox-Token`; None without it.

        Raises:
            Problem: 401 `control_token_required`.
        """
        if self.token is None:
            return
        if given is None or not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.token.encode()):
            raise Problem(
                401,
                "control_token_required",
                f"other machines may connect, so the controls need the header {TOKEN_HEADER}:"
                " the token that was printed at start (--control-token sets it)",
            )


def refuse_undecodable(request: web.Request) -> None:
    """Refuse a path or header that is not UTF-8. aiohttp decodes it to lone surrogates, which can't be stored.

    Args:
        request: the request.

    Raises:
        Problem: 400 `not_text`.
    """
    for text in (request.raw_path, *request.headers.values()):
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise Problem(400, "not_text", "the path and the headers must be UTF-8")


def refuse_foreign_page(headers: CIMultiDictProxy[str], what: str) -> None:
    """Refuse a request that a page of another origin made the browser send. Programs send neither header and pass.

    Args:
        headers: the request's headers.
        what: what is protected, for the message.

    Raises:
        Problem: 403 `foreign_origin`.
    """
    sites = headers.getall("Sec-Fetch-Site", [])
    origins = headers.getall("Origin", [])
    is_own = all(site in _OWN_SITES for site in sites) and all(_is_own(origin, headers, sites) for origin in origins)
    if not is_own:
        page = origins[0] if origins else f"Sec-Fetch-Site: {sites[0]}"
        raise Problem(
            403,
            "foreign_origin",
            f"{what} refuse web pages of another origin ({page[:_MAX_SHOWN]!r}); call them from a program",
        )


def _is_own(origin: str, headers: CIMultiDictProxy[str], sites: Sequence[str]) -> bool:
    if origin == "null":  # a sandboxed frame, unless Sec-Fetch-Site says that the page is our own
        return bool(sites)
    scheme, _, host = origin.partition("://")
    return scheme in ("http", "https") and host.lower() == headers.get("Host", "").lower()


def refuse_key_in_browser(headers: CIMultiDictProxy[str]) -> None:
    """Refuse the owner's key from a page. Every page knows the sandbox's default key and must not be able to use it.

    Args:
        headers: the request's headers.

    Raises:
        Problem: 403 `apikey_in_browser`.
    """
    if "X-Api-Key" in headers:
        try:
            refuse_foreign_page(headers, "")
        except Problem:
            raise Problem(
                403,
                "apikey_in_browser",
                "a request from a web page carries the owner's key (X-Api-Key); use a user's session in browsers",
            ) from None


def check_json_content_type(request: web.Request, has_body: bool) -> None:
    """Refuse content types that pages can send without a CORS preflight request.

    Args:
        request: the request.
        has_body: whether its body has any bytes.

    Raises:
        Problem: 415 `unsupported_media_type`.
    """
    simple = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
    typed = request.headers.get("Content-Type") is not None
    if request.content_type != "application/json" and (has_body or (typed and request.content_type in simple)):
        raise Problem(415, "unsupported_media_type", "send Content-Type: application/json (curl: --json '{...}')")
