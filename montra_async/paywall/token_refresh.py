"""The session of one signed-in user: kept, refreshed, and told apart from everybody else's."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs

from ..core import validation
from ..core.compat import Self
from ..core.errors import InvalidArgumentError
from ..core.http.messages import Request
from ..core.models.json import dumps
from ..core.redaction import Secret
from . import storage as storages
from .cache import Cache, digest
from .errors import PaywallError, PaywallInvalidArgumentError, translate_errors
from .models import AuthSession
from .paywall_client import PaywallClient
from .single_flight import Flight, SingleFlight
from .storage import MemorySessionStorage, SessionStorage
from .token_responses import session_of

log = logging.getLogger("montra")

REFRESH_BEFORE = timedelta(seconds=60)
_UNSAVED_FOR = 24 * 3600.0
_MOST_UNSAVED = 1_000
_SAVE_PATIENCE = 1.0
"""Seconds that the use of a session waits for its storage, after the storage has failed once."""

_LOOK_AGAIN = (0.0, 0.1, 0.4)
"""Seconds before each look for what another process saved, after the service refused our refresh token."""


@attrs.define(eq=False)
class SessionState:
    """One storage's session. Shared by the views that differ in their options only.

    Attributes:
        storage: the truth, except for what could not be written yet.
        current: what it said last, or will say once it was written.
        loaded: `current` is known.
        unwritten: `current` is still to be written.
        lineage: another object for each sign-in: tokens of one lineage belong to one user.
        rotated_from: digest of the refresh token that `current` replaced, while it is unwritten.
        flights: sign-in, refresh and writing of this session: the storage is what tells them from all others, and this
            object belongs to it alone.
    """

    storage: SessionStorage = attrs.field(repr=False)
    current: AuthSession | None = None
    loaded: bool = False
    unwritten: bool = False
    lineage: object = attrs.field(factory=object, repr=False)
    rotated_from: str | None = attrs.field(default=None, repr=False)
    flights: SingleFlight = attrs.field(factory=SingleFlight, repr=False)

    def take(self, session: AuthSession | None, *, same_user: bool = False) -> AuthSession | None:
        if not same_user:
            self.lineage = object()
        self.current, self.loaded, self.unwritten, self.rotated_from = session, True, False, None
        return session

    async def write(self, _: Flight) -> None:
        """Write what there is until storage and memory agree."""
        while self.unwritten:
            self.unwritten = False
            session = self.current
            try:
                if session is None:
                    await storages.clear(self.storage)
                else:
                    await storages.save(self.storage, session)
            except BaseException:
                self.unwritten = True
                raise


@attrs.frozen
class Rotations:
    """Shared by all views of a client: refreshes under way, and new sessions that could not be saved, both by the
    digest of the refresh token that they replace. It can be used once, so all who have it need the same answer."""

    flights: SingleFlight = attrs.field(factory=SingleFlight)
    unsaved: Cache[AuthSession] = attrs.field(
        factory=lambda: Cache[AuthSession](ttl=_UNSAVED_FOR, max_entries=_MOST_UNSAVED)
    )


class SessionCalls(PaywallClient):
    """What a client does with its session."""

    _state: SessionState
    _rotations: Rotations

    def _start(self, storage: SessionStorage | None) -> None:
        for name in ("load", "save", "clear") if storage is not None else ():
            if not callable(getattr(storage, name, None)):
                problem = f"storage: {type(storage).__name__} has no method {name}"
                raise PaywallInvalidArgumentError("invalid_argument", problem)
        self._state = SessionState(MemorySessionStorage() if storage is None else storage)

    def with_storage(self, storage: SessionStorage) -> Self:
        """The same client for another user: a cheap view on the same connections with a session of its own.

        Raises:
            PaywallError: `invalid_argument` for what is no storage.
        """
        view = copy.copy(self)
        view._start(storage)
        return view

    async def get_session(self) -> AuthSession | None:
        """Who is signed in; None when nobody is. Makes no request.

        Raises:
            PaywallError: `storage_failed` when the storage could not be read.
        """
        state = self._state
        if not state.loaded:
            found = await self._within(storages.load(state.storage), self._storage_is_late, self._options.timeout.total)
            if not state.loaded:  # else somebody has signed in meanwhile
                self._take_loaded(found)
        elif state.unwritten:
            await self._write_again()
        return state.current

    def _take_loaded(self, found: AuthSession | None) -> None:
        """What was read; or what replaced it when the storage failed to take that."""
        state = self._state
        rotated_from: str | None = None
        session, seen = found, set[str]()
        while session is not None and (newer := self._rotations.unsaved.get(key := _rotation_key(session))):
            if key in seen:  # a service may hand out the same tokens again
                break
            seen.add(key)
            session, rotated_from = newer, key
        state.take(session)
        state.unwritten, state.rotated_from = session is not found, rotated_from

    async def get_access_token(self) -> str:
        """A token that is good for another minute, refreshed when it has to be. Callers at once share one refresh.

        Raises:
            PaywallError: `not_authenticated` when nobody is signed in, or the session can't be refreshed any more.
        """
        tokens = await self._token_provider()
        if tokens is None:
            raise nobody()
        return (await tokens.token()).reveal()

    async def _token_provider(self) -> SessionTokenProvider | None:
        """Gives out tokens of the session that there is now, and of no later one of somebody else."""
        session = await self.get_session()
        return None if session is None else SessionTokenProvider(self, session, self._state.lineage)

    async def _required_token_provider(self) -> SessionTokenProvider:
        tokens = await self._token_provider()
        if tokens is None:
            raise nobody()
        return tokens

    async def refresh(self) -> AuthSession | None:
        """New tokens for old ones (`POST .../auth/refresh`). Callers at the same time share one request.

        The request goes on when its callers leave: its answer replaces both tokens, and must not be lost. It is never
        repeated once it was sent. When the storage fails, the new tokens are kept in memory and saved later.

        Returns:
            The new session; None when the service refused the old one, which is forgotten then.
        """
        return await self._run_shared(self._state.flights, "refresh", self._refresh, cancel_when_abandoned=False)

    async def _refresh(self, _: Flight) -> AuthSession | None:
        state = self._state
        known = await self.get_session()
        stored = await self._stored(known)
        if stored is None:
            return state.take(None)  # another process has signed out
        base = stored
        if known is None:
            state.take(stored)
        elif stored.refresh_token != known.refresh_token:
            same_user = _same_user(known, stored)
            if stored.expires_at > known.expires_at or not same_user:
                return state.take(stored, same_user=same_user)  # another process was quicker
            base = known  # an older session was written over ours
        lineage = state.lineage
        fresh = await self._exchange(base)
        if state.lineage is not lineage:  # signed out, or in as somebody else, meanwhile
            return state.current
        if fresh is None:
            return await self._refused(base, lineage)
        return await self._rotated(base, fresh)

    async def _stored(self, known: AuthSession | None) -> AuthSession | None:
        """What the storage has; what is known instead, where that could not be written or the storage fails."""
        if self._state.unwritten:
            return known
        try:
            return await storages.load(self._state.storage)
        except PaywallError as error:
            if known is None:
                raise
            log.warning("the session in memory is refreshed: %s", error.message)
            return known

    async def _exchange(self, old: AuthSession) -> AuthSession | None:
        """The session that replaces this one; None when the service refuses its refresh token."""
        key = _rotation_key(old)
        if (known := self._rotations.unsaved.get(key)) is not None:
            return known
        request = self._auth_call("refresh", {}, refresh_token=Secret(old.refresh_token))

        async def ask(flight: Flight) -> AuthSession | None:
            flight.set_request(request)
            try:
                fresh = await self._send(request, lambda response, request: session_of(response, request, old))
                self._rotations.unsaved.put(key, fresh)  # before the flight ends: the old token is never sent again
                return fresh
            except PaywallError as error:
                if error.status != 401:
                    raise
            return None

        return await self._rotations.flights.run(key, ask, cancel_when_abandoned=False)

    async def _rotated(self, old: AuthSession, fresh: AuthSession) -> AuthSession:
        """Keep new tokens, whatever the storage does: the old ones are worth nothing any more."""
        state, key = self._state, _rotation_key(old)
        state.take(fresh, same_user=True)
        state.unwritten, state.rotated_from = True, key
        self._rotations.unsaved.put(key, fresh)
        try:
            await self._write()
        except PaywallError as error:
            log.warning("new tokens are kept in memory until they can be saved: %s", error.message)
        return fresh

    async def _refused(self, old: AuthSession, lineage: object) -> AuthSession | None:
        """The refresh token is worth nothing. Perhaps another process has used it, and is about to save what it got."""
        state = self._state
        for pause in _LOOK_AGAIN if storages.is_shared(state.storage) else (0.0,):
            await asyncio.sleep(pause)
            try:
                found = await storages.load(state.storage)
            except PaywallError as error:
                log.warning("the session was refused, and its storage can't be read: %s", error.message)
                state.take(None)
                state.loaded = False
                return None
            if state.lineage is not lineage:
                return state.current
            if found is not None and found.refresh_token != old.refresh_token:
                return state.take(found, same_user=_same_user(old, found))
        await self._forget()
        return None

    def _auth_call(self, path: str, fields: Mapping[str, Any] | None, **secrets: Secret | None) -> Request:
        """Secrets travel wrapped, and end in the call's body: error reporters print the variables of our frames."""
        request = self._request("POST", f"{self._endpoint.path}/auth/{path}")
        if fields is not None:
            given = {name: secret for name, secret in secrets.items() if secret is not None}
            with translate_errors():
                request.body = _body({name: one for name, one in fields.items() if one is not None}, given)
            request.headers["Content-Type"] = "application/json"
            request.secrets = tuple(given.values())
        return request

    async def _keep(self, session: AuthSession, *, same_user: bool = False) -> AuthSession:
        """Somebody has signed in, or is called otherwise now."""
        self._state.take(session, same_user=same_user)
        self._state.unwritten = True
        await self._write()
        return session

    async def _forget(self) -> None:
        self._state.take(None)
        self._state.unwritten = True
        try:
            await self._write()
        except PaywallError as error:
            log.warning("a session that has ended is still in its storage: %s", error.message)

    async def _write(self) -> None:
        """
        Raises:
            PaywallError: `storage_failed`; it may still be at it.
        """
        state = self._state
        rotated_from = state.rotated_from
        while state.unwritten:  # a writer that was under way may have begun with less
            joined = state.flights.run("write", state.write, total=None, cancel_when_abandoned=False)
            await self._within(joined, self._storage_is_late, self._options.timeout.total)
        if rotated_from is not None:
            self._rotations.unsaved.drop(rotated_from)

    def _storage_is_late(self) -> PaywallError:
        total = self._options.timeout.total
        return PaywallError("storage_failed", f"the session's storage did not answer within {total} s")

    async def _write_again(self) -> None:
        state = self._state
        rotated_from = state.rotated_from
        try:
            await state.flights.run("write", state.write, total=_SAVE_PATIENCE, cancel_when_abandoned=False)
        except PaywallError as error:
            log.debug("the session is still not saved: %s", error)
        else:
            if rotated_from is not None and not state.unwritten:
                self._rotations.unsaved.drop(rotated_from)


