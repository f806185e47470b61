"""Pure: sessions from what the service or a storage gives. Nothing in it is trusted to be what it should be."""

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
from .errors import PaywallError
from .models import AuthSession, AuthUser
from .responses import invalid_response

_LONGEST_LIFE = 100 * 366 * 86_400
_LATEST = datetime(9000, 1, 1, tzinfo=timezone.utc)
_EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIELDS = ("access_token", "refresh_token", "expires_in", "expires_at", "token_type", "user", "status")
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_ASSUMED_LIFE = timedelta(minutes=5)


def session_of(response: RawResponse, request: Request, previous: AuthSession | None = None) -> AuthSession:
    """The session of a token answer.

    Its end is reckoned from `expires_in` by our own clock, which need not be the service's; else it is `expires_at`.
    Of a refreshed session (`previous`) nothing may be lost for want of an optional field: the user, and a refresh token
    that was not replaced, are those of before; without a usable end it is refreshed again soon.

    Raises:
        PaywallError: `invalid_response`. Neither its message nor its body holds a token.
    """
    payload = json_of(response)
    if not is_object(payload):
        raise _unreadable(response, request, "the body is not the JSON object that was expected")
    access, refresh = token(payload.get("access_token")), token(payload.get("refresh_token"))
    if refresh is None and previous is not None and payload.get("refresh_token") is None:
        refresh = previous.refresh_token
    if access is None or refresh is None:
        missing = "access_token" if access is None else "refresh_token"
        raise _unreadable(response, request, f"no usable {missing}: a string of printable ASCII was expected")
    end = _end_of(payload, datetime.now(timezone.utc))
    if end is None and previous is not None:
        end = datetime.now(timezone.utc) + _ASSUMED_LIFE
    if end is None:
        problem = "no usable end: expires_in is not a number of seconds, and expires_at no moment of the calendar"
        raise _unreadable(response, request, problem)
    user = user_of(payload.get("user"))
    if user is None and previous is not None:
        user = previous.user
    return AuthSession(access_token=access, refresh_token=refresh, expires_at=end, user=user)


def _unreadable(response: RawResponse, request: Request, problem: str) -> PaywallError:
    """Tokens may stand anywhere in such an answer: the error says which of the fields were there, and of what type."""
    error = invalid_response(response, request, problem)
    payload = json_of(response)
    error.body = (
        {name: type(payload[name]).__name__ for name in _FIELDS if name in payload} if is_object(payload) else None
    )
    return error


def stored_session(found: Any) -> AuthSession | None:
    """What a storage gave, where it is a session; None for anything else."""
    if not is_mapping(found):
        return None
    access, refresh = token(found.get("access_token")), token(found.get("refresh_token"))
    end = moment(found.get("expires_at"))
    if access is None or refresh is None or end is None:
        return None
    return AuthSession(access_token=access, refresh_token=refresh, expires_at=end, user=user_of(found.get("user")))


def user_of(value: Any) -> AuthUser | None:
    if isinstance(value, AuthUser) or value is None:
        return value
    try:
        user = structure(dict(value), AuthUser) if is_mapping(value) else None
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return user if user is not None and user.id.strip() else None


def token(value: Any) -> str | None:
    """A token that a header can hold."""
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def moment(value: Any) -> datetime | None:
    """A moment between 1970 and 9000: there all arithmetic with it works."""
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


def _end_of(payload: Mapping[str, Any], now: datetime) -> datetime | None:
    lasts = _seconds(payload.get("expires_in"), _LONGEST_LIFE)
    return moment(payload.get("expires_at")) if lasts is None else now + timedelta(seconds=lasts)


def _seconds(value: Any, most: float) -> float | None:
    """A JSON number from 0 to `most`. Compared before it is converted: a number may have a million digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= most else None
