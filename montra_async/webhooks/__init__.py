"""Receiving webhooks: `parse` verifies one webhook, `WebhookReceiver` handles each event once."""

from typing import TYPE_CHECKING

__all__ = [
    "CLOCK_SKEW",
    "MONTRA",
    "PAYWALL",
    "AsyncDeduplicationStore",
    "AsyncStoreAdapter",
    "CheckoutCompleted",
    "CheckoutData",
    "Claim",
    "CustomerCreated",
    "CustomerUpdated",
    "DeduplicationStore",
    "Duration",
    "EventAcquiring",
    "EventCustomer",
    "EventPayment",
    "EventPaywall",
    "EventPrice",
    "EventSubscription",
    "EventUser",
    "InvoiceCreated",
    "MemoryStore",
    "PaymentCompleted",
    "PaywallEventData",
    "PaywallRefundCreated",
    "PaywallSubscriptionCancelled",
    "PaywallSubscriptionCreated",
    "PaywallSubscriptionUpdated",
    "RedisStore",
    "RefundCreated",
    "Reply",
    "Secret",
    "Source",
    "SqliteStore",
    "SubscriptionCanceled",
    "SubscriptionCreated",
    "SubscriptionPaused",
    "SubscriptionResumed",
    "SubscriptionUpdated",
    "UsageLimitData",
    "UsageLimitReached",
    "WebhookError",
    "WebhookEvent",
    "WebhookHelpers",
    "WebhookPayloadError",
    "WebhookReceiver",
    "WebhookSignatureError",
    "WebhookStoreError",
    "parse",
    "parse_paywall",
    "sign",
    "verify_signature",
]

if TYPE_CHECKING:
    from ._public import *
else:
    from .._lazy import lazily

    __getattr__, __dir__ = lazily(__name__, __all__)
