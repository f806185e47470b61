"""Async Python SDK for Montra. Start with `Montra`; see the README."""

from typing import TYPE_CHECKING

from ._version import __version__

__all__ = [
    "DEFAULT_BASE_URL",
    "AnalyticsSeries",
    "ApiError",
    "AuditLog",
    "AuditLogPage",
    "AuthenticationError",
    "CallEvent",
    "InsecureTlsWarning",
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

if TYPE_CHECKING:
    from ._public import *
else:
    from ._lazy import lazily

    __getattr__, __dir__ = lazily(__name__, __all__)
