"""What a paywall sells and what a user has of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from typing import Any

import attrs

from ..core import checks
from ..core.answers import json_of
from ..core.calls import Answer, Call
from ..core.serde import SerdeError, structure
from ..core.shapes import is_object
from .acting import Acting
from .answers import read, unreadable
from .errors import PaywallError, preconditions
from .locales import localized
from .models import Bootstrap, PaywallUser, Price

log = logging.getLogger("montra")

USER_FRESH = 5.0
BOOTSTRAP_FRESH = 5 * 60.0
BOOTSTRAP_USABLE = 60 * 60.0
"""Seconds. A bootstrap between fresh and usable is served while it is asked for again."""

_revalidating: set[asyncio.Task[Any]] = set()


class CatalogCalls(Acting):
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
        with preconditions():
            wanted = checks.optional_text("locale", locale) or self._accept_language
        key = (await self._who(), wanted)
        kept = None if force else self._kept.bootstraps.get(key, younger_than=BOOTSTRAP_USABLE)
        if kept is None:
            return await self._kept.flights.join(("bootstrap", key, force), lambda: self._fetch(key, wanted, None))
        if self._kept.bootstraps.get(key, younger_than=BOOTSTRAP_FRESH) is None:
            self._revalidate(key, wanted, kept)
        return kept

    async def get_prices(self, locale: str | None = None, *, force: bool = False) -> list[Price]:
        """The paywall's prices (`GET /api/v1/paywall/{id}/bootstrap`), as in `bootstrap`."""
        return list((await self.bootstrap(locale=locale, force=force)).prices)

    async def get_user(self, *, force: bool = False) -> PaywallUser:
        """What the user has: purchases, trial, access (`GET /api/v1/paywall/{id}/user-state`).

        Kept for five seconds; callers at the same time share one request. Nobody without an email address or a
        session has anything: no request is made.

        Args:
            force: ask the service, whatever is kept.
        """
        signer = await self._session()
        if self._identity.email is None and signer is None:
            return PaywallUser()
        who = await self._who()
        kept = None if force else self._kept.users.get(who, younger_than=USER_FRESH)
        if kept is not None:
            return kept

        async def fetch() -> PaywallUser:
            call = self._named(self._call("GET", f"{self._place.paywall}/user-state"))
            user = await self._send(call, lambda answer, sent: read(answer, sent, PaywallUser), signer=signer)
            self._kept.users.put(who, user)
            return user

        return await self._kept.flights.join(("user", who, force), fetch)

    def _revalidate(self, key: Hashable, wanted: str | None, kept: Bootstrap) -> None:
        async def ask() -> None:
            try:
                await self._kept.flights.join(("revalidate", key), lambda: self._fetch(key, wanted, kept))
            except PaywallError as error:
                log.info("the kept bootstrap of %s stays in use: %s", self._place.paywall_id, error)

        task = asyncio.get_running_loop().create_task(ask())
        _revalidating.add(task)
        task.add_done_callback(_revalidating.discard)

    async def _fetch(self, key: Hashable, wanted: str | None, kept: Bootstrap | None) -> Bootstrap:
        query = "" if kept is None or kept.version is None else checks.query(if_version=kept.version)
        call = self._named(self._call("GET", f"{self._place.paywall}/bootstrap", query), wanted)
        answer = await self._send(call, lambda answer, sent: _bootstrap(answer, sent, kept))
        self._check_domain(answer)
        result = localized(answer, wanted)
        self._kept.bootstraps.put(key, result)
        return result

    def _check_domain(self, bootstrap: Bootstrap) -> None:
        domain = (bootstrap.settings.custom_domain or "").strip().lower()
        host = domain.partition("://")[2] or domain
        host = host.partition("/")[0].partition(":")[0]
        if host and host != (self._place.origin.host or "").lower():
            problem = f"the paywall's own domain is {host}, but api_origin is {self._place.origin}"
            raise PaywallError("invalid_config", problem)


def _bootstrap(answer: Answer, call: Call, kept: Bootstrap | None) -> Bootstrap:
    """The bootstrap of an answer; the kept one, with the user's state renewed, when it has not changed."""
    payload = json_of(answer)
    if not is_object(payload) or payload.get("unchanged") is not True:
        return read(answer, call, Bootstrap)
    if kept is None:
        raise unreadable(answer, call, "`unchanged`, though no version was named")
    try:
        user = structure(payload["user"], PaywallUser) if payload.get("user") is not None else kept.user
    except SerdeError as error:
        raise unreadable(answer, call, str(error)) from None
    return attrs.evolve(kept, user=user)
