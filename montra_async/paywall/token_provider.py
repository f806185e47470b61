"""Token providers: they give a call the access tokens of one session, and never those of another user."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import attrs

from ..core.http.messages import Request
from ..core.redaction import Secret
from .auth_models import AuthSession
from .cache import digest
from .errors import PaywallError

if TYPE_CHECKING:
    from .session_api import SessionApi

REFRESH_BEFORE = timedelta(seconds=60)
"""A token is refreshed this long before it expires."""


class SessionTokenProvider:
    """Gives the tokens of the session that was current when a call began. It refreshes them when necessary.

    Args:
        auth: the client that stores and refreshes the session.
        session: the current session.
        token_family: the sign-in that the session belongs to. After another sign-in the provider gives no token.
    """

    def __init__(self, auth: SessionApi, session: AuthSession, token_family: object) -> None:
        self._auth = auth
        self._session = session
        self.token_family = token_family
        self.digest: str = digest(session.access_token)

    @property
    def user_id(self) -> str | None:
        """The service's id of the user; None when the session lacks it."""
        user = self._session.user
        return user.id if user is not None and user.id.strip() else None

    @property
    def email(self) -> str | None:
        """The user's email address; None when the session lacks it."""
        user = self._session.user
        return None if user is None else user.email

    def digest_of(self, request: Request) -> str:
        """The digest of the token that a request was sent with."""
        header = request.headers.get("Authorization")
        return self.digest if header is None else digest(header.removeprefix("Bearer "))

    async def token(self) -> Secret:
        """A token that is valid for another 60 seconds. It is refreshed when necessary.

        Raises:
            PaywallError: `not_authenticated` when the session can't be refreshed.
        """
        session = self._session
        if session.expires_at - datetime.now(timezone.utc) > REFRESH_BEFORE:
            return Secret(session.access_token)
        refreshed = await self._refreshed(Secret(session.access_token))
        if refreshed is None:
            raise not_authenticated()
        return Secret(refreshed.access_token)

    async def token_after(self, refused: Secret) -> Secret | None:
        """A token other than the refused one; None when the session can't be refreshed."""
        refreshed = await self._refreshed(refused)
        return None if refreshed is None else Secret(refreshed.access_token)

    async def _refreshed(self, old: Secret) -> AuthSession | None:
        state = self._auth._state
        if state.token_family is not self.token_family:
            return None
        current = state.current
        if current is None or current.access_token == old.reveal():
            current = await self._auth.refresh()
        return current if state.token_family is self.token_family else None

    def __repr__(self) -> str:
        session: AuthSession | None = getattr(self, "_session", None)
        return f"<SessionTokenProvider of {'?' if session is None else session!r}>"


@attrs.frozen
class FixedTokenProvider:
    """Gives the token of a session that is no longer stored. It is never refreshed."""

    session: AuthSession

    async def token(self) -> Secret:
        """The session's token."""
        return Secret(self.session.access_token)

    async def token_after(self, refused: Secret) -> Secret | None:
        """None: there is no other token."""
        return None


def not_authenticated() -> PaywallError:
    """The error of a call that needs a session when there is none."""
    return PaywallError("not_authenticated", "no user is signed in; call one of the sign_in methods first")
