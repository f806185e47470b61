"""The decisions of all guards: which requests are let through, and what the others are answered (RFC 9457,
`application/problem+json`).

A request passes only if the service has granted access to its customer during this request: nothing is cached. With an
`Access` in place of the client, its decision counts.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from decimal import Decimal
from inspect import isawaitable
from typing import Any, Literal, Protocol, TypeAlias

import attrs

from ..access import Access, AccessDecision
from ..client import Montra
from ..core import validation
from ..core.errors import (
    ApiError,
    AuthenticationError,
    ConfigError,
    InvalidArgumentError,
    InvalidResponseError,
    MontraError,
    NotFoundError,
    PermissionDeniedError,
)
from ..resources.features import Entitlement

log: logging.Logger = logging.getLogger("montra.frameworks")

CONTENT_TYPE = "application/problem+json"

Kind: TypeAlias = Literal["feature", "quota", "metered"]


class Answer(Protocol):
    """What the service says of a quota: an `Entitlement`, or the decision of an `Access`."""

    @property
    def reason(self) -> str | None: ...
    @property
    def usage(self) -> Any: ...
    @property
    def limit(self) -> Any: ...


_TITLES = {
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_MAX_RETRY_AFTER = 24 * 3600
_MAX_LOGGED_LENGTH = 500


@attrs.frozen(kw_only=True)
class Denial:
    """The response to a request that does not pass.

    Attributes:
        status: 401 the customer is not known, 402 the quota is used up, 403 not in the plan or an unknown customer, 500
            the application is not configured correctly, 503 the service can't be reached right now.
        code: `unauthenticated`, `quota_exceeded`, `no_plan`, `feature_not_included`, `unknown_customer`,
            `billing_misconfigured` or `billing_unavailable`.
        detail: a sentence for the caller. It blames the caller only for the caller's own mistakes.
        retry_after: seconds until a retry makes sense, when the service said so; otherwise None.
        extra: more members of the problem body.
    """

    status: int
    code: str
    detail: str
    retry_after: float | None = None
    extra: dict[str, Any] = attrs.field(factory=dict[str, Any])

    def problem(self) -> dict[str, Any]:
        """Return the problem body as a dict."""
        return {"type": "about:blank", "title": _TITLES[self.status], "status": self.status, "code": self.code} | {
            "detail": self.detail,
            **self.extra,
        }

    def body(self) -> bytes:
        """Return the problem body as JSON."""
        return json.dumps(self.problem()).encode()

    def headers(self) -> dict[str, str]:
        """Return the headers except for the content type. No cache may show one user's denial to another."""
        headers = {"Cache-Control": "no-store"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(min(max(self.retry_after, 0.0), _MAX_RETRY_AFTER)))
        return headers


UNAUTHENTICATED = Denial(status=401, code="unauthenticated", detail="this route needs a customer; the request has none")
MISCONFIGURED = Denial(
    status=500,
    code="billing_misconfigured",
    detail="access can't be checked because billing is not configured correctly; the server's log says why",
)
_UNAVAILABLE = "access can't be checked right now; try again later"


def denial_of(kind: Kind, slug: str, access: Entitlement) -> Denial | None:
    """Return the response for an entitlement, or None when it grants access."""
    return None if access.has_access else denial_of_answer(kind, slug, access)


def denial_of_decision(kind: Kind, slug: str, decision: AccessDecision) -> Denial | None:
    """Return the response for the decision of an `Access`, or None when it grants access."""
    if decision.allowed:
        return None
    if decision.source in ("fallback", "unknown"):
        return Denial(status=503, code="billing_unavailable", detail=_UNAVAILABLE)
    if kind != "feature" and decision.held and decision.reason in (None, "limit_reached"):
        return _denial_while_held(slug, decision)
    return denial_of_answer(kind, slug, decision)


def _denial_while_held(slug: str, decision: AccessDecision, requested: Any = None) -> Denial:
    return Denial(
        status=402,
        code="quota_exceeded",
        detail=f"other requests hold the rest of your plan's quota of {slug} at the moment; a retry may succeed later",
        extra=_numbers(decision, requested),
    )


