"""The paywall service's strategy: decodes a response as a model, or raises the right error. Pure functions."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.client import Decoder
from ..core.decoding import default_message, json_of, text_of, too_large
from ..core.errors import MontraError
from ..core.http.messages import RawResponse, Request
from ..core.models.model import SerdeError, structure
from ..core.redaction import BODY_KEPT
from ..core.type_guards import is_array, is_object
from .errors import PaywallApiError, PaywallInvalidResponseError, QuotaExceededError, error_class, translate
from .models import Balance

if TYPE_CHECKING:
    from ..core.http.endpoints import EndpointTable

T = TypeVar("T")

_MAX_DEPTH = 32
_SECRET_NAME = re.compile(r"(?i)token$|password|secret|verifier|api_?key|authorization")
_ORIGIN_HINT = (
    "; is this the paywall service? api_origin is the paywall's own domain, such as https://pay.example.com, "
    "not that of the Montra API or of a dashboard"
)
_SLUG = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# Error codes by status that an endpoint defines, whatever the body says.
DEFAULT_CODES: Mapping[int, str] = {}
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
        read_json(response, request)

    def translate(self, error: MontraError) -> MontraError:
        """The core's error as a `PaywallError`."""
        return translate(error)

    def endpoints(self) -> EndpointTable:
        """The service's endpoints. Their table is read when telemetry or the log asks for it."""
        from .paywall_endpoints import ENDPOINTS

        return ENDPOINTS


PAYWALL = PaywallService()


def read_json(response: RawResponse, request: Request, codes: Mapping[int, str] = DEFAULT_CODES) -> Any:
    """The JSON of a success; None when the body is not JSON.

    Args:
        response: the response.
        request: its request.
        codes: error codes by status that the endpoint defines. Default: none.

    Raises:
        PaywallApiError: an error status.
        PaywallInvalidResponseError: the body exceeds `max_response_size`.
    """
    if not 200 <= response.status < 300:
        raise error_of(response, request, codes)
    problem = too_large(response)
    if problem is not None:
        raise invalid_response(response, request, problem)
    return json_of(response)


def decode(
    response: RawResponse,
    request: Request,
    kind: type[T],
    *,
    field: str | None = None,
    codes: Mapping[int, str] = DEFAULT_CODES,
) -> T:
    """The body of a success as a model.

    Args:
        response: the response.
        request: its request.
        kind: the model.
        field: the field of the body that holds the model. Default: the whole body.
        codes: error codes by status that the endpoint defines. Default: none.

    Raises:
        PaywallApiError: an error status.
        PaywallInvalidResponseError: the body does not fit the model.
    """
    payload = read_json(response, request, codes)
    if field is not None:
        payload = payload.get(field) if is_object(payload) else None
    return read_as(payload, response, request, kind)


def decode_as(kind: type[T], *, field: str | None = None, codes: Mapping[int, str] = DEFAULT_CODES) -> Decoder[T]:
    """`decode` with its arguments, as the decoder of a call."""
    return lambda response, request: decode(response, request, kind, field=field, codes=codes)


def read_as(payload: Any, response: RawResponse, request: Request, kind: type[T]) -> T:
    """JSON as a model.

    Raises:
        PaywallInvalidResponseError: the JSON does not fit the model.
    """
    try:
        return structure(payload, kind)
    except SerdeError as error:
        raise invalid_response(response, request, str(error)) from None


def invalid_response(response: RawResponse, request: Request, problem: str) -> PaywallInvalidResponseError:
    """The error of a success status with an unusable body."""
    message = f"{problem}. The service responded with {response.status}, so the call was executed"
    return PaywallInvalidResponseError("invalid_response", message, **_facts(response, request))


def error_of(response: RawResponse, request: Request, codes: Mapping[int, str] = DEFAULT_CODES) -> PaywallApiError:
    """The error of a response. Never fails: whatever the body is, the status decides the class.

    Args:
        response: the response.
        request: its request.
        codes: error codes by status that the endpoint defines. Default: none.
    """
    payload = json_of(response)
    fields: dict[str, Any] = payload if is_object(payload) else {}
    code = codes.get(response.status) or _code(fields) or f"http_{response.status}"
    if response.status == 409 and fields.get("hasActivePurchase") is True:
        code = "already_purchased"
    message = _message(fields) or default_message(response)
    if response.status == 404 and not _is_from_the_service(fields):
        message += _ORIGIN_HINT
    return error_class(response.status)(code, message, **_facts(response, request))


def _is_from_the_service(fields: Mapping[str, Any]) -> bool:
    """Whether a 404 is the paywall service's own, and not that of another server at this address."""
    return any(isinstance(fields.get(name), str) for name in ("code", "error", "message"))


def quota_error(response: RawResponse, request: Request) -> QuotaExceededError:
    """The error of the gateway's 402. Details that are missing or malformed stay empty."""
    payload = json_of(response)
    fields: dict[str, Any] = payload if is_object(payload) else {}
    details = fields.get("details")
    values: dict[str, Any] = details if is_object(details) else {}
    code, query_type, balance = _code(fields), values.get("queryType"), values.get("currentBalance")
    if is_object(balance):
        balance = balance.get("count")
    return QuotaExceededError(
        "not_enough_queries" if code is None or code.startswith("http_") else code,
        _message(fields) or "the user has no queries left",
        balances=_balances(values.get("balances")),
        query_type=query_type if isinstance(query_type, str) else None,
        current_balance=balance if isinstance(balance, int) and not isinstance(balance, bool) else None,
        **_facts(response, request),
    )


def _balances(value: Any) -> list[Balance]:
    """The balances in `[{"balances": [...]}]`, `[[...]]` or `[...]`. Malformed entries are skipped."""
    balances: list[Balance] = []
    for item in value if is_array(value) else []:
        inner = item.get("balances") if is_object(item) else item
        for balance in inner if is_array(inner) else [item]:
            with contextlib.suppress(SerdeError):
                balances.append(structure(balance, Balance))
    return balances


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
    """The body for an error, without tokens.

    Tokens are found by the names of JSON fields. A body that is not complete JSON has no such names, so the text of an
    endpoint that returns tokens is left out.
    """
    payload = json_of(response) if len(response.body) <= BODY_KEPT else None
    if payload is not None:
        return without_tokens(payload)
    text = text_of(response)
    if "/auth/" in request.path and not text.lstrip().startswith("<"):
        return ""
    return text


def without_tokens(value: Any, depth: int = 0) -> Any:
    """JSON with `***` for the values of fields that are named like secrets."""
    if depth > _MAX_DEPTH:
        return "..."
    if is_object(value):
        return {
            name: "***" if _SECRET_NAME.search(name) and item is not None else without_tokens(item, depth + 1)
            for name, item in value.items()
        }
    if is_array(value):
        return [without_tokens(item, depth + 1) for item in value]
    return value
