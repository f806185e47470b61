"""`UserScopedClient`: calls for a user, with the user's session, or with the server key and the user's identity."""

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
from .errors import PaywallConfigError, PaywallError, PaywallInvalidArgumentError, translate_errors
from .identity import NO_IDENTITY, Identity
from .models import Balance, Bootstrap, PaywallUser
from .paywall_client import PaywallClient, headers_key, with_secret
from .single_flight import SingleFlight
from .token_provider import SessionTokenProvider

USER_TTL = 5.0
BALANCES_TTL = 30.0
BOOTSTRAP_FRESH = 5 * 60.0
BOOTSTRAP_TTL = 60 * 60.0
"""Seconds. A bootstrap older than `BOOTSTRAP_FRESH` is returned from the cache while it is revalidated."""

_MAX_BOOTSTRAPS = 1_000  # they are large


@attrs.frozen
class CachedBalances:
    """Balances, and the cache key of the call that they are the response of.

    Attributes:
        cache_key: `Principal.cache_key` of the call. Only a call with the same key may use the balances.
        balances: balance of each token type.
    """

    cache_key: Hashable
    balances: list[Balance]

    def after_charge(self, query_type: str) -> CachedBalances:
        """These balances with one token of `query_type` less."""
        balances = [
            Balance(type=balance.type, count=max(0, balance.count - 1)) if balance.type == query_type else balance
            for balance in self.balances
        ]
        return CachedBalances(self.cache_key, balances)


@attrs.frozen
class ClientCaches:
    """The caches of a client and its views. A client has one paywall, origin and server key, so no key names those.

    Attributes:
        users: by `Principal.cache_key_of` the request: identity, digest of the token it was sent with, and the caller's
            own headers. A response depends on nothing else.
        bootstraps: by identity, the caller's own headers, and language. No token is sent for them.
        balances: by the service's id of the user, which the gateway's charges name. An entry is used only by a call
            with the same `cache_key`, because the user id in a session is not verified.
        flights: calls in progress, by kind of call, `Principal.cache_key`, `force` and the caller's settings; a
            checkout also by idempotency key and body.
    """

    users: Cache[PaywallUser] = attrs.field(factory=lambda: Cache[PaywallUser](ttl=USER_TTL))
    bootstraps: Cache[Bootstrap] = attrs.field(
        factory=lambda: Cache[Bootstrap](ttl=BOOTSTRAP_TTL, max_entries=_MAX_BOOTSTRAPS)
    )
    balances: Cache[CachedBalances] = attrs.field(factory=lambda: Cache[CachedBalances](ttl=BALANCES_TTL))
    flights: SingleFlight = attrs.field(factory=SingleFlight)


@attrs.define
class Principal:
    """The user that one call is made for. It is determined when the call begins, and does not change during the call.

    Attributes:
        identity: identity of the view.
        tokens: gives tokens of the session that was current when the call began; None when no user is signed in.
        headers: the caller's own headers, as a part of a cache key.
    """

    identity: Identity
    tokens: SessionTokenProvider | None
    headers: Hashable

    @property
    def cache_key(self) -> Hashable:
        """Everything that is sent and that a response may depend on."""
        return (self.identity, None if self.tokens is None else self.tokens.digest, self.headers)

    def cache_key_of(self, request: Request) -> Hashable:
        """The cache key after `request` was sent: its token may be newer than that of the beginning."""
        return (self.identity, None if self.tokens is None else self.tokens.digest_of(request), self.headers)

    def require_email(self) -> str:
        """The email address of the identity, or else of the signed-in user.

        Raises:
            PaywallError: `identity_required`.
        """
        email = self.identity.email or (None if self.tokens is None else self.tokens.email)
        if email is None:
            problem = "this call needs the user's email address: billing.for_user(email=...)"
            raise PaywallError("identity_required", problem)
        return email


class UserScopedClient(PaywallClient):
    """A client, or a view of one, that makes calls for one user."""

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
        """A view of this client for one user. It shares the connections and caches.

        The view does not inherit the identity and the `auth` of this client.

        Args:
            email: the user's email address. Checkout requires it. Default: None.
            user_id: your own id of the user. Default: None.
            anonymous_id: your id of an anonymous visitor. Default: None.
            auth: the user's session, used instead of the server key where the service accepts both. Default: None.

        Raises:
            PaywallInvalidArgumentError: `invalid_argument`.
        """
        view = copy.copy(self)
        with translate_errors():
            view._identity = Identity(email=email, user_id=user_id, anonymous_id=anonymous_id)
        view._auth = validated_auth(auth)
        return view

    def set_identity(
        self, *, email: str | None = None, user_id: str | None = None, anonymous_id: str | None = None
    ) -> None:
        """Change the identity of this object, for all later calls. Prefer `for_user` where several users are served.

        Args:
            email: the user's email address. Default: None.
            user_id: your own id of the user. Default: None.
            anonymous_id: your id of an anonymous visitor. Default: None.

        Raises:
            PaywallInvalidArgumentError: `invalid_argument`.
        """
        with translate_errors():
            self._identity = Identity(email=email, user_id=user_id, anonymous_id=anonymous_id)

    async def _principal(self) -> Principal:
        """The user of a call that begins now."""
        identity, headers = self._identity, headers_key(self._options)
        return Principal(identity=identity, tokens=await self._token_provider(), headers=headers)

    async def _token_provider(self) -> SessionTokenProvider | None:
        """Gives the tokens of the current session; None when no user is signed in."""
        return None if self._auth is None else await self._auth._token_provider()

    def _require_key(self) -> Secret:
        """
        Raises:
            PaywallError: `apikey_required`.
        """
        if self._key is None:
            raise PaywallConfigError(
                "apikey_required", "this call needs a server key: pass api_key=..., or set MONETIZE_API_KEY"
            )
        return self._key

    def _require_identity(self) -> Identity:
        """
        Raises:
            PaywallError: `identity_required`.
        """
        if not self._identity.known:
            problem = "this call needs the user's identity: billing.for_user(email=..., user_id=...)"
            raise PaywallError("identity_required", problem)
        return self._identity

    def _with_key(self, request: Request) -> Request:
        """Set the header of the server key, if there is one."""
        return request if self._key is None else with_secret(request, "X-Api-Key", self._key)

    @staticmethod
    def _with_user_headers(request: Request, identity: Identity, locale: str | None = None) -> Request:
        """Set the headers of the user's email address and language."""
        if identity.email is not None:
            request.headers["X-User-Email"] = identity.email
        if locale is not None:
            request.headers["Accept-Language"] = locale
        return request


def user_meta(identity: Identity) -> dict[str, Any] | None:
    """The field `userMeta` of a request body."""
    return None if identity.user_id is None else {"userId": identity.user_id}


def validated_auth(auth: AuthClient | None) -> AuthClient | None:
    """
    Raises:
        PaywallInvalidArgumentError: it is not an `AuthClient`.
    """
    if auth is not None and not isinstance(auth, AuthClient):
        problem = f"auth: an AuthClient of montra_async.paywall, not {type(auth).__module__}.{type(auth).__qualname__}"
        raise PaywallInvalidArgumentError("invalid_argument", problem)
    return auth


def validated_identity(identity: Identity | None) -> Identity:
    """
    Raises:
        PaywallInvalidArgumentError: it is not an `Identity`.
    """
    if identity is not None and not isinstance(identity, Identity):
        raise PaywallInvalidArgumentError(
            "invalid_argument", f"identity: an Identity(...), not {type(identity).__name__}"
        )
    return NO_IDENTITY if identity is None else identity
