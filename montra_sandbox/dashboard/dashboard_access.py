"""Who may see the dashboard: everybody on this machine, or who has the control token if the sandbox has one."""

from __future__ import annotations

import hmac
import secrets

from aiohttp import web

from ..problems import Problem

_TOKEN_HEADER = "X-Sandbox-Token"  # noqa: S105 - the name of a header


class DashboardAccess:
    """Exchanges the control token for a session cookie.

    The address with `?token=` is opened once. The cookie holds a random value of this process, not the token, and
    browsers send it only with requests from the dashboard's own pages.

    Args:
        token: the control token; None when everybody may see the dashboard.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._session = secrets.token_urlsafe(32)

    def admit(self, request: web.Request) -> web.Response | None:
        """Check a request; returns a redirect that opens the session, or None to go on.

        Args:
            request: the request.

        Raises:
            Problem: 401 `control_token_required`.
        """
        given = request.query.get("token")
        if given is not None and (self._token is None or _equal(given, self._token)):
            return self._open_session(request)
        if self._token is None or _equal(request.headers.get(_TOKEN_HEADER, ""), self._token):
            return None
        if given is None and _equal(request.cookies.get(_cookie_name(request), ""), self._session):
            return None
        raise Problem(
            401, "control_token_required", "Please open the address that the sandbox printed when it started."
        )

    def _open_session(self, request: web.Request) -> web.Response:
        """The same address without the token, which then is not in the history, in bookmarks or in a `Referer`."""
        response = web.Response(status=303, headers={"Location": str(request.rel_url.without_query_params("token"))})
        if self._token is not None:
            name = _cookie_name(request)
            secure = request.secure
            response.set_cookie(name, self._session, httponly=True, samesite="Strict", path="/", secure=secure)
        return response


def _cookie_name(request: web.Request) -> str:
    """With the port, because browsers send a host's cookies to all of its ports."""
    return f"montra_sandbox_{request.url.port}"


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
