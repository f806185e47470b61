"""The session of one signed-in user: kept, refreshed, and told apart from everybody else's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import attrs

from ..core import checks
from ..core.answers import json_of
from ..core.calls import Answer, Call
from ..core.redaction import Secret
from ..core.serde import SerdeError, structure
from ..core.shapes import is_object
from . import storage as storages
from .answers import unreadable
from .caching import Flights
from .errors import PaywallError, preconditions
from .models import AuthSession, AuthUser
from .service import PaywallClient
from .storage import MemorySessionStorage, SessionStorage

if TYPE_CHECKING:
    from typing_extensions import Self

REFRESH_BEFORE = timedelta(seconds=60)


class SessionCalls(PaywallClient):
    """What a client does with its session. `_storage` is the truth, `_current` what it said last."""

    _storage: SessionStorage
    _current: AuthSession | None
    _loaded: bool
    _flights: Flights

    def _start(self, storage: SessionStorage | None) -> None:
        self._storage = storage or MemorySessionStorage()
        self._current: AuthSession | None = None
        self._loaded = False
        self._flights = Flights()

    def with_storage(self, storage: SessionStorage) -> Self:
        """The same client for another user: a cheap view on the same connections with a session of its own."""
        view = copy.copy(self)
        view._start(storage)
        return view

    async def get_session(self) -> AuthSession | None:
        """Who is signed in; None when nobody is. Makes no request."""
        if not self._loaded:
            self._current = await storages.load(self._storage)
            self._loaded = True
        return self._current

    async def get_access_token(self) -> str:
        """A token that is good for another minute, refreshed when it has to be. Callers at once share one refresh.

        Raises:
            PaywallError: `not_authenticated` when nobody is signed in, or the session can't be refreshed any more.
        """
        return (await self._token()).reveal()

    async def _token(self) -> Secret:
        """As `get_access_token`, but showing itself to nobody."""
        session = await self.get_session()
        if session is not None and session.expires_at - datetime.now(timezone.utc) <= REFRESH_BEFORE:
            session = await self.refresh()
        if session is None:
            raise PaywallError("not_authenticated", "nobody is signed in; call one of the sign_in methods first")
        return Secret(session.access_token)

    async def _another_token(self, refused: Secret) -> Secret | None:
        """A token other than the one that was refused; None when there is none to be had."""
        session = await self.get_session()
        if session is not None and session.access_token == refused.reveal():
            session = await self.refresh()
        return None if session is None else Secret(session.access_token)

    async def refresh(self) -> AuthSession | None:
        """New tokens for old ones (`POST .../auth/refresh`). Callers at the same time share one request.

        The request goes on when its callers are cancelled: its answer replaces both tokens, and must not be lost. It
        is never repeated once it was sent.

        Returns:
            The new session; None when the service refused the old one, which is forgotten then.
        """
        return await self._flights.join("refresh", self._refresh, lands=True)

    async def _refresh(self) -> AuthSession | None:
        stored = await storages.load(self._storage)
        known = await self.get_session()
        if stored is None:
            self._current = None
            return None
        if known is not None and stored.refresh_token != known.refresh_token and stored.expires_at > known.expires_at:
            return self._adopt(stored)  # another process was quicker
        call = self._auth_call("refresh", {}, refresh_token=Secret(stored.refresh_token))
        try:
            fresh = await self._send(call, lambda answer, sent: session_of(answer, sent, stored.user))
        except PaywallError as error:
            if error.status != 401:
                raise
        else:
            return await self._keep(fresh)
        again = await storages.load(self._storage)
        if again is not None and again.refresh_token != stored.refresh_token:
            return self._adopt(again)
        await self._forget()
        return None

    def _auth_call(self, path: str, fields: Mapping[str, Any] | None, **secrets: Secret | None) -> Call:
        """Secrets travel wrapped, and end in the call's body: error reporters print the variables of our frames."""
        full = f"{self._place.paywall}/auth/{path}"
        if fields is None:
            return self._call("POST", full)
        given = {name: secret for name, secret in secrets.items() if secret is not None}
        with preconditions():
            for name, secret in given.items():
                checks.text(name, secret.reveal())
        call = self._json_call(full, {**fields, **{name: secret.reveal() for name, secret in given.items()}})
        call.secrets = tuple(given.values())
        return call

    async def _keep(self, session: AuthSession) -> AuthSession:
        self._adopt(session)
        await storages.save(self._storage, session)
        return session

    def _adopt(self, session: AuthSession) -> AuthSession:
        self._current, self._loaded = session, True
        return session

    async def _forget(self) -> None:
        self._current, self._loaded = None, True
        await storages.clear(self._storage)


@attrs.frozen
class Bearer:
    """Signs with a session that is not kept any more."""

    session: AuthSession

    async def _token(self) -> Secret:
        return Secret(self.session.access_token)

    async def _another_token(self, refused: Secret) -> Secret | None:
        return None


def session_of(answer: Answer, call: Call, user: AuthUser | None) -> AuthSession:
    """The session of a token answer; one that names no user is the known user's.

    Its end is reckoned from `expires_in` by our own clock, which need not be the service's; else it is `expires_at`.
    """
    payload = json_of(answer)
    if not is_object(payload):
        raise unreadable(answer, call, "the body is not the JSON object that was expected")
    lasts = payload.get("expires_in")
    fields = {name: payload.get(name) for name in ("access_token", "refresh_token", "user")}
    fields["expires_at"] = payload.get("expires_at")
    if isinstance(lasts, int) and not isinstance(lasts, bool):
        fields["expires_at"] = datetime.now(timezone.utc) + timedelta(seconds=lasts)
    if fields["user"] is None:
        fields["user"] = user
    try:
        return structure(fields, AuthSession)
    except (SerdeError, OverflowError) as error:
        raise _without_tokens(unreadable(answer, call, str(error))) from None


def _without_tokens(error: PaywallError) -> PaywallError:
    """A half-readable token answer still has tokens in it."""
    if is_object(error.body):
        error.body = {name: "***" if name.endswith("_token") else one for name, one in error.body.items()}
    return error
