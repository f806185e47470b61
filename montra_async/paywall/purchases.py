"""Checkout, the customer portal, purchases and their cancellation."""

from __future__ import annotations

import os
from typing import Any

from ..core import validation
from ..core.decoding import json_of
from ..core.http.messages import RawResponse, Request
from ..core.type_guards import is_object
from .errors import translate_errors
from .models import CanceledSubscription, CheckoutResult, Purchase
from .responses import NO_PORTAL, NOT_ON_PAYWALL, decode
from .single_flight import Flight
from .user_scope import UserScopedClient, address_of, user_meta


class PurchaseCalls(UserScopedClient):
    async def create_checkout(
        self,
        price_id: str | int,
        *,
        success_url: str | None = None,
        error_url: str | None = None,
        shop_url: str | None = None,
        product_name: str | None = None,
        trial_days: int | None = None,
        offer_id: str | int | None = None,
        local_currency: str | None = None,
        experiment_id: str | None = None,
        variant_key: str | None = None,
        ignore_active_purchase: bool = False,
        idempotency_key: str | None = None,
    ) -> CheckoutResult:
        """Begin a checkout for the user (`POST /api/v1/paywall/{id}/start-checkout`). Needs the user's email address.

        Where somebody is signed in, the checkout is theirs, whatever the address.

        Send the payer to the result's `url`. Callers that ask for the same at the same time share one checkout; the
        request is retried under its idempotency key.

        Args:
            price_id: one of `get_prices()`.
            success_url: where the payer goes after paying.
            error_url: where the payer goes when it failed.
            shop_url: where "back to the shop" leads.
            product_name: shown to the payer instead of the price's label.
            trial_days: days without payment, instead of the price's.
            offer_id: one of the paywall's offers.
            local_currency: currency to charge in, where the acquirer can.
            experiment_id, variant_key: which variant of an experiment the payer saw.
            ignore_active_purchase: sell again to someone who has an active purchase.
            idempotency_key: your own key; one is made when you give none. The same key gives the same checkout.

        Raises:
            PaywallError: `identity_required`, `already_purchased`, or the service's code for an unknown price.
        """
        actor = await self._actor()
        email = address_of(actor)
        with translate_errors():
            key = None if idempotency_key is None else validation.idempotency_key(idempotency_key)
            body = {
                "email": email,
                "priceId": _number_or_text("price_id", price_id),
                "offerId": None if offer_id is None else _number_or_text("offer_id", offer_id),
                "successUrl": validation.optional_text("success_url", success_url),
                "errorUrl": validation.optional_text("error_url", error_url),
                "shopUrl": validation.optional_text("shop_url", shop_url),
                "productName": validation.optional_text("product_name", product_name),
                "trial_days": validation.optional_whole("trial_days", trial_days),
                "ignoreActivePurchase": validation.optional_flag("ignore_active_purchase", ignore_active_purchase)
                or None,
                "userMeta": user_meta(actor.identity),
                "localCurrency": validation.optional_text("local_currency", local_currency),
                "visitorId": actor.identity.anonymous_id,
                "experimentId": validation.optional_text("experiment_id", experiment_id),
                "variantKey": validation.optional_text("variant_key", variant_key),
            }
        request = self._json_post(f"{self._endpoint.path}/start-checkout", body, key=key or _uuid4())
        wanted = ("checkout", actor.cache_key, key, request.body)

        async def begin(flight: Flight) -> CheckoutResult:
            flight.set_request(request)
            self._with_key(request)
            return await self._send(
                request, lambda response, request: decode(response, request, CheckoutResult), tokens=actor.tokens
            )

        return await self._run_shared(self._caches.flights, wanted, begin)

    async def get_customer_portal_url(
        self, *, return_url: str | None = None, idempotency_key: str | None = None
    ) -> str:
        """Where the user manages purchases and cards (`POST /api/v1/paywall/{id}/get-customer-portal`).

        Args:
            return_url: where the portal's "back" leads.
            idempotency_key: makes the call one that is retried.

        Raises:
            PaywallError: `identity_required`; `forbidden` when there is nothing to manage, or no portal (Freemius).
        """
        actor = await self._actor()
        tokens = actor.tokens
        with translate_errors():
            body: dict[str, Any] = {"returnUrl": validation.optional_text("return_url", return_url)}
        if tokens is None:
            identity = self._require_identity() if self._key is not None else actor.identity
            email = identity.email if self._key is not None else address_of(actor)
            body |= {"email": email, "userMeta": user_meta(identity)}
        request = self._json_post(f"{self._endpoint.path}/get-customer-portal", body, key=idempotency_key)
        if tokens is None:
            self._with_key(request)
        return await self._send(
            request, lambda response, request: decode(response, request, str, within="url"), NO_PORTAL, tokens=tokens
        )

    async def list_purchases(self) -> list[Purchase]:
        """Everything the user has bought (`GET /api/v1/paywall/{id}/user`), by session, or with key and identity.

        Raises:
            PaywallError: `apikey_required`, `identity_required`; `identity_not_on_paywall` for somebody the paywall has
                never seen.
        """
        tokens = await self._session()
        query = ""
        if tokens is None:
            self._require_key()
            identity = self._require_identity()
            query = validation.query(email=identity.email, user_id=identity.user_id)
        request = self._request("GET", f"{self._endpoint.path}/user", query)
        if tokens is None:
            self._with_key(request)
        return await self._send(
            request,
            _purchases,
            NOT_ON_PAYWALL,
            tokens=tokens,
        )

    async def cancel_subscription(
        self, subscription_id: str, reason: str, *, idempotency_key: str | None = None
    ) -> CanceledSubscription:
        """End a subscription at the end of its period (`POST /api/paywall/cancel-subscription`).

        Sent once: it is tried again only when it surely did not reach the service, unless you give a key.

        Args:
            subscription_id: id of a `Purchase`.
            reason: why; the service insists.
            idempotency_key: makes the call one that is retried.

        Raises:
            PaywallError: `apikey_required`, `identity_required`, `identity_not_on_paywall`.
        """
        actor = await self._actor()
        tokens = actor.tokens
        with translate_errors():
            body: dict[str, Any] = {
                "subscriptionId": validation.text("subscription_id", subscription_id),
                "paywallId": self._endpoint.paywall_id,
                "cancellationReason": validation.text("reason", reason),
            }
        if tokens is None:
            self._require_key()
            identity = self._require_identity()
            body |= {"email": identity.email, "userId": identity.user_id}
        request = self._json_post("/api/paywall/cancel-subscription", body, key=idempotency_key)
        if tokens is None:
            self._with_key(request)
        result = await self._send(
            request,
            lambda response, request: decode(response, request, CanceledSubscription, within="subscription"),
            NOT_ON_PAYWALL,
            tokens=tokens,
        )
        self._caches.users.drop(actor.cache_key_of(request))
        return result


def _purchases(response: RawResponse, request: Request) -> list[Purchase]:
    """Of somebody who has none, the service may leave the list out."""
    payload = json_of(response)
    if is_object(payload) and payload.get("purchases") is None:
        return []
    return decode(response, request, list[Purchase], within="purchases")


def _number_or_text(parameter: str, value: str | int) -> int | str:
    """The wire has numbers, ids made of other things stay text."""
    if isinstance(value, int):
        return validation.whole(parameter, value)
    wanted = validation.text(parameter, value).strip()
    return int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 16 else wanted


def _uuid4() -> str:
    """A random UUID; the module `uuid` costs more to import than it is worth here."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
