"""Pure: from an answer of the paywall service to a model, or to the right error."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from ..core.decoding import BODY_KEPT, default_message, json_of, text_of
from ..core.http.messages import RawResponse, Request
from ..core.models.model import SerdeError, structure
from ..core.type_guards import is_array, is_object
from .errors import PaywallError, QuotaExceededError
from .models import Balance

T = TypeVar("T")

_DEEPEST = 32
_TOKEN_NAME = re.compile(r"(?i)token$|password|secret|verifier|api_?key|authorization")
_SLUG = re.compile(r"[A-Za-z0-9_.-]{1,64}")

NOT_ON_PAYWALL: Mapping[int, str] = {404: "identity_not_on_paywall"}
NOT_FOUND: Mapping[int, str] = {404: "identity_not_found"}
NO_PORTAL: Mapping[int, str] = {403: "forbidden"}


def read(answer: RawResponse, call: Request, kind: type[T], *, within: str | None = None) -> T:
    """The body as a model; `within` names the field that holds it.

    Raises:
        PaywallError: `invalid_response`.
    """
    payload = json_of(answer)
    if within is not None:
        payload = payload.get(within) if is_object(payload) else None
    try:
        return structure(payload, kind)
    except SerdeError as error:
        raise unreadable(answer, call, str(error)) from None


def unreadable(answer: RawResponse, call: Request, problem: str) -> PaywallError:
    message = f"{problem}. The service answered {answer.status}, so the call was carried out"
    return PaywallError("invalid_response", message, **_facts(answer, call))


def error_of(answer: RawResponse, call: Request, by_status: Mapping[int, str]) -> PaywallError:
    """The error an answer stands for. Never fails, whatever the body is.

    `by_status`: what a status means at this endpoint, whatever the body calls it.
    """
    payload = json_of(answer)
    fields: dict[str, Any] = payload if is_object(payload) else {}
    code = by_status.get(answer.status) or _code(fields) or f"http_{answer.status}"
    if answer.status == 409 and fields.get("hasActivePurchase") is True:
        code = "already_purchased"
    return PaywallError(code, _message(fields) or default_message(answer), **_facts(answer, call))


def quota_error(answer: RawResponse, call: Request) -> QuotaExceededError:
    """The gateway's 402; what its details don't say stays empty."""
    payload = json_of(answer)
    fields: dict[str, Any] = payload if is_object(payload) else {}
    details = fields.get("details")
    told: dict[str, Any] = details if is_object(details) else {}
    code = _code(fields)
    error = QuotaExceededError(
        "not_enough_queries" if code is None or code.startswith("http_") else code,
        _message(fields) or "the user has no queries left",
        **_facts(answer, call),
    )
    error.balances = _balances(told.get("balances"))
    kind, left = told.get("queryType"), told.get("currentBalance")
    error.query_type = kind if isinstance(kind, str) else None
    if is_object(left):
        left = left.get("count")
    error.current_balance = left if isinstance(left, int) and not isinstance(left, bool) else None
    return error


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


def _facts(answer: RawResponse, call: Request) -> dict[str, Any]:
    return {
        "status": answer.status,
        "body": _body(answer, call),
        "call": call.info(),
        "sent": True,
        "request_id": answer.request_id,
        "retry_after": answer.retry_after,
    }


def _body(answer: RawResponse, call: Request) -> Any:
    """What an error shows of the body: no token that is in it.

    Half of a JSON object has no names to go by, so nothing is shown of what an endpoint that gives tokens has answered.
    """
    payload = json_of(answer) if len(answer.body) <= BODY_KEPT else None
    if payload is not None:
        return without_tokens(payload)
    text = text_of(answer)
    if "/auth/" in call.path and not text.lstrip().startswith("<"):
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
