"""Keeps web pages out: which requests a browser may have been talked into, and which come from whom they should.

Everything here decides, nothing has an effect. The server asks before any route sees a request. Three things are
checked, because each stops what the others don't:

* the `Host` header, against DNS rebinding: a page at `http://evil.example:4242` whose name is switched to 127.0.0.1 is
  same-origin for the browser, and only the name tells it from the developer's own page;
* `Origin` and `Sec-Fetch-Site`, against pages that send requests to this machine's address; no page can forge them;
* a token for the controls, as soon as other machines can connect.
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

TOKEN_HEADER = "X-Sandbox-Token"  # noqa: S105 - the name of a header
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_.-]{1,253}))(?::([0-9]{1,5}))?", re.ASCII)
_OWN = ("same-origin", "none")  # `none`: the user typed the address
_SHOWN = 100


@attrs.frozen
class HostName:
    """A host from a `Host` header or an option, in lower case; `port` is None when it is not given."""

    name: str
    port: int | None

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        try:
            return ipaddress.ip_address(self.name)
        except ValueError:
            return None

    @property
    def is_loopback(self) -> bool:
        return self.name == "localhost" or (self.address is not None and self.address.is_loopback)


def parse_host(text: str) -> HostName | None:
    """Pure: `name`, `name:port`, `[::1]:port`; None when it is none of them."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    port = None if found[3] is None else int(found[3])
    return HostName((found[1] or found[2]).lower(), port)


def allowed_host(text: str) -> HostName:
    """A host name from an option. Without a port any port will do.

    Raises:
        ValueError: it is no host name.
    """
    host = parse_host(text)
    if host is None:
        raise ValueError(f"{text[:_SHOWN]!r} is not a host name; give a name or name:port, without http://")
    return host


@attrs.frozen(kw_only=True)
class Guard:
    """The rules of one running server.

    Args:
        port: where it listens.
        bound: the address or name it was told to listen at.
        hosts: further names it answers to.
        token: what the controls ask for; None when only this machine can connect.
    """

    port: int
    bound: HostName
    hosts: Sequence[HostName] = ()
    token: str | None = attrs.field(default=None, repr=False)

    def check_host(self, headers: CIMultiDictProxy[str]) -> None:
        """
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
                f"the sandbox does not answer to the host {given[0][:_SHOWN]!r}, because a web page could use any name"
                f" (DNS rebinding); if it is yours, start with --allow-host {host.name[:_SHOWN]}"
                f" or Sandbox(allow_hosts=[{host.name[:_SHOWN]!r}])",
            )

    def _answers_to(self, host: HostName) -> bool:
        if any(one.name == host.name and one.port in (None, host.port) for one in self.hosts):
            return True
        if (host.port or 80) != self.port:
            return False
        # A page that reached us by an address has that address as its origin: nothing was rebound.
        anywhere = self.bound.address is not None and self.bound.address.is_unspecified
        return host.is_loopback or host.name == self.bound.name or (anywhere and host.address is not None)

    def check_token(self, given: str | None) -> None:
        """
        Raises:
            Problem: 401 `control_token_required`.
        """
        if self.token is None:
            return
        if given is None or not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.token.encode()):
            raise Problem(
                401,
                "control_token_required",
                f"other machines can connect, so the controls want the header {TOKEN_HEADER}:"
                " the token that was printed at start (--control-token sets it)",
            )


def refuse_no_text(request: web.Request) -> None:
    """Bytes that are no UTF-8 arrive as lone surrogates, which no database and no answer can hold.

    Raises:
        Problem: 400.
    """
    for one in (request.raw_path, *request.headers.values()):
        if not one.isascii() and any("\ud800" <= character <= "\udfff" for character in one):
            raise Problem(400, "not_text", "the path and the headers must be UTF-8")


def refuse_foreign_page(headers: CIMultiDictProxy[str], what: str) -> None:
    """Refuse what another web page made a browser send. Programs send neither header and pass.

    Raises:
        Problem: 403 `foreign_origin`.
    """
    sites = headers.getall("Sec-Fetch-Site", [])
    origins = headers.getall("Origin", [])
    own = all(one in _OWN for one in sites) and all(_is_own(one, headers, sites) for one in origins)
    if not own:
        page = origins[0] if origins else f"Sec-Fetch-Site: {sites[0]}"
        raise Problem(
            403,
            "foreign_origin",
            f"{what} are not for web pages of another origin ({page[:_SHOWN]!r}); call them from a program",
        )


def _is_own(origin: str, headers: CIMultiDictProxy[str], sites: Sequence[str]) -> bool:
    if origin == "null":  # a sandboxed frame, unless the browser says that the page is ours
        return bool(sites)
    scheme, _, host = origin.partition("://")
    return scheme in ("http", "https") and host.lower() == headers.get("Host", "").lower()


def refuse_key_in_browser(headers: CIMultiDictProxy[str]) -> None:
    """The owner's key belongs on a server. A page that knows a sandbox's usual key must not be able to use it.

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


def check_json(request: web.Request, has_body: bool) -> None:
    """A form or plain text can be sent by any page without asking first (CORS); JSON can't.

    Raises:
        Problem: 415.
    """
    simple = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
    typed = request.headers.get("Content-Type") is not None
    if request.content_type != "application/json" and (has_body or (typed and request.content_type in simple)):
        raise Problem(415, "unsupported_media_type", "send Content-Type: application/json (curl: --json '{...}')")
