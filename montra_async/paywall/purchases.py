"""`PurchasesApi`: checkout, customer portal, purchases and cancellation."""

from __future__ import annotations

import uuid
from typing import Any

from ..core import validation
from ..core.http.messages import RawResponse, Request
from ..core.type_guards import is_object
from .errors import translate_errors
from .models import CanceledSubscription, CheckoutResult, Purchase
from .responses import NO_PORTAL, NOT_ON_PAYWALL, decode, decode_as, read_json
from .single_flight import Flight
from .user_scope import UserScopedClient, user_meta


class PurchasesApi(UserScopedClient):
    """Checkout, customer portal, purchases and cancellation."""

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
        """Create a checkout for the user (`POST /api/v1/paywall/{id}/start-checkout`).

        Redirect the payer to the result's `url`. The user's email address is required. A checkout with a session
        belongs to the session's user, whatever the email address. Concurrent equal calls for one user share one
        checkout. The request is retried under its idempotency key.

        Args:
            price_id: id of a price of `get_prices()`.
            success_url: URL that the payer is redirected to after the payment. Default: the paywall's setting.
            error_url: URL that the payer is redirected to after a failed payment. Default: the paywall's setting.
            shop_url: URL of the "back to the shop" link. Default: the paywall's setting.
            product_name: name that the payer sees. Default: the label of the price.
            trial_days: days without payment, at least 0. Default: those of the price.
            offer_id: id of an offer of the paywall. Default: None.
            local_currency: ISO code of the currency to charge in, if the acquirer supports it. Default: the currency of
                the price.
            experiment_id: id of the experiment that the payer takes part in. Default: None.
            variant_key: variant of the experiment that the payer saw. Default: None.
            ignore_active_purchase: whether to sell to a user who has an active purchase. Default: False.
            idempotency_key: your own key; the same key returns the same checkout. Default: a new key.

        Raises:
            PaywallError: `identity_required`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallConflictError: `already_purchased`: the user has an active purchase.
            PaywallApiError: the service's code, e.g. for an unknown price.
        """
        principal = await self._principal()
        email = principal.require_email()
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
                "userMeta": user_meta(principal.identity),
                "localCurrency": validation.optional_text("local_currency", local_currency),
                "visitorId": principal.identity.anonymous_id,
                "experimentId": validation.optional_text("experiment_id", experiment_id),
                "variantKey": validation.optional_text("variant_key", variant_key),
            }
        request = self._json_post(f"{self._endpoint.path}/start-checkout", body, key=key or str(uuid.uuid4()))
        flight_key = ("checkout", principal.cache_key, key, request.body)

        async def send(flight: Flight) -> CheckoutResult:
            flight.set_request(request)
            self._with_key(request)
            return await self._send(request, decode_as(CheckoutResult), tokens=principal.tokens)

        return await self._run_shared(self._caches.flights, flight_key, send)

    async def get_customer_portal_url(
        self, *, return_url: str | None = None, idempotency_key: str | None = None
    ) -> str:
        """Create a URL of the customer portal, where the user manages purchases and cards.

        `POST /api/v1/paywall/{id}/get-customer-portal`. Retried only if the request certainly did not reach the
        service, or with an idempotency key.

        Args:
            return_url: URL of the portal's "back" link. Default: the paywall's setting.
            idempotency_key: your own key. With a key the call is retried. Default: None.

        Raises:
            PaywallError: `identity_required`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallPermissionDeniedError: `forbidden`: the user has nothing to manage, or the acquirer has no portal
                (Freemius).
        """
        principal = await self._principal()
        tokens = principal.tokens
        with translate_errors():
            body: dict[str, Any] = {"returnUrl": validation.optional_text("return_url", return_url)}
        if tokens is None:
            identity = self._require_identity() if self._key is not None else principal.identity
            email = identity.email if self._key is not None else principal.require_email()
            body |= {"email": email, "userMeta": user_meta(identity)}
        request = self._json_post(f"{self._endpoint.path}/get-customer-portal", body, key=idempotency_key)
        if tokens is None:
            self._with_key(request)
        return await self._send(request, decode_as(str, field="url", codes=NO_PORTAL), tokens=tokens)

    async def list_purchases(self) -> list[Purchase]:
        """List all purchases of the user (`GET /api/v1/paywall/{id}/user`).

        Requires a session, or the server key and an identity.

        Raises:
            PaywallError: `apikey_required`, `identity_required`.
            PaywallNotFoundError: `identity_not_on_paywall`: the paywall does not know the user.
        """
        tokens = await self._token_provider()
        query = ""
        if tokens is None:
            self._require_key()
            identity = self._require_identity()
            query = validation.query(email=identity.email, user_id=identity.user_id)
        request = self._request("GET", f"{self._endpoint.path}/user", query)
        if tokens is None:
            self._with_key(request)
        return await self._send(request, _decode_purchases, tokens=tokens)

    async def cancel_subscription(
        self, subscription_id: str, reason: str, *, idempotency_key: str | None = None
    ) -> CanceledSubscription:
        """Cancel a subscription at the end of its period (`POST /api/paywall/cancel-subscription`).

        Requires a session, or the server key and an identity. Retried only if the request certainly did not reach the
        service, or with an idempotency key.

        Args:
            subscription_id: id of a `Purchase`.
            reason: reason of the cancellation, not empty.
            idempotency_key: your own key. With a key the call is retried. Default: None.

        Raises:
            PaywallError: `apikey_required`, `identity_required`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallNotFoundError: `identity_not_on_paywall`: the paywall does not know the user.
        """
        principal = await self._principal()
        tokens = principal.tokens
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
        decoder = decode_as(CanceledSubscription, field="subscription", codes=NOT_ON_PAYWALL)
        subscription = await self._send(request, decoder, tokens=tokens)
        self._caches.users.remove(principal.cache_key_of(request))
        return subscription


def _decode_purchases(response: RawResponse, request: Request) -> list[Purchase]:
    """The purchases of a response. The service may leave out an empty list."""
    payload = read_json(response, request, NOT_ON_PAYWALL)
    if is_object(payload) and payload.get("purchases") is None:
        return []
    return decode(response, request, list[Purchase], field="purchases")


def _number_or_text(parameter: str, value: str | int) -> int | str:
    """An id for the request body: an id of digits is sent as a number, any other as text."""
    if isinstance(value, int):
        return validation.whole(parameter, value)
    text = validation.text(parameter, value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text
