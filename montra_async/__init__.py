"""Async Python SDK for Montra. Start with `Montra`; see the README."""

from ._version import __version__
from .client import DEFAULT_BASE_URL, Montra
from .core.checks import Number
from .core.errors import (
    ApiError,
    AuthenticationError,
    CallInfo,
    ConfigError,
    ConflictError,
    InvalidArgumentError,
    InvalidRequestError,
    InvalidResponseError,
    MontraError,
    NetworkError,
    NotFoundError,
    PermissionDeniedError,
    PoolTimeoutError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from .core.multipart import FileSource
from .core.options import CallEvent, Timeout
from .core.serde import Model
from .core.signature import verify_signature
from .resources.analytics import AnalyticsSeries, MrrMovement, SeriesPoint
from .resources.audit_logs import AuditLog, AuditLogPage, PageMeta
from .resources.checkout_links import CheckoutLink, UploadedFile
from .resources.customers import Customer, CustomerWithSubscription
from .resources.features import Entitlement, Feature
from .resources.invoices import Invoice
from .resources.meters import Meter
from .resources.pricing_models import PricingModel, Product
from .resources.refunds import Discount, Refund
from .resources.subscriptions import Proration, ScheduledChange, Subscription, SubscriptionUpgrade
from .resources.webhook_endpoints import WebhookEndpoint

__all__ = [
    "DEFAULT_BASE_URL",
    "AnalyticsSeries",
    "ApiError",
    "AuditLog",
    "AuditLogPage",
    "AuthenticationError",
    "CallEvent",
    "CallInfo",
    "CheckoutLink",
    "ConfigError",
    "ConflictError",
    "Customer",
    "CustomerWithSubscription",
    "Discount",
    "Entitlement",
    "Feature",
    "FileSource",
    "InvalidArgumentError",
    "InvalidRequestError",
    "InvalidResponseError",
    "Invoice",
    "Meter",
    "Model",
    "Montra",
    "MontraError",
    "MrrMovement",
    "NetworkError",
    "NotFoundError",
    "Number",
    "PageMeta",
    "PermissionDeniedError",
    "PoolTimeoutError",
    "PricingModel",
    "Product",
    "Proration",
    "RateLimitError",
    "Refund",
    "RequestTimeoutError",
    "ScheduledChange",
    "SeriesPoint",
    "ServerError",
    "Subscription",
    "SubscriptionUpgrade",
    "Timeout",
    "UploadedFile",
    "WebhookEndpoint",
    "__version__",
    "verify_signature",
]
