"""Requests as calls of the SDK: which client, which method, which arguments."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from ..datetimes import parse_datetime
from ..json import is_array, is_object

Arguments: TypeAlias = dict[str, Any]


@attrs.frozen(kw_only=True)
class SdkCall:
    """A call of the SDK.

    Attributes:
        client: `montra`, `billing`, `auth` or `gateway`.
        method: the method.
        arguments: its arguments by name.
        user: whose view of the client it is, as arguments of `for_user`; empty for the client itself.
    """

    client: str
    method: str
    arguments: Arguments
    user: Arguments = attrs.field(factory=dict[str, Any])


@attrs.frozen
class Code:
    """An expression of Python.

    Attributes:
        text: the expression.
    """

    text: str


def montra_call(operation: str, path: Mapping[str, Any], query: Mapping[str, Any], body: Mapping[str, Any]) -> SdkCall:
    """The call of the Montra client for an operation.

    Args:
        operation: the operation's id, which is the name of the method with few exceptions.
        path: the path parameters.
        query: the query parameters.
        body: the JSON body.
    """
    arguments = {**path, **query, **body}
    if operation == "check_entitlement" and "feature" in arguments:
        operation, arguments["feature_slug"] = "check_feature_access", arguments.pop("feature")
    elif operation == "check_entitlement":
        arguments["meter_slug"] = arguments.pop("meter", "")
    elif operation == "update_pricing_model":
        arguments["pricing_model_id"] = arguments.pop("id", "")
    elif operation == "upload_file":
        arguments = {"file": Code('open("FILE", "rb")')}
    return SdkCall(client="montra", method=operation, arguments=_typed(arguments))


def paywall_call(operation: str, path: Mapping[str, Any], body: Mapping[str, Any]) -> SdkCall | None:
    """The call of a client of the paywall service for an operation; None when no method makes it.

    Args:
        operation: the operation's id.
        path: the path parameters.
        body: the JSON body.
    """
    if operation.startswith("gateway_"):
        method = operation.removeprefix("gateway_").upper()
        arguments = {"provider_id": path.get("provider_id", ""), "path": path.get("path", ""), "method": method}
        return SdkCall(client="gateway", method="call", arguments={**arguments, **({"body": body} if body else {})})
    if operation not in _PAYWALL:
        return None
    client, method, names = _PAYWALL[operation]
    if operation == "change_balance":
        method = "credit_tokens" if body.get("op") == "credit" else "debit_tokens"
    arguments = {name: body[field] for field, name in names.items() if field in body}
    if operation == "complete_oauth":
        arguments["state"] = "STATE"  # which the client compares, and doesn't send
    return SdkCall(client=client, method=method, arguments=arguments, user=_user(body) if client == "billing" else {})


def _user(body: Mapping[str, Any]) -> Arguments:
    meta = body.get("userMeta")
    user_id = body.get("user_id") or body.get("userId") or (meta.get("userId") if is_object(meta) else None)
    return {name: value for name, value in (("email", body.get("email")), ("user_id", user_id)) if value}


_CHECKOUT = {
    "priceId": "price_id",
    "successUrl": "success_url",
    "errorUrl": "error_url",
    "shopUrl": "shop_url",
    "productName": "product_name",
    "trial_days": "trial_days",
    "offerId": "offer_id",
    "localCurrency": "local_currency",
    "experimentId": "experiment_id",
    "variantKey": "variant_key",
    "ignoreActivePurchase": "ignore_active_purchase",
}
_CREDENTIALS = {"email": "email", "password": "password"}
# By operation: client, method, and the name of the argument for each field of the body.
_PAYWALL: dict[str, tuple[str, str, dict[str, str]]] = {
    "start_checkout": ("billing", "create_checkout", _CHECKOUT),
    "get_bootstrap": ("billing", "bootstrap", {}),
    "get_user_state": ("billing", "get_user", {}),
    "get_customer_portal": ("billing", "get_customer_portal_url", {"returnUrl": "return_url"}),
    "create_ticket": ("billing", "create_support_ticket", {"subject": "subject", "content": "content"}),
    "list_purchases": ("billing", "list_purchases", {}),
    "cancel_subscription": (
        "billing",
        "cancel_subscription",
        {"subscriptionId": "subscription_id", "cancellationReason": "reason"},
    ),
    "get_balances": ("billing", "get_balances", {}),
    "change_balance": ("billing", "", {"type": "type", "amount": "amount"}),
    "withdraw_tokens": ("billing", "withdraw_tokens", {"type": "type", "amount": "amount"}),
    "sign_in": ("auth", "sign_in_with_email", _CREDENTIALS),
    "sign_up": ("auth", "sign_up", _CREDENTIALS),
    "resend_confirmation": ("auth", "resend_confirmation", {"email": "email"}),
    "send_otp": ("auth", "send_otp", {"email": "email", "create_user": "create_user"}),
    "verify_otp": ("auth", "verify_otp", {"email": "email", "token": "token", "type": "type"}),
    "request_password_reset": ("auth", "request_password_reset", {"email": "email"}),
    "update_password": ("auth", "update_password", {"password": "password"}),
    "sign_in_anonymously": ("auth", "sign_in_anonymously", {}),
    "upgrade_anonymous": ("auth", "upgrade_anonymous_to_email", _CREDENTIALS),
    "start_oauth": ("auth", "start_oauth", {"provider": "provider", "scopes": "scopes"}),
    "complete_oauth": ("auth", "complete_oauth", {"auth_code": "code", "code_verifier": "code_verifier"}),
    "refresh": ("auth", "refresh", {}),
    "sign_out": ("auth", "sign_out", {}),
    "revoke_all": ("auth", "revoke_all_sessions", {}),
}
_DATETIMES = ("scheduled_for", "resume_at", "valid_until")
_DATES = ("due_date", "end")
_INTEGERS = ("points", "limit", "offset")


def _typed(arguments: Arguments) -> Arguments:
    """Arguments that are not what the JSON has: datetimes, and numbers of the query."""
    return {name: _typed_value(name, value) for name, value in arguments.items()}


def _typed_value(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if name in _INTEGERS and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    try:
        if name in _DATES and len(value) == 10:
            return Code(f"date.fromisoformat({literal(date.fromisoformat(value).isoformat())})")
        if name in (*_DATETIMES, *_DATES):
            return Code(f"datetime.fromisoformat({literal(parse_datetime(value).isoformat())})")
    except ValueError:
        pass
    return value


def literal(value: Any, indent: int = 0) -> str:
    """A value as Python writes it.

    Args:
        value: parsed JSON, or code.
        indent: by how many spaces lines after the first one are indented.
    """
    if isinstance(value, Code):
        return value.text
    if isinstance(value, Decimal):
        return f'Decimal("{value}")'
    if is_object(value):
        entries = [f"{literal(key)}: {literal(item, indent + 4)}" for key, item in value.items()]
        return _bracketed("{", entries, "}", indent)
    if is_array(value):
        return _bracketed("[", [literal(item, indent + 4) for item in value], "]", indent)
    if isinstance(value, str):
        plain = value.isprintable() and not set(value) & {'"', "\\"}
        return f'"{value}"' if plain else ascii(value)
    return repr(value)


def _bracketed(opening: str, entries: list[str], closing: str, indent: int) -> str:
    line = f"{opening}{', '.join(entries)}{closing}"
    if len(line) + indent <= 90 and "\n" not in line:
        return line
    pad = " " * (indent + 4)
    return f"{opening}\n" + "".join(f"{pad}{entry},\n" for entry in entries) + " " * indent + closing


def format_call(target: str, arguments: Arguments, indent: int) -> tuple[str, list[str]]:
    """A call as Python code, and the names that can't be arguments.

    Args:
        target: what is called.
        arguments: the arguments by name; a name that is not an identifier is left out.
        indent: the indentation of the statement in spaces.
    """
    named: list[str] = []
    left_out: list[str] = []
    for name, value in arguments.items():
        if name.isidentifier() and name.isascii() and not keyword.iskeyword(name):
            named.append(f"{name}={literal(value, indent + 4)}")
        else:
            left_out.append(name)
    return f"{target}{_bracketed('(', named, ')', indent)}", left_out
