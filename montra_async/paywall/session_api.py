"""`SessionApi`: loads, stores and refreshes the session of one signed-in user."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Mapping
from typing import Any

from ..core import validation
from ..core.client import Decoder
from ..core.compat import Self
from ..core.errors import InvalidArgumentError
from ..core.http.messages import Request
from ..core.models.json import dumps
from ..core.redaction import Secret
from . import storage as storages
from .auth_models import AuthSession
from .cache import digest
from .errors import PaywallError, PaywallInvalidArgumentError, translate_errors
from .paywall_client import PaywallClient
from .session_state import RefreshRegistry, SessionState
from .single_flight import Flight
from .storage import MemorySessionStorage, SessionStorage
from .token_provider import SessionTokenProvider, not_authenticated
from .token_responses import session_of

log: logging.Logger = logging.getLogger("montra")

_SAVE_RETRY_TIMEOUT = 1.0
"""Seconds that reading a session waits for its storage, after a save has failed."""

_RELOAD_PAUSES = (0.0, 0.1, 0.4)
"""Seconds before each load of what another process saved, after the service refused our refresh token."""


class SessionApi(PaywallClient):
    """The session of one user: current session, access tokens, refresh, storage."""

    _state: SessionState
    _refreshes: RefreshRegistry
    _visitor_id: str | None
    _user_meta: dict[str, Any] | None

    def _use_storage(self, storage: SessionStorage | None) -> None:
        """Begin with the session of a storage. None: a new one in memory.

        Raises:
            PaywallInvalidArgumentError: a method of the storage is missing.
        """
        for name in ("load", "save", "clear") if storage is not None else ():
            if not callable(getattr(storage, name, None)):
                problem = f"storage: {type(storage).__name__} has no method {name}"
                raise PaywallInvalidArgumentError("invalid_argument", problem)
        self._state = SessionState(MemorySessionStorage() if storage is None else storage)

    def with_storage(self, storage: SessionStorage) -> Self:
        """A view of this client for another user. It shares the connections, and has a session of its own.

        Args:
            storage: where the user's session is stored.

        Raises:
            PaywallInvalidArgumentError: `invalid_argument`: a method of the storage is missing.
        """
        view = copy.copy(self)
        view._use_storage(storage)
        return view

    async def get_session(self) -> AuthSession | None:
        """The session of the signed-in user. Sends no request; the first call loads the session from the storage.

        Returns:
            None when no user is signed in. The access token may have expired: see `get_access_token`.

        Raises:
            PaywallError: `storage_failed` when the storage can't be read.
        """
        state = self._state
        if not state.loaded:
            session = await self._with_deadline(
                lambda: storages.load(state.storage), self._storage_timeout_error, self._options.timeout.total
            )
            if not state.loaded:  # else a sign-in was completed meanwhile
                self._set_loaded(session)
        elif state.unsaved:
            await self._retry_save()
        return state.current

    def _set_loaded(self, loaded: AuthSession | None) -> None:
        """Use the loaded session, or a newer one that replaced it and could not be saved."""
        state = self._state
        replaced_digest: str | None = None
        session, seen = loaded, set[str]()
        while session is not None and (newer := self._refreshes.unsaved.get(key := _refresh_key(session))):
            if key in seen:  # a service may return the same tokens again
                break
            seen.add(key)
            session, replaced_digest = newer, key
        state.set_session(session)
        state.unsaved, state.replaced_digest = session is not loaded, replaced_digest

    async def get_access_token(self) -> str:
        """An access token that is valid for another 60 seconds. It is refreshed when necessary.

        Concurrent callers share one refresh (`POST .../auth/refresh`).

        Raises:
            PaywallError: `not_authenticated` when no user is signed in, or the session can't be refreshed.
            PaywallNetworkError: `network_error`, `timeout`: the refresh failed.
        """
        return (await (await self._required_token_provider()).token()).reveal()

    async def _token_provider(self) -> SessionTokenProvider | None:
        """Gives tokens of the current session, and of no later sign-in; None when no user is signed in."""
        session = await self.get_session()
        return None if session is None else SessionTokenProvider(self, session, self._state.token_family)

    async def _required_token_provider(self) -> SessionTokenProvider:
        """
        Raises:
            PaywallError: `not_authenticated` when no user is signed in.
        """
        tokens = await self._token_provider()
        if tokens is None:
            raise not_authenticated()
        return tokens

    async def refresh(self) -> AuthSession | None:
        """Replace both tokens (`POST .../auth/refresh`). Concurrent callers share one request.

        The request continues when its callers are cancelled, because its response replaces both tokens. It is never
        repeated after it was sent. When the storage fails, the new tokens stay in memory and are saved later.

        Returns:
            The new session. None when the service refused the refresh token: the session is then cleared.

        Raises:
            PaywallError: `storage_failed` when the session can't be loaded.
            PaywallNetworkError: `network_error`, `timeout`.
            PaywallApiError: any other error of the service than 401.
        """
        return await self._run_shared(self._state.flights, "refresh", self._refresh, cancel_when_abandoned=False)

    async def _refresh(self, _: Flight) -> AuthSession | None:
        state = self._state
        known = await self.get_session()
        stored = await self._load_stored(known)
        if stored is None:
            return state.set_session(None)  # another process has signed out
        base = stored
        if known is None:
            state.set_session(stored)
        elif stored.refresh_token != known.refresh_token:
            same_user = _same_user(known, stored)
            if stored.expires_at > known.expires_at or not same_user:
                return state.set_session(stored, same_user=same_user)  # another process has refreshed it
            base = known  # another process has overwritten our session with an older one
        token_family = state.token_family
        new = await self._request_refresh(base)
        if state.token_family is not token_family:  # a sign-out or another sign-in was completed meanwhile
            return state.current
        if new is None:
            return await self._handle_refusal(base, token_family)
        return await self._store_refreshed(base, new)

    async def _load_stored(self, known: AuthSession | None) -> AuthSession | None:
        """The session in the storage; the known one when that is unsaved, or the storage fails."""
        if self._state.unsaved:
            return known
        try:
            return await storages.load(self._state.storage)
        except PaywallError as error:
            if known is None:
                raise
            log.warning("the storage failed; the session in memory is refreshed: %s", error.message)
            return known

    async def _request_refresh(self, old: AuthSession) -> AuthSession | None:
        """The session that replaces `old`; None when the service refuses its refresh token."""
        key = _refresh_key(old)
        if (unsaved := self._refreshes.unsaved.get(key)) is not None:
            return unsaved
        request = self._auth_request("refresh", {}, refresh_token=Secret(old.refresh_token))

        async def send(flight: Flight) -> AuthSession | None:
            flight.set_request(request)
            try:
                new = await self._send(request, lambda response, request: session_of(response, request, old))
                self._refreshes.unsaved.put(key, new)  # before the flight ends: the old token is never sent again
                return new
            except PaywallError as error:
                if error.status != 401:
                    raise
            return None

        return await self._refreshes.flights.run(key, send, cancel_when_abandoned=False)

    async def _store_refreshed(self, old: AuthSession, new: AuthSession) -> AuthSession:
        """Store new tokens. When the storage fails they stay in memory: the old tokens are no longer valid."""
        state, key = self._state, _refresh_key(old)
        state.set_session(new, same_user=True)
        state.unsaved, state.replaced_digest = True, key
        self._refreshes.unsaved.put(key, new)
        try:
            await self._save()
        except PaywallError as error:
            log.warning("new tokens stay in memory until they can be saved: %s", error.message)
        return new

    async def _handle_refusal(self, old: AuthSession, token_family: object) -> AuthSession | None:
        """Load the session of another process that has used the refresh token. Clear the session if there is none."""
        state = self._state
        for pause in _RELOAD_PAUSES if storages.is_shared(state.storage) else (0.0,):
            await asyncio.sleep(pause)
            try:
                stored = await storages.load(state.storage)
            except PaywallError as error:
                log.warning("the session was refused, and its storage can't be read: %s", error.message)
                state.set_session(None)
                state.loaded = False
                return None
            if state.token_family is not token_family:
                return state.current
            if stored is not None and stored.refresh_token != old.refresh_token:
                return state.set_session(stored, same_user=_same_user(old, stored))
        await self._clear_session()
        return None

    def _auth_request(self, path: str, fields: Mapping[str, Any] | None, **secrets: Secret | None) -> Request:
        """A POST to an endpoint of the sign-in API.

        Secrets are passed as `Secret` up to the body: error reporters record the local variables of our frames.

        Args:
            path: path below `auth/`.
            fields: fields of the JSON body; those that are None are left out. None for no body.
            secrets: fields that hold secrets.

        Raises:
            PaywallInvalidArgumentError: a value can't be sent as JSON.
        """
        request = self._request("POST", f"{self._endpoint.path}/auth/{path}")
        if fields is not None:
            given = {name: secret for name, secret in secrets.items() if secret is not None}
            with translate_errors():
                request.body = _body({name: value for name, value in fields.items() if value is not None}, given)
            request.headers["Content-Type"] = "application/json"
            request.secrets = tuple(given.values())
        return request

    def _sign_in_fields(self, **fields: Any) -> dict[str, Any]:
        """The fields of a sign-in: those of the client, and `fields`."""
        return {"visitor_id": self._visitor_id, "user_meta": self._user_meta, **fields}

    async def _sign_in(self, request: Request, decode: Decoder[AuthSession] = session_of) -> AuthSession:
        """Send a sign-in, and store its session.

        Raises:
            PaywallError: `storage_failed`, or the error of the call.
        """
        return await self._store_session(await self._send(request, decode))

    async def _store_session(self, session: AuthSession, *, same_user: bool = False) -> AuthSession:
        """Make `session` the current one, and save it.

        Raises:
            PaywallError: `storage_failed`.
        """
        self._state.set_session(session, same_user=same_user)
        self._state.unsaved = True
        await self._save()
        return session

    async def _clear_session(self) -> None:
        """Remove the session from memory and from the storage. A failure of the storage is logged."""
        self._state.set_session(None)
        self._state.unsaved = True
        try:
            await self._save()
        except PaywallError as error:
            log.warning("a session that has ended is still in its storage: %s", error.message)

    async def _save(self) -> None:
        """
        Raises:
            PaywallError: `storage_failed`. After a time-out the storage may still be writing.
        """
        state = self._state
        replaced_digest = state.replaced_digest
        while state.unsaved:  # a save that was in progress may have begun with an older session
            await self._with_deadline(
                lambda: state.flights.run("save", state.save, total=None, cancel_when_abandoned=False),
                self._storage_timeout_error,
                self._options.timeout.total,
            )
        if replaced_digest is not None:
            self._refreshes.unsaved.remove(replaced_digest)

    def _storage_timeout_error(self) -> PaywallError:
        total = self._options.timeout.total
        return PaywallError("storage_failed", f"the session's storage did not answer within {total} s")

    async def _retry_save(self) -> None:
        """Try again to save the session. A failure is logged."""
        state = self._state
        replaced_digest = state.replaced_digest
        try:
            await state.flights.run("save", state.save, total=_SAVE_RETRY_TIMEOUT, cancel_when_abandoned=False)
        except PaywallError as error:
            log.debug("the session is still not saved: %s", error)
        else:
            if replaced_digest is not None and not state.unsaved:
                self._refreshes.unsaved.remove(replaced_digest)


def required_text(parameter: str, value: str) -> str:
    """An argument that is a non-empty string.

    Raises:
        PaywallInvalidArgumentError: it is not.
    """
    with translate_errors():
        return validation.text(parameter, value)


def _refresh_key(session: AuthSession) -> str:
    """The key of a refresh: its token and its user. A service may give the same token to two users."""
    user = None if session.user is None else session.user.id
    return digest(f"{user!r} {session.refresh_token}")


def _same_user(one: AuthSession, other: AuthSession) -> bool:
    return one.user is not None and other.user is not None and one.user.id == other.user.id


def _body(fields: Mapping[str, Any], secrets: Mapping[str, Secret]) -> bytes:
    for name, secret in secrets.items():
        validation.text(name, secret.reveal())
        try:
            secret.reveal().encode()
        except UnicodeEncodeError:
            problem = "holds half a surrogate pair, which is not text"
        else:
            continue
        raise InvalidArgumentError(name, problem)
    dumps(fields)  # raises for other invalid values before the body holds secrets
    return dumps({**fields, **{name: secret.reveal() for name, secret in secrets.items()}})