class SessionTokenProvider:
    """Signs with the session that a call began with, refreshed where needed, and never with another user's."""

    def __init__(self, calls: SessionCalls, session: AuthSession, lineage: object) -> None:
        self._calls = calls
        self._session = session
        self.lineage = lineage
        self.digest = digest(session.access_token)

    @property
    def user_id(self) -> str | None:
        """The service's id of the user; None when the session does not say it."""
        user = self._session.user
        return user.id if user is not None and user.id.strip() else None

    @property
    def email(self) -> str | None:
        user = self._session.user
        return None if user is None else user.email

    def digest_of(self, request: Request) -> str:
        """The digest of the token that a call was sent with."""
        sent = request.headers.get("Authorization")
        return self.digest if sent is None else digest(sent.removeprefix("Bearer "))

    async def token(self) -> Secret:
        """A token that is good for another minute, refreshed when needed."""
        session = self._session
        if session.expires_at - datetime.now(timezone.utc) > REFRESH_BEFORE:
            return Secret(session.access_token)
        renewed = await self._renewed(Secret(session.access_token))
        if renewed is None:
            raise nobody()
        return Secret(renewed.access_token)

    async def token_after(self, refused: Secret) -> Secret | None:
        """A token other than the one that was refused; None when there is none to be had."""
        renewed = await self._renewed(refused)
        return None if renewed is None else Secret(renewed.access_token)

    async def _renewed(self, old: Secret) -> AuthSession | None:
        state = self._calls._state
        if state.lineage is not self.lineage:
            return None
        current = state.current
        if current is None or current.access_token == old.reveal():
            current = await self._calls.refresh()
        return current if state.lineage is self.lineage else None

    def __repr__(self) -> str:
        session: AuthSession | None = getattr(self, "_session", None)
        return f"<SessionTokenProvider of {'?' if session is None else session!r}>"


@attrs.frozen
class FixedToken:
    """Signs with a session that is not kept any more."""

    session: AuthSession

    async def token(self) -> Secret:
        return Secret(self.session.access_token)

    async def token_after(self, refused: Secret) -> Secret | None:
        return None


def _rotation_key(session: AuthSession) -> str:
    """A refresh token, and whose it is: a service that gives the same one to two users must not mix them."""
    user = None if session.user is None else session.user.id
    return digest(f"{user!r} {session.refresh_token}")


def nobody() -> PaywallError:
    return PaywallError("not_authenticated", "nobody is signed in; call one of the sign_in methods first")


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
    dumps(fields)  # what can't be written is told before the secrets are in it
    return dumps({**fields, **{name: secret.reveal() for name, secret in secrets.items()}})
