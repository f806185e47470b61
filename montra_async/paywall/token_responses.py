"""Parses sessions from responses and storages. Every field is validated. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from ..core.decoding import json_of
from ..core.http.messages import RawResponse, Request
from ..core.models.datetimes import parse_datetime
from ..core.models.model import structure
from ..core.type_guards import is_mapping, is_object
from .auth_models import AuthSession, AuthUser
from .errors import PaywallError
from .responses import invalid_response, read_json

_MAX_LIFETIME = 100 * 366 * 86_400
_LATEST = datetime(9000, 1, 1, tzinfo=timezone.utc)
_EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIELDS = ("access_token", "refresh_token", "expires_in", "expires_at", "token_type", "user", "status")
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_DEFAULT_LIFETIME = timedelta(minutes=5)


def session_of(response: RawResponse, request: Request, previous: AuthSession | None = None) -> AuthSession:
    """The session of a token response.

    The expiry is computed from `expires_in` with our own clock, which may differ from the service's; without
    `expires_in` it is `expires_at`.

    Args:
        response: the response.
        request: its request.
        previous: the session that is refreshed. Its user and its refresh token stay when the response lacks them.
            Without a usable expiry the new session expires after five minutes.

    Raises:
        PaywallApiError: an error status.
        PaywallInvalidResponseError: no usable tokens. Neither the message nor the body holds a token.
    """
    payload = read_json(response, request)
    if not is_object(payload):
        raise _unreadable(response, request, "the body is not the JSON object that was expected")
    access, refresh = valid_token(payload.get("access_token")), valid_token(payload.get("refresh_token"))
    if refresh is None and previous is not None and payload.get("refresh_token") is None:
        refresh = previous.refresh_token
    if access is None or refresh is None:
        missing = "access_token" if access is None else "refresh_token"
        raise _unreadable(response, request, f"no usable {missing}: a string of printable ASCII was expected")
    expiry = _expiry_of(payload, datetime.now(timezone.utc))
    if expiry is None and previous is not None:
        expiry = datetime.now(timezone.utc) + _DEFAULT_LIFETIME
    if expiry is None:
        problem = "no usable expiry: expires_in is not a number of seconds, and expires_at is not a datetime"
        raise _unreadable(response, request, problem)
    user = user_of(payload.get("user"))
    if user is None and previous is not None:
        user = previous.user
    return AuthSession(access_token=access, refresh_token=refresh, expires_at=expiry, user=user)


def _unreadable(response: RawResponse, request: Request, problem: str) -> PaywallError:
    """An error whose body has the names and types of the response's fields only: any value may be a token."""
    error = invalid_response(response, request, problem)
    payload = json_of(response)
    error.body = (
        {name: type(payload[name]).__name__ for name in _FIELDS if name in payload} if is_object(payload) else None
    )
    return error


def stored_session(value: Any) -> AuthSession | None:
    """The session that a storage returned; None when it is not a valid session."""
    if not is_mapping(value):
        return None
    access, refresh = valid_token(value.get("access_token")), valid_token(value.get("refresh_token"))
    expiry = valid_datetime(value.get("expires_at"))
    if access is None or refresh is None or expiry is None:
        return None
    return AuthSession(access_token=access, refresh_token=refresh, expires_at=expiry, user=user_of(value.get("user")))


def user_of(value: Any) -> AuthUser | None:
    """A user with an id; None when the value is not one."""
    if isinstance(value, AuthUser) or value is None:
        return value
    try:
        user = structure(dict(value), AuthUser) if is_mapping(value) else None
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return user if user is not None and user.id.strip() else None


def valid_token(value: Any) -> str | None:
    """A token that can be sent in a header; None for any other value."""
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def valid_datetime(value: Any) -> datetime | None:
    """A datetime between 1970 and 9000, so that arithmetic with it can't overflow; None for any other value.

    Args:
        value: an aware datetime, ISO 8601, or a number of seconds or milliseconds since 1970.
    """
    try:
        if isinstance(value, str):
            value = parse_datetime(value) if len(value) <= 64 else None
        elif (seconds := _seconds(value, _LATEST.timestamp() * 1000)) is not None:
            milliseconds = seconds >= 10**11
            value = _EARLIEST + timedelta(seconds=seconds / 1000 if milliseconds else seconds)
    except (ValueError, OverflowError):
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    return value if _EARLIEST <= value <= _LATEST else None


def _expiry_of(payload: Mapping[str, Any], now: datetime) -> datetime | None:
    lifetime = _seconds(payload.get("expires_in"), _MAX_LIFETIME)
    return valid_datetime(payload.get("expires_at")) if lifetime is None else now + timedelta(seconds=lifetime)


def _seconds(value: Any, maximum: float) -> float | None:
    """A JSON number from 0 to `maximum`. It is compared before its conversion: it may have a million digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= maximum else None
