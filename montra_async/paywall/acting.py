"""Calls made for a user: by the user's own session, or with the owner's key and the user's identity."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import attrs

from ..core.calls import Call
from ..core.redaction import Secret
from .auth import AuthClient
from .caching import Cache, Flights
from .errors import PaywallError, preconditions
from .identity import NOBODY, Identity
from .models import Balance, Bootstrap, PaywallUser
from .service import PaywallClient, with_header

if TYPE_CHECKING:
    from typing_extensions import Self


@attrs.define
class Kept:
    """What all views of a client remember, by identity."""

    users: Cache[PaywallUser] = attrs.field(factory=Cache[PaywallUser])
    bootstraps: Cache[Bootstrap] = attrs.field(factory=Cache[Bootstrap])
    balances: Cache[list[Balance]] = attrs.field(factory=Cache[list[Balance]])
    flights: Flights = attrs.field(factory=Flights)


class Acting(PaywallClient):
    """A client, or a view of one, that acts for somebody."""

    _key: Secret | None
    _identity: Identity
    _auth: AuthClient | None
    _kept: Kept

    def for_user(
        self,
        *,
        email: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        auth: AuthClient | None = None,
    ) -> Self:
        """The same client acting for this user: a cheap view on the same connections and caches.

        Nothing of the identity of the client it was made from comes along, nor its `auth`: two views never mix.

        Args:
            email: the user's address; checkout needs it.
            user_id: your own id of the user.
            anonymous_id: your id of a visitor.
            auth: the user's own session, used instead of the server key wherever the service allows both.

        Raises:
            PaywallError: `invalid_argument`.
        """
        view = copy.copy(self)
        with preconditions():
            view._identity = Identity(email=email, user_id=user_id, anonymous_id=anonymous_id)
        view._auth = auth
        return view

    def set_identity(
        self, *, email: str | None = None, user_id: str | None = None, anonymous_id: str | None = None
    ) -> None:
        """Act for this user from now on: this object only. `for_user` is safer where several users are served.

        Raises:
            PaywallError: `invalid_argument`.
        """
        with preconditions():
            self._identity = Identity(email=email, user_id=user_id, anonymous_id=anonymous_id)

    async def _session(self) -> AuthClient | None:
        """The user's session, when somebody is signed in."""
        if self._auth is None or await self._auth.get_session() is None:
            return None
        return self._auth

    async def _who(self) -> Hashable:
        """What tells this user's answers from everybody else's."""
        session = None if self._auth is None else await self._auth.get_session()
        user = None if session is None else session.user.id if session.user is not None else id(self._auth)
        return (self._identity, user)

    def _require_key(self) -> Secret:
        if self._key is None:
            raise PaywallError(
                "apikey_required", "this call needs a server key: pass api_key=..., or set MONETIZE_API_KEY"
            )
        return self._key

    def _require_identity(self) -> Identity:
        if not self._identity.known:
            raise PaywallError("identity_required", "say for whom: billing.for_user(email=..., user_id=...)")
        return self._identity

    def _require_email(self) -> str:
        if self._identity.email is None:
            raise PaywallError("identity_required", "this call needs the user's address: billing.for_user(email=...)")
        return self._identity.email

    def _with_key(self, call: Call) -> Call:
        """With the server key, when there is one."""
        return call if self._key is None else with_header(call, "X-Api-Key", self._key.reveal())

    def _named(self, call: Call, locale: str | None = None) -> Call:
        """With the user's address and language as headers."""
        if self._identity.email is not None:
            with_header(call, "X-User-Email", self._identity.email)
        return call if locale is None else with_header(call, "Accept-Language", locale)

    def _user_meta(self) -> dict[str, Any] | None:
        return None if self._identity.user_id is None else {"userId": self._identity.user_id}


def checked_identity(identity: Identity | None) -> Identity:
    if identity is not None and not isinstance(identity, Identity):
        raise PaywallError("invalid_argument", f"identity: an Identity(...), not {type(identity).__name__}")
    return NOBODY if identity is None else identity