def _numbers(decision: AccessDecision, requested: Any) -> dict[str, Any]:
    names = ("usage", "limit", "remaining", "held")
    numbers = {name: getattr(decision, name) for name in names} | {"requested": requested}
    return {name: plain_number(value) for name, value in numbers.items() if value is not None}


def denial_of_answer(kind: Kind, slug: str, access: Answer) -> Denial:
    """Return the response for an answer that does not grant access."""
    if kind == "feature":
        return Denial(status=403, code="feature_not_included", detail=f"your plan does not include {slug}")
    if access.reason == "no_plan":
        return Denial(status=403, code="no_plan", detail=f"there is no plan that includes {slug}")
    numbers = {"usage": plain_number(access.usage), "limit": plain_number(access.limit)}
    return Denial(
        status=402,
        code="quota_exceeded",
        detail=f"your plan's quota of {slug} is used up",
        extra={name: value for name, value in numbers.items() if value is not None},
    )


def plain_number(value: Any) -> int | float | None:
    """Return a number that JSON can hold."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    number: int | float | None = value
    return number


def denial_for_error(error: MontraError) -> Denial:
    """Return the response for an error: the service has neither granted nor denied access."""
    if isinstance(error, InvalidArgumentError) and error.parameter == "customer_id":
        return UNAUTHENTICATED
    if isinstance(error, NotFoundError) and names_the_customer(error):
        return Denial(status=403, code="unknown_customer", detail="this customer is not known to billing")
    if _is_misconfiguration(error):
        return MISCONFIGURED
    retry_after = error.retry_after if isinstance(error, ApiError) else None
    return Denial(status=503, code="billing_unavailable", detail=_UNAVAILABLE, retry_after=retry_after)


_CUSTOMER_CODES = {"customer_not_found", "unknown_customer", "no_such_customer", "invalid_customer"}
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`""")
_OTHER_THINGS = re.compile(r"meter|feature|slug|route|path|url|endpoint|resource|api\b", re.IGNORECASE)


def names_the_customer(error: NotFoundError) -> bool:
    """Return whether a 404 is certainly about the customer, and not about the meter or the URL.

    The contract has one status for all of them. The error's code decides; when it is only `not_found`, the service's
    message does, without the parts in quotes, which are ids and slugs and may be any words.
    """
    code = error.code.lower()
    if code in _CUSTOMER_CODES:
        return True
    if code != "not_found":
        return False
    sentence = _QUOTED.sub("", error.message[:_MAX_LOGGED_LENGTH])
    return "customer" in sentence.lower() and not _OTHER_THINGS.search(sentence)


_TRANSIENT_STATUSES = {408, 409, 425, 429}


def _is_misconfiguration(error: MontraError) -> bool:
    """Return whether a retry can't help because a setting is wrong."""
    if isinstance(error, (ConfigError, InvalidArgumentError)):
        return True
    if isinstance(error, InvalidResponseError) or not isinstance(error, ApiError):
        return False
    return error.status < 500 and error.status not in _TRANSIENT_STATUSES


def denied(kind: Kind, slug: str, customer_id: str, error: MontraError) -> Denial:
    """Return the response for an error, and log its cause."""
    decision: AccessDecision | None = getattr(error, "decision", None)
    if decision is not None:  # a hold was refused, which is no failure
        return denial_of_hold(slug, error, decision)
    denial = denial_for_error(error)
    level = logging.WARNING if denial.status in (401, 403) else logging.ERROR
    log.log(
        level,
        "%s(%r): access of customer %r can't be checked, the request is denied with %d %s: %s: %s%s",
        kind if kind == "metered" else f"require_{kind}",
        slug,
        customer_id[:_MAX_LOGGED_LENGTH],
        denial.status,
        denial.code,
        type(error).__name__,
        str(error)[:_MAX_LOGGED_LENGTH],
        _advice(error, denial),
    )
    return denial


def denial_of_hold(slug: str, error: MontraError, decision: AccessDecision) -> Denial:
    """Return the response for a hold that was refused."""
    requested: Any = getattr(error, "requested", None)
    if requested is not None and decision.may_pass_later(requested):
        return _denial_while_held(slug, decision, requested)
    if requested is None or not (decision.allowed or decision.held):
        denial = denial_of_decision("metered", slug, decision)
        if denial is not None:
            return denial
    return Denial(
        status=402,
        code="quota_exceeded",
        detail=f"your plan's quota of {slug} has not enough left for this request",
        extra=_numbers(decision, requested),
    )


