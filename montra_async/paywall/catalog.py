"""What a paywall sells and what a user has of it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Hashable

import attrs

from ..core import validation
from ..core.decoding import json_of
from ..core.http.messages import RawResponse, Request
from ..core.models.model import SerdeError, structure
from ..core.type_guards import is_object
from .errors import PaywallConfigError, PaywallError, translate_errors
from .identity import NOBODY
from .locales import checked_language, localized
from .models import Bootstrap, PaywallUser, Price
from .paywall_client import headers_key
from .responses import decode, invalid_response
from .single_flight import Flight
from .user_scope import BOOTSTRAP_FRESH, Actor, UserScopedClient

log = logging.getLogger("montra")


class CatalogCalls(UserScopedClient):
    _accept_language: str | None

    async def bootstrap(self, locale: str | None = None, *, force: bool = False) -> Bootstrap:
        """Everything the paywall shows: settings, prices, offers (`GET /api/v1/paywall/{id}/bootstrap`).

        Kept for five minutes, then served once more from memory while a newer version is asked for, for at most an
        hour.

        Args:
            locale: language tag or `Accept-Language` header, e.g. `de-AT`; the client's `accept_language` by default.
                Labels and descriptions come in it where the paywall has them.
            force: ask the service, whatever is kept.

        Raises:
            PaywallError: `invalid_config` when the paywall's own domain is not the origin of this client.
        """
        with translate_errors():
            wanted = checked_language("locale", locale) or self._accept_language
        actor = Actor(identity=self._identity, tokens=None, headers=headers_key(self._options))
        key = (actor.cache_key, wanted)
        kept = None if force else self._caches.bootstraps.get(key)
        if kept is None:
            request = self._bootstrap_call(actor, wanted, None)
            fetch = self._fetch(key, request, wanted, None)
            return await self._run_shared(self._caches.flights, ("bootstrap", key, force), fetch)
        if self._caches.bootstraps.get(key, younger_than=BOOTSTRAP_FRESH) is None:
            self._revalidate(key, actor, wanted, kept)
        return kept

    async def list_prices(self, locale: str | None = None, *, force: bool = False) -> list[Price]:
        """List the paywall's prices (`GET /api/v1/paywall/{id}/bootstrap`), from the cache of `bootstrap`.

        Args:
            locale: language tag or `Accept-Language` header, e.g. `de-AT`, of labels and descriptions; the client's
                `accept_language` by default.
            force: whether to ignore the cache; False by default.
        """
        return list((await self.bootstrap(locale=locale, force=force)).prices)

    async def get_prices(self, locale: str | None = None, *, force: bool = False) -> list[Price]:
        """List the paywall's prices: the contract's name of `list_prices`.

        Args:
            locale: see `list_prices`.
            force: see `list_prices`.
        """
        return await self.list_prices(locale, force=force)

    async def get_user(self, *, force: bool = False) -> PaywallUser:
        """What the user has: purchases, trial, access (`GET /api/v1/paywall/{id}/user-state`).

        Kept for five seconds; callers at the same time share one request. The service knows users by email address or
        session: a visitor, or somebody of whom only your own id is given, has nothing, and no request is made.

        Args:
            force: ask the service, whatever is kept.

        Raises:
            PaywallError: `identity_required` when nobody is named at all.
        """
        actor = await self._actor()
        if actor.identity.email is None and actor.tokens is None:
            if actor.identity == NOBODY and self._auth is None:
                raise PaywallError("identity_required", "say whose state: billing.for_user(email=...)")
            return PaywallUser()
        kept = None if force else self._caches.users.get(actor.cache_key)
        if kept is not None:
            return kept
        request = self._named(self._request("GET", f"{self._endpoint.path}/user-state"), actor.identity)

        async def fetch(flight: Flight) -> PaywallUser:
            flight.set_request(request)
            user = await self._send(
                request, lambda response, request: decode(response, request, PaywallUser), tokens=actor.tokens
            )
            self._caches.users.put(actor.cache_key_of(request), user)
            return user

        return await self._run_shared(self._caches.flights, ("user", actor.cache_key, force), fetch)

    def _revalidate(self, key: Hashable, actor: Actor, wanted: str | None, kept: Bootstrap) -> None:
        fetch = self._fetch(key, self._bootstrap_call(actor, wanted, kept), wanted, kept)

        async def ask(flight: Flight) -> None:
            try:
                await fetch(flight)
            except PaywallError as error:
                log.info("the kept bootstrap of %s stays in use: %s", self._endpoint.paywall_id, error)

        self._caches.flights.start(("revalidate", key), ask)

    def _bootstrap_call(self, actor: Actor, wanted: str | None, kept: Bootstrap | None) -> Request:
        query = "" if kept is None or kept.version is None else validation.query(if_version=kept.version)
        return self._named(self._request("GET", f"{self._endpoint.path}/bootstrap", query), actor.identity, wanted)

    def _fetch(
        self, key: Hashable, request: Request, wanted: str | None, kept: Bootstrap | None
    ) -> Callable[[Flight], Awaitable[Bootstrap]]:
        async def fetch(flight: Flight) -> Bootstrap:
            flight.set_request(request)
            response = await self._send(request, lambda response, request: _bootstrap(response, request, kept))
            self._check_domain(response)
            result = localized(response, wanted)
            self._caches.bootstraps.put(key, result)
            return result

        return fetch

    def _check_domain(self, bootstrap: Bootstrap) -> None:
        domain = (bootstrap.settings.custom_domain or "").strip().lower()
        host = domain.partition("://")[2] or domain
        host = host.partition("/")[0].partition(":")[0]
        if host and host != (self._endpoint.origin.host or "").lower():
            problem = f"the paywall's own domain is {host}, but api_origin is {self._endpoint.origin}"
            raise PaywallConfigError("invalid_config", problem)


def _bootstrap(response: RawResponse, request: Request, kept: Bootstrap | None) -> Bootstrap:
    """The bootstrap of an answer; the kept one, with the user's state renewed, when it has not changed."""
    payload = json_of(response)
    if not is_object(payload) or payload.get("unchanged") is not True:
        return decode(response, request, Bootstrap)
    if kept is None:
        raise invalid_response(response, request, "`unchanged`, though no version was named")
    try:
        user = structure(payload["user"], PaywallUser) if payload.get("user") is not None else kept.user
    except SerdeError as error:
        raise invalid_response(response, request, str(error)) from None
    return attrs.evolve(kept, user=user)
