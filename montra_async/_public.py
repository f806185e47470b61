"""Where each name of `montra_async` comes from."""

from .client import DEFAULT_BASE_URL as DEFAULT_BASE_URL, Montra as Montra
from .core.api_response import ApiResponse as ApiResponse
from .core.bulk_results import BulkHook as BulkHook, BulkProgress as BulkProgress, BulkResult as BulkResult
from .core.deprecation import MontraDeprecationWarning as MontraDeprecationWarning
from .core.errors import (
    ApiError as ApiError,
    AuthenticationError as AuthenticationError,
    CallInfo as CallInfo,
    CallInterruptedError as CallInterruptedError,
    ConfigError as ConfigError,
    ConflictError as ConflictError,
    InvalidArgumentError as InvalidArgumentError,
    InvalidRequestError as InvalidRequestError,
    InvalidResponseError as InvalidResponseError,
    MontraError as MontraError,
    NetworkError as NetworkError,
    NotFoundError as NotFoundError,
    PermissionDeniedError as PermissionDeniedError,
    PoolTimeoutError as PoolTimeoutError,
    RateLimitError as RateLimitError,
    RequestTimeoutError as RequestTimeoutError,
    ServerError as ServerError,
)
from .core.headers import ResponseHeaders as ResponseHeaders
from .core.http.connection import InsecureTlsWarning as InsecureTlsWarning
from .core.http.multipart import FileSource as FileSource
from .core.models.json import json_default as json_default
from .core.models.model import Model as Model
from .core.options import (
    CallEvent as CallEvent,
    Hook as Hook,
    Timeout as Timeout,
)
from .core.redaction import SecretText as SecretText
from .core.validation import UNSET as UNSET, Number as Number, Unset as Unset
from .resources.analytics import (
    AnalyticsSeries as AnalyticsSeries,
    Interval as Interval,
    MrrMovement as MrrMovement,
    SeriesPoint as SeriesPoint,
)
from .resources.audit_logs import AuditLog as AuditLog, AuditLogPage as AuditLogPage, PageMeta as PageMeta
from .resources.checkout_links import (
    CheckoutLink as CheckoutLink,
    CheckoutLinkStatus as CheckoutLinkStatus,
    UploadedFile as UploadedFile,
)
from .resources.customers import (
    Customer as Customer,
    CustomerStatus as CustomerStatus,
    CustomerWithSubscription as CustomerWithSubscription,
)
from .resources.features import (
    Entitlement as Entitlement,
    EntitlementType as EntitlementType,
    Feature as Feature,
    FeatureStatus as FeatureStatus,
    FeatureType as FeatureType,
)
from .resources.invoices import Invoice as Invoice, InvoiceStatus as InvoiceStatus
from .resources.meters import Aggregation as Aggregation, Meter as Meter
from .resources.pricing_models import (
    PriceType as PriceType,
    PricingModel as PricingModel,
    PricingStructure as PricingStructure,
    Product as Product,
    ProductStatus as ProductStatus,
)
from .resources.refunds import (
    Discount as Discount,
    DiscountDuration as DiscountDuration,
    Refund as Refund,
    RefundStatus as RefundStatus,
)
from .resources.subscriptions import (
    BillingInterval as BillingInterval,
    PauseBehavior as PauseBehavior,
    Proration as Proration,
    ScheduledChange as ScheduledChange,
    ScheduledChangeStatus as ScheduledChangeStatus,
    Subscription as Subscription,
    SubscriptionStatus as SubscriptionStatus,
    SubscriptionUpgrade as SubscriptionUpgrade,
)
from .resources.webhook_endpoints import WebhookEndpoint as WebhookEndpoint
from .webhooks.signature import verify_signature as verify_signature
