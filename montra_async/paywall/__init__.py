"""The paywall service: sell access and tokens to the users of a paywall. Start with `BillingClient`."""

from ..core.http.multipart import Attachment
from .auth import AuthClient
from .billing import BillingClient
from .errors import PaywallError, QuotaExceededError
from .gateway import ApiGatewayClient, GatewayResponse
from .identity import Identity
from .models import (
    AuthSession,
    AuthUser,
    Balance,
    Bootstrap,
    CanceledSubscription,
    CheckoutResult,
    LocalPrice,
    OAuthStart,
    Offer,
    PaywallSettings,
    PaywallUser,
    Price,
    Purchase,
    SignUpResult,
    Ticket,
    TokenBalance,
    Trial,
    UpgradeResult,
    UserPurchase,
)
from .paywall_client import ClientSettings
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
    "ClientSettings",
    "FileSessionStorage",
    "GatewayResponse",
    "Identity",
    "LocalPrice",
    "MemorySessionStorage",
    "OAuthStart",
    "Offer",
    "PaywallError",
    "PaywallSettings",
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