def _advice(error: MontraError, denial: Denial) -> str:
    if isinstance(error, (AuthenticationError, PermissionDeniedError)):
        return "; check the API key, and that it belongs to the right account"
    if isinstance(error, NotFoundError) and denial is MISCONFIGURED:
        return "; check the slug, the customer id, and that the base URL ends with the API's path"
    if isinstance(error, ApiError) and error.status < 400:
        return "; check that the base URL ends with the API's path"
    return ""


def denial_for_customer_error(error: Exception) -> Denial:
    """Return the response for a `customer=` that raised, and log the error. A `LookupError` means a missing header or
    session and is not a failure of the application."""
    if isinstance(error, LookupError):
        log.info("customer= found no customer (%s): the request is denied with 401", type(error).__name__)
    else:
        log.error("customer= failed: the request is denied with 401", exc_info=error)
    return UNAUTHENTICATED


def customer_id_or_denial(found: object) -> str | Denial:
    """Return the customer id that `customer=` returned, or the response when it is not an id."""
    if found is None or (isinstance(found, str) and not found.strip()):
        return UNAUTHENTICATED
    if isinstance(found, str):
        return found
    log.error("customer= returned %s, not a string: the request is denied with 500", type(found).__name__)
    return MISCONFIGURED


def validate_guard(slug: str, customer: object) -> None:
    """Check the arguments of a guard when it is created.

    Args:
        slug: of the feature or meter.
        customer: the function that returns the customer's id.

    Raises:
        InvalidArgumentError: the slug is blank.
        TypeError: `customer` is not callable.
    """
    validation.text("slug", slug)
    if not callable(customer):
        raise TypeError(f"customer: a function that returns the customer's id, not {type(customer).__name__}")


async def authorize(
    kind: Kind,
    slug: str,
    client: Callable[[], Montra | Access],
    customer: Callable[[], object],
    passthrough: tuple[type[Exception], ...] = (),
) -> Denial | None:
    """Find the request's customer and check the customer's access.

    Args:
        kind: whether `slug` is a feature's or a quota's.
        slug: of the feature or meter.
        client: returns the application's client, or an `Access`.
        customer: returns the customer's id, or an awaitable of it.
        passthrough: exceptions of `customer` that the framework turns into responses, e.g. a redirect to the login
            page. They are raised. Default: none.

    Returns:
        None when the request passes; otherwise the response.
    """
    customer_id = await find_customer(customer, passthrough)
    return customer_id if isinstance(customer_id, Denial) else await check_customer(kind, slug, client, customer_id)


async def find_customer(customer: Callable[[], object], passthrough: tuple[type[Exception], ...] = ()) -> str | Denial:
    """Find the request's customer.

    Args:
        customer: returns the customer's id, or an awaitable of it.
        passthrough: exceptions of `customer` that are raised. Default: none.

    Returns:
        The id, or the response.
    """
    try:
        found = customer()
        if isawaitable(found):
            found = await found
    except Exception as error:
        if isinstance(error, passthrough) and not isinstance(error, LookupError):
            raise
        return denial_for_customer_error(error)
    return customer_id_or_denial(found)


async def check_customer(
    kind: Kind, slug: str, client: Callable[[], Montra | Access], customer_id: str
) -> Denial | None:
    """Check a customer's access. Returns None when the request passes; otherwise the response."""
    try:
        asked: Any = client()
        if hasattr(asked, "peek"):
            meter, feature = (None, slug) if kind == "feature" else (slug, None)
            decision: AccessDecision = await asked.check(customer_id, meter=meter, feature=feature)
            return denial_of_decision(kind, slug, decision)
        if kind == "feature":
            access = await asked.check_feature_access(customer_id, slug)
        else:
            access = await asked.check_entitlement(customer_id, slug)
    except MontraError as error:
        return denied(kind, slug, customer_id, error)
    return denial_of(kind, slug, access)
