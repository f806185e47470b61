"""Where each name of `montra_async` comes from."""

from .client import DEFAULT_BASE_URL as DEFAULT_BASE_URL, Montra as Montra
from .core.errors import (
    ApiError as ApiError,
    AuthenticationError as AuthenticationError,
    CallInfo as CallInfo,
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
from .core.http.multipart import FileSource as FileSource
from .core.models.model import Model as Model
from .core.options import CallEvent as CallEvent, InsecureTlsWarning as InsecureTlsWarning, Timeout as Timeout
from .core.signature import verify_signature as verify_signature
from .core.validation import Number as Number
from .resources.analytics import (
    AnalyticsSeries as AnalyticsSeries,
    MrrMovement as MrrMovement,
    SeriesPoint as SeriesPoint,
)
from .resources.audit_logs import AuditLog as AuditLog, AuditLogPage as AuditLogPage, PageMeta as PageMeta
from .resources.checkout_links import CheckoutLink as CheckoutLink, UploadedFile as UploadedFile
from .resources.customers import Customer as Customer, CustomerWithSubscription as CustomerWithSubscription
from .resources.features import Entitlement as Entitlement, Feature as Feature
from .resources.invoices import Invoice as Invoice
from .resources.meters import Meter as Meter
from .resources.pricing_models import PricingModel as PricingModel, Product as Product
from .resources.refunds import Discount as Discount, Refund as Refund
from .resources.subscriptions import (
    Proration as Proration,
    ScheduledChange as ScheduledChange,
    Subscription as Subscription,
    SubscriptionUpgrade as SubscriptionUpgrade,
)
from .resources.webhook_endpoints import WebhookEndpoint as WebhookEndpoint
