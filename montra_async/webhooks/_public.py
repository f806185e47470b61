"""Where each name of `montra_async.webhooks` comes from."""

from ..core.durations import CLOCK_SKEW as CLOCK_SKEW, Duration as Duration
from ..core.redaction import Secret as Secret
from .async_store import AsyncDeduplicationStore as AsyncDeduplicationStore, AsyncStoreAdapter as AsyncStoreAdapter
from .errors import (
    WebhookError as WebhookError,
    WebhookPayloadError as WebhookPayloadError,
    WebhookSignatureError as WebhookSignatureError,
    WebhookStoreError as WebhookStoreError,
)
from .events import (
    CheckoutCompleted as CheckoutCompleted,
    CheckoutData as CheckoutData,
    CustomerCreated as CustomerCreated,
    CustomerUpdated as CustomerUpdated,
    InvoiceCreated as InvoiceCreated,
    RefundCreated as RefundCreated,
    SubscriptionCanceled as SubscriptionCanceled,
    SubscriptionCreated as SubscriptionCreated,
    SubscriptionPaused as SubscriptionPaused,
    SubscriptionResumed as SubscriptionResumed,
    SubscriptionUpdated as SubscriptionUpdated,
    UsageLimitData as UsageLimitData,
    UsageLimitReached as UsageLimitReached,
)
from .helpers import WebhookHelpers as WebhookHelpers
from .parsing import (
    MONTRA as MONTRA,
    PAYWALL as PAYWALL,
    Source as Source,
    parse as parse,
    parse_paywall as parse_paywall,
)
from .paywall_events import (
    EventAcquiring as EventAcquiring,
    EventCustomer as EventCustomer,
    EventPayment as EventPayment,
    EventPaywall as EventPaywall,
    EventPrice as EventPrice,
    EventSubscription as EventSubscription,
    EventUser as EventUser,
    PaymentCompleted as PaymentCompleted,
    PaywallEventData as PaywallEventData,
    PaywallRefundCreated as PaywallRefundCreated,
    PaywallSubscriptionCancelled as PaywallSubscriptionCancelled,
    PaywallSubscriptionCreated as PaywallSubscriptionCreated,
    PaywallSubscriptionUpdated as PaywallSubscriptionUpdated,
)
from .processing import Reply as Reply
from .receiver import WebhookReceiver as WebhookReceiver
from .redis_store import RedisStore as RedisStore
from .signature import sign as sign, verify_signature as verify_signature
from .sqlite_store import SqliteStore as SqliteStore
from .stores import Claim as Claim, DeduplicationStore as DeduplicationStore, MemoryStore as MemoryStore
from .webhook_event import WebhookEvent as WebhookEvent
