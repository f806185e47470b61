"""`BillingClient`: what a server does for the users of a paywall."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from ..core.options import not_text
from ..core.redaction import Secret
from ..core.signature import signing_secrets, verify_signature
from .auth import AuthClient
from .catalog import CatalogCalls
from .errors import PaywallError, translate_errors
from .identity import Identity
from .locales import checked_language
from .paywall_client import ClientSettings
from .purchases import PurchaseCalls
from .support import SupportCalls
from .tokens import TokenCalls
from .user_scope import ClientCaches, checked_auth, checked_identity

if TYPE_CHECKING:
    from datetime import timedelta

    from typing_extensions import Unpack

    from ..core.signature import Secrets
    from ..webhooks import WebhookEvent
    from ..webhooks.parsing import Signature


class PaywallWebhooks:
    """`billing.webhooks`: what a receiver of the paywall service's webhooks needs. Pure functions."""

    verify_signature = staticmethod(verify_signature)

    @staticmethod
    def parse(
        raw_body: bytes | str,
        signature: Signature,
        secret: Secrets,
        *,
        max_age: timedelta | None = None,
        clock_skew: timedelta | None = None,
        require_created_at: bool = False,
    ) -> WebhookEvent:
        """An event that the paywall service surely sent: see `montra_async.webhooks.parse_paywall`."""
        from ..webhooks import parse_paywall  # its many classes are made when somebody wants them
        from ..webhooks.parsing import CLOCK_SKEW

        secrets = signing_secrets(secret)
        del secret  # what is below may raise: a traceback with local variables must not show it
        return parse_paywall(
            raw_body,
            signature,
            secrets,
            max_age=max_age,
            clock_skew=CLOCK_SKEW if clock_skew is None else clock_skew,
            require_created_at=require_created_at,
        )


class BillingClient(CatalogCalls, PurchaseCalls, TokenCalls, SupportCalls):
    """Checkout, prices, access, tokens, tickets of one paywall.

    Make one client and keep it: it pools connections and works on every event loop. Act for a user through
    `billing.for_user(email=..., user_id=...)`, a cheap view; one client serves any number of users at once.

    Args:
        paywall_id: the environment's `PAYWALL_ID` when not given.
        api_origin: the paywall's own domain, e.g. `https://pay.example.com`; else the environment's `PAYWALL_ORIGIN`.
        api_key: server key `sk_...`; else the environment's `MONETIZE_API_KEY`. Not every call needs one.
        identity: whom to act for where no view says otherwise.
        auth: the session of the user to act for.
        accept_language: language of labels, where a call names none.
        settings: see `ClientSettings`.

    Raises:
        PaywallError: `invalid_config`, `invalid_argument`, `apikey_in_browser`.
    """

    webhooks: ClassVar[PaywallWebhooks] = PaywallWebhooks()

    def __init__(
        self,
        paywall_id: str | None = None,
        api_origin: str | None = None,
        api_key: str | None = None,
        *,
        identity: Identity | None = None,
        auth: AuthClient | None = None,
        accept_language: str | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        problem = not_text(api_key=api_key)
        if problem is not None:
            del api_key
            raise PaywallError("invalid_config", problem)
        key = Secret((api_key if api_key is not None else os.environ.get("MONETIZE_API_KEY", "")).strip())
        del api_key  # error reporters print the local variables of a traceback's frames
        self._key = key if key.reveal() else None
        self._open(paywall_id, api_origin, self._key, settings)
        with translate_errors():
            self._accept_language = checked_language("accept_language", accept_language)
        self._identity = checked_identity(identity)
        self._auth = checked_auth(auth)
        self._kept = ClientCaches()
