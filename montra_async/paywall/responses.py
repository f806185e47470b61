"""The paywall service's strategy: from a response to a model, or to the right error. Pure functions."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from ..core.decoding import BODY_KEPT, default_message, json_of, text_of
from ..core.errors import MontraError
from ..core.http.messages import RawResponse, Request
from ..core.models.model import SerdeError, structure
from ..core.type_guards import is_array, is_object
from .errors import PaywallApiError, PaywallInvalidResponseError, QuotaExceededError, error_class, translate
from .models import Balance

T = TypeVar("T")

_DEEPEST = 32
_TOKEN_NAME = re.compile(r"(?i)token$|password|secret|verifier|api_?key|authorization")
_SLUG = re.compile(r"[A-Za-z0-9_.-]{1,64}")

NOT_ON_PAYWALL: Mapping[int, str] = {404: "identity_not_on_paywall"}
NOT_FOUND: Mapping[int, str] = {404: "identity_not_found"}
NO_PORTAL: Mapping[int, str] = {403: "forbidden"}


class PaywallService:
    """How `BaseClient` reads responses of the paywall service: the body is the data."""

    def decode(self, response: RawResponse, request: Request, kind: type[T]) -> T:
        """The body as a model, or plain JSON."""
        return decode(response, request, kind)

    def decode_empty(self, response: RawResponse, request: Request) -> None:
        """Accept any success."""

    def translate(self, error: MontraError) -> MontraError:
        """The core's error as a `PaywallError`."""
        return translate(error)


PAYWALL = PaywallService()


def decode(response: RawResponse, request: Request, kind: type[T], *, within: str | None = None) -> T:
    """The body of a success as a model.

    Args:
        response: the response.
        request: its request.
        kind: the model.
        within: the field of the body that holds the model. Default: the whole body.

    Raises:
        PaywallError: `invalid_response`.
    """
    payload = json_of(response)
    if within is not None:
        payload = payload.get(within) if is_object(payload) else None
    try:
        return structure(payload, kind)
    except SerdeError as error:
        raise invalid_response(response, request, str(error)) from None


def invalid_response(response: RawResponse, request: Request, problem: str) -> PaywallInvalidResponseError:
    """The error of a success status with an unusable body."""
    message = f"{problem}. The service answered {response.status}, so the call was carried out"
    return PaywallInvalidResponseError("invalid_response", message, **_facts(response, request))


def error_of(response: RawResponse, request: Request, codes: Mapping[int, str]) -> PaywallApiError:
    """The error of a response. Never fails: whatever the body is, the status decides the class.

    Args:
        response: the response.
        request: its request.
        codes: error codes by status that the endpoint defines, whatever the body says.
    """
    payload = json_of(response)
    fields: dict[str, Any] = payload if is_object(payload) else {}
    code = codes.get(response.status) or _code(fields) or f"http_{response.status}"
    if response.status == 409 and fields.get("hasActivePurchase") is True:
        code = "already_purchased"
    return error_class(response.status)(
        code, _message(fields) or default_message(response), **_facts(response, request)
    )


def quota_error(response: RawResponse, request: Request) -> QuotaExceededError:
    """The error of the gateway's 402. What its details lack stays empty."""
    payload = json_of(response)
    fields: dict[str, Any] = payload if is_object(payload) else {}
    details = fields.get("details")
    told: dict[str, Any] = details if is_object(details) else {}
    code, kind, left = _code(fields), told.get("queryType"), told.get("currentBalance")
    if is_object(left):
        left = left.get("count")
    return QuotaExceededError(
        "not_enough_queries" if code is None or code.startswith("http_") else code,
        _message(fields) or "the user has no queries left",
        balances=_balances(told.get("balances")),
        query_type=kind if isinstance(kind, str) else None,
        current_balance=left if isinstance(left, int) and not isinstance(left, bool) else None,
        **_facts(response, request),
    )


def _balances(value: Any) -> list[Balance]:
    """`[{"balances": [...]}]`, `[[...]]` or `[...]`; what is none is left out."""
    found: list[Balance] = []
    for one in value if is_array(value) else []:
        inner = one.get("balances") if is_object(one) else one
        for balance in inner if is_array(inner) else [one]:
            with contextlib.suppress(SerdeError):
                found.append(structure(balance, Balance))
    return found


def _code(fields: Mapping[str, Any]) -> str | None:
    for name in ("code", "error"):
        value = fields.get(name)
        if isinstance(value, str) and (_SLUG.fullmatch(value) or (name == "code" and value)):
            return value
    return None


def _message(fields: Mapping[str, Any]) -> str | None:
    message, error = fields.get("message"), fields.get("error")
    if isinstance(message, str) and message:
        return message
    if isinstance(error, str) and error and not _SLUG.fullmatch(error):
        return error
    return None


def _facts(response: RawResponse, request: Request) -> dict[str, Any]:
    return {
        "status": response.status,
        "body": _body(response, request),
        "call": request.info(),
        "sent": True,
        "request_id": response.request_id,
        "retry_after": response.retry_after,
    }


def _body(response: RawResponse, request: Request) -> Any:
    """What an error shows of the body: no token that is in it.

    Half of a JSON object has no names to go by, so nothing is shown of what an endpoint that gives tokens has answered.
    """
    payload = json_of(response) if len(response.body) <= BODY_KEPT else None
    if payload is not None:
        return without_tokens(payload)
    text = text_of(response)
    if "/auth/" in request.path and not text.lstrip().startswith("<"):
        return ""
    return text


def without_tokens(value: Any, depth: int = 0) -> Any:
    """JSON without the values of fields that are named like secrets."""
    if depth > _DEEPEST:
        return "..."
    if is_object(value):
        return {
            name: "***" if _TOKEN_NAME.search(name) and one is not None else without_tokens(one, depth + 1)
            for name, one in value.items()
        }
    if is_array(value):
        return [without_tokens(one, depth + 1) for one in value]
    return value
