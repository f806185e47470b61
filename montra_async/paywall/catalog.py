"""`CatalogApi`: bootstrap, prices, and the state of a user."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Hashable

import attrs

from ..core import validation
from ..core.http.messages import RawResponse, Request
from ..core.type_guards import is_object
from .errors import PaywallConfigError, PaywallError, translate_errors
from .identity import NO_IDENTITY
from .locales import localized, validated_language
from .models import Bootstrap, PaywallUser, Price
from .paywall_client import headers_key
from .responses import decode, decode_as, invalid_response, read_as, read_json
from .single_flight import Flight
from .user_scope import BOOTSTRAP_FRESH, Principal, UserScopedClient

log: logging.Logger = logging.getLogger("montra")


class CatalogApi(UserScopedClient):
    """Bootstrap, prices, and the state of a user."""

    _accept_language: str | None

    async def bootstrap(self, locale: str | None = None, *, force: bool = False) -> Bootstrap:
        """Get settings, prices and offers of the paywall (`GET /api/v1/paywall/{id}/bootstrap`).

        Cached for five minutes, then returned from the cache while it is revalidated, for at most an hour. Concurrent
        callers share one request.

        Args:
            locale: language tag or `Accept-Language` header, e.g. `de-AT`, for labels and descriptions. Default: the
                client's `accept_language`.
            force: whether to send a request even if the cache has the result. Default: False.

        Raises:
            PaywallConfigError: `invalid_config`: the paywall's own domain differs from `api_origin`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallNotFoundError: no such paywall.
        """
        with translate_errors():
            language = validated_language("locale", locale) or self._accept_language
        principal = Principal(identity=self._identity, tokens=None, headers=headers_key(self._options))
        key = (principal.cache_key, language)
        cached = None if force else self._caches.bootstraps.get(key)
        if cached is None:
            fetch = self._bootstrap_fetcher(key, principal, language)
            return await self._run_shared(self._caches.flights, ("bootstrap", key, force), fetch)
        if self._caches.bootstraps.get(key, max_age=BOOTSTRAP_FRESH) is None:
            self._revalidate(key, principal, language, cached)
        return cached

    async def list_prices(self, locale: str | None = None, *, force: bool = False) -> list[Price]:
        """List the prices of the paywall (`GET /api/v1/paywall/{id}/bootstrap`). Cached like `bootstrap`.

        Args:
            locale: language tag or `Accept-Language` header, e.g. `de-AT`, for labels and descriptions. Default: the
                client's `accept_language`.
            force: whether to send a request even if the cache has the result. Default: False.

        Raises:
            PaywallConfigError: `invalid_config`: the paywall's own domain differs from `api_origin`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallNotFoundError: no such paywall.
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
        """Get access, purchases and trial of the user (`GET /api/v1/paywall/{id}/user-state`).

        Cached for five seconds. Concurrent callers share one request. The service identifies users by email address
        or session: without both no request is sent, and the result is empty.

        Args:
            force: whether to send a request even if the cache has the result. Default: False.

        Raises:
            PaywallError: `identity_required`: the client has neither an identity nor `auth`.
            PaywallApiError: the service's code.
        """
        principal = await self._principal()
        if principal.identity.email is None and principal.tokens is None:
            if principal.identity == NO_IDENTITY and self._auth is None:
                raise PaywallError("identity_required", "this call needs the user: billing.for_user(email=...)")
            return PaywallUser()
        cached = None if force else self._caches.users.get(principal.cache_key)
        if cached is not None:
            return cached
        request = self._request("GET", f"{self._endpoint.path}/user-state")
        self._with_user_headers(request, principal.identity)

        async def fetch(flight: Flight) -> PaywallUser:
            flight.set_request(request)
            user = await self._send(request, decode_as(PaywallUser), tokens=principal.tokens)
            self._caches.users.put(principal.cache_key_of(request), user)
            return user

        return await self._run_shared(self._caches.flights, ("user", principal.cache_key, force), fetch)

    def _revalidate(self, key: Hashable, principal: Principal, language: str | None, cached: Bootstrap) -> None:
        """Fetch a newer version in the background. A failure is logged."""
        fetch = self._bootstrap_fetcher(key, principal, language, cached)

        async def revalidate(flight: Flight) -> None:
            try:
                await fetch(flight)
            except PaywallError as error:
                log.info("the cached bootstrap of %s stays in use: %s", self._endpoint.paywall_id, error)

        self._caches.flights.start(("revalidate", key), revalidate, name="paywall.bootstrap")

    def _bootstrap_fetcher(
        self, key: Hashable, principal: Principal, language: str | None, cached: Bootstrap | None = None
    ) -> Callable[[Flight], Awaitable[Bootstrap]]:
        """A function that fetches the bootstrap, and stores it in the cache."""
        query = "" if cached is None or cached.version is None else validation.query(if_version=cached.version)
        request = self._request("GET", f"{self._endpoint.path}/bootstrap", query)
        self._with_user_headers(request, principal.identity, language)

        async def fetch(flight: Flight) -> Bootstrap:
            flight.set_request(request)
            bootstrap = await self._send(
                request, lambda response, request: _decode_bootstrap(response, request, cached)
            )
            self._check_domain(bootstrap)
            bootstrap = localized(bootstrap, language)
            self._caches.bootstraps.put(key, bootstrap)
            return bootstrap

        return fetch

    def _check_domain(self, bootstrap: Bootstrap) -> None:
        """
        Raises:
            PaywallConfigError: the paywall's own domain differs from `api_origin`.
        """
        domain = (bootstrap.settings.custom_domain or "").strip().lower()
        host = domain.partition("://")[2] or domain
        host = host.partition("/")[0].partition(":")[0]
        if host and host != (self._endpoint.origin.host or "").lower():
            problem = f"the paywall's own domain is {host}, but api_origin is {self._endpoint.origin}"
            raise PaywallConfigError("invalid_config", problem)


def _decode_bootstrap(response: RawResponse, request: Request, cached: Bootstrap | None) -> Bootstrap:
    """The bootstrap of a response. If it has not changed: the cached one, with the user of the response."""
    payload = read_json(response, request)
    if not is_object(payload) or payload.get("unchanged") is not True:
        return decode(response, request, Bootstrap)
    if cached is None:
        raise invalid_response(response, request, "`unchanged`, although no version was requested")
    if payload.get("user") is None:
        return cached
    return attrs.evolve(cached, user=read_as(payload["user"], response, request, PaywallUser))
