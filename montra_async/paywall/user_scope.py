"""Calls made for a user: by the user's own session, or with the owner's key and the user's identity."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any

import attrs

from ..core.compat import Self
from ..core.http.messages import Request
from ..core.redaction import Secret
from .auth import AuthClient
from .cache import Cache
from .errors import PaywallError, PaywallInvalidArgumentError, translate_errors
from .identity import NOBODY, Identity
from .models import Balance, Bootstrap, PaywallUser
from .paywall_client import PaywallClient, headers_key, with_header
from .single_flight import SingleFlight
from .token_refresh import SessionTokenProvider

USER_FRESH = 5.0
BALANCES_FRESH = 30.0
BOOTSTRAP_FRESH = 5 * 60.0
BOOTSTRAP_USABLE = 60 * 60.0
"""Seconds. A bootstrap between fresh and usable is served while it is asked for again."""

_MOST_BOOTSTRAPS = 1_000  # they are large


@attrs.frozen
class KnownBalances:
    """Balances, and the facts of the call that they were the answer of: with another token nobody gets them."""

    shown_to: Hashable
    balances: list[Balance]

    def charged(self, query_type: str) -> KnownBalances:
        """After one of this type was taken."""
        left = [
            Balance(type=one.type, count=max(0, one.count - 1)) if one.type == query_type else one
            for one in self.balances
        ]
        return KnownBalances(self.shown_to, left)


@attrs.frozen
class ClientCaches:
    """What all views of a client remember. One client has one paywall, origin and key, so no key names those.

    Attributes:
        users: by `Actor.cache_key` of the request: identity, digest of the token it was sent with, and the caller's
            own headers. A response depends on nothing else.
        bootstraps: by identity, own headers and language; no token is sent for them.
        balances: by the service's id of the user, so that the gateway's charges find them; given out only to a session
            with the very facts that they were the answer to, because what a session says of its user proves nothing.
        flights: by kind of call, the same facts, `force`, and the caller's settings; a checkout by identity,
            idempotency key and body.
    """

    users: Cache[PaywallUser] = attrs.field(factory=lambda: Cache[PaywallUser](ttl=USER_FRESH))
    bootstraps: Cache[Bootstrap] = attrs.field(
        factory=lambda: Cache[Bootstrap](ttl=BOOTSTRAP_USABLE, max_entries=_MOST_BOOTSTRAPS)
    )
    balances: Cache[KnownBalances] = attrs.field(factory=lambda: Cache[KnownBalances](ttl=BALANCES_FRESH))
    flights: SingleFlight = attrs.field(factory=SingleFlight)


@attrs.define
class Actor:
    """For whom one call is made. Read once, at its beginning: whatever changes meanwhile, two users never mix.

    Attributes:
        identity: of the view.
        tokens: gives out tokens of the session that there was at the beginning, and of no other.
        headers: what the caller's own headers add to a key.
    """

    identity: Identity
    tokens: SessionTokenProvider | None
    headers: Hashable

    @property
    def cache_key(self) -> Hashable:
        """What tells this user's answers from everybody else's: all that is sent and that they may depend on."""
        return (self.identity, None if self.tokens is None else self.tokens.digest, self.headers)

    def cache_key_of(self, request: Request) -> Hashable:
        """The same for a call that has been made: its token may be newer than the one of the beginning."""
        return (self.identity, None if self.tokens is None else self.tokens.digest_of(request), self.headers)


class UserScopedClient(PaywallClient):
    """A client, or a view of one, that acts for somebody."""

    _key: Secret | None
    _identity: Identity
    _auth: AuthClient | None
    _caches: ClientCaches

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
        with translate_errors():
            view._identity = Identity(email=email, user_id=user_id, anonymous_id=anonymous_id)
        view._auth = checked_auth(auth)
        return view

    def set_identity(
        self, *, email: str | None = None, user_id: str | None = None, anonymous_id: str | None = None
    ) -> None:
        """Act for this user from now on: this object only. `for_user` is safer where several users are served.

        Raises:
            PaywallError: `invalid_argument`.
        """
        with translate_errors():
            self._identity = Identity(email=email, user_id=user_id, anonymous_id=anonymous_id)

    async def _actor(self) -> Actor:
        """For whom a call that begins now is made."""
        identity, headers = self._identity, headers_key(self._options)
        tokens = None if self._auth is None else await self._auth._token_provider()
        return Actor(identity=identity, tokens=tokens, headers=headers)

    async def _session(self) -> SessionTokenProvider | None:
        """The user's session, when somebody is signed in."""
        return None if self._auth is None else await self._auth._token_provider()

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

    def _with_key(self, request: Request) -> Request:
        """With the server key, when there is one."""
        return request if self._key is None else with_header(request, "X-Api-Key", self._key.reveal())

    @staticmethod
    def _named(request: Request, identity: Identity, locale: str | None = None) -> Request:
        """With the user's address and language as headers."""
        if identity.email is not None:
            with_header(request, "X-User-Email", identity.email)
        return request if locale is None else with_header(request, "Accept-Language", locale)


def user_meta(identity: Identity) -> dict[str, Any] | None:
    return None if identity.user_id is None else {"userId": identity.user_id}


def address_of(actor: Actor) -> str:
    """The identity's address; else that of the user who is signed in."""
    address = actor.identity.email or (None if actor.tokens is None else actor.tokens.email)
    if address is None:
        raise PaywallError("identity_required", "this call needs the user's address: billing.for_user(email=...)")
    return address


def checked_auth(auth: AuthClient | None) -> AuthClient | None:
    if auth is not None and not isinstance(auth, AuthClient):
        raise PaywallInvalidArgumentError("invalid_argument", f"auth: an AuthClient, not {type(auth).__name__}")
    return auth


def checked_identity(identity: Identity | None) -> Identity:
    if identity is not None and not isinstance(identity, Identity):
        raise PaywallInvalidArgumentError(
            "invalid_argument", f"identity: an Identity(...), not {type(identity).__name__}"
        )
    return NOBODY if identity is None else identity
