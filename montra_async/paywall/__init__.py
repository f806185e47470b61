"""The paywall service: sell access and tokens to the users of a paywall. Start with `BillingClient`."""

from ..core.http.multipart import Attachment
from .auth import AuthClient
from .auth_models import AuthSession, AuthUser, OAuthStart, SignUpResult, UpgradeResult
from .billing import BillingClient
from .errors import (
    PaywallApiError,
    PaywallAuthenticationError,
    PaywallConfigError,
    PaywallConflictError,
    PaywallError,
    PaywallInvalidArgumentError,
    PaywallInvalidRequestError,
    PaywallInvalidResponseError,
    PaywallNetworkError,
    PaywallNotFoundError,
    PaywallPermissionDeniedError,
    PaywallPoolTimeoutError,
    PaywallRateLimitError,
    PaywallServerError,
    PaywallTimeoutError,
    QuotaExceededError,
)
from .gateway import ApiGatewayClient
from .gateway_response import GatewayResponse
from .identity import Identity
from .models import (
    Balance,
    Bootstrap,
    CanceledSubscription,
    CheckoutResult,
    LocalPrice,
    Offer,
    PaywallSettings,
    PaywallUser,
    Price,
    Purchase,
    Ticket,
    TokenBalance,
    Trial,
    UserPurchase,
)
from .sse import ServerSentEvent
from .storage import FileSessionStorage, MemorySessionStorage, SessionStorage
from .tokens import Charge

__all__ = [
    "ApiGatewayClient",
    "Attachment",
    "AuthClient",
    "AuthSession",
    "AuthUser",
    "Balance",
    "BillingClient",
    "Bootstrap",
    "CanceledSubscription",
    "Charge",
    "CheckoutResult",
    "FileSessionStorage",
    "GatewayResponse",
    "Identity",
    "LocalPrice",
    "MemorySessionStorage",
    "OAuthStart",
    "Offer",
    "PaywallApiError",
    "PaywallAuthenticationError",
    "PaywallConfigError",
    "PaywallConflictError",
    "PaywallError",
    "PaywallInvalidArgumentError",
    "PaywallInvalidRequestError",
    "PaywallInvalidResponseError",
    "PaywallNetworkError",
    "PaywallNotFoundError",
    "PaywallPermissionDeniedError",
    "PaywallPoolTimeoutError",
    "PaywallRateLimitError",
    "PaywallServerError",
    "PaywallSettings",
    "PaywallTimeoutError",
    "PaywallUser",
    "Price",
    "Purchase",
    "QuotaExceededError",
    "ServerSentEvent",
    "SessionStorage",
    "SignUpResult",
    "Ticket",
    "TokenBalance",
    "Trial",
    "UpgradeResult",
    "UserPurchase",
]
