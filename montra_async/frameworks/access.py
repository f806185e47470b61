"""What every guard decides: who may pass, and what the others are told (RFC 9457, `application/problem+json`).

Nobody passes unless the service has said so, for this customer and in this request: nothing is kept between requests.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Literal, TypeAlias

import attrs

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

log = logging.getLogger("montra.frameworks")

CONTENT_TYPE = "application/problem+json"

Kind: TypeAlias = Literal["feature", "quota"]

_TITLES = {
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_LONGEST_RETRY_AFTER = 24 * 3600
_LONGEST_LOGGED = 500


@attrs.frozen(kw_only=True)
class Refusal:
    """An answer instead of the route's.

    Attributes:
        status: 401 nobody knows who is asking, 402 the quota is used up, 403 not in the plan or an unknown customer,
            500 the application's own set-up is wrong, 503 the service can't be asked right now.
        code: `unauthenticated`, `quota_exceeded`, `no_plan`, `feature_not_included`, `unknown_customer`,
            `billing_misconfigured` or `billing_unavailable`.
        detail: the same as a sentence for whoever is asking. It blames them for nothing that is not theirs.
        retry_after: seconds after which it is worth trying again, when the service said so.
        extra: more members of the problem body.
    """

    status: int
    code: str
    detail: str
    retry_after: float | None = None
    extra: dict[str, Any] = attrs.field(factory=dict[str, Any])

    def problem(self) -> dict[str, Any]:
        return {"type": "about:blank", "title": _TITLES[self.status], "status": self.status, "code": self.code} | {
            "detail": self.detail,
            **self.extra,
        }

    def body(self) -> bytes:
        return json.dumps(self.problem()).encode()

    def headers(self) -> dict[str, str]:
        """Everything but the content type. No cache on the way may show one user's refusal to another."""
        headers = {"Cache-Control": "no-store"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(min(max(self.retry_after, 0.0), _LONGEST_RETRY_AFTER)))
        return headers


UNAUTHENTICATED = Refusal(status=401, code="unauthenticated", detail="this route needs to know who is asking")
MISCONFIGURED = Refusal(
    status=500,
    code="billing_misconfigured",
    detail="access can't be checked because billing is not set up right here; its operators can see why in the log",
)
_UNAVAILABLE = "access can't be checked right now; try again later"


def refusal_of(kind: Kind, slug: str, access: Entitlement) -> Refusal | None:
    """What to answer when the service has answered. Returns None for who may pass."""
    if access.has_access:
        return None
    if kind == "feature":
        return Refusal(status=403, code="feature_not_included", detail=f"your plan does not include {slug}")
    if access.reason == "no_plan":
        return Refusal(status=403, code="no_plan", detail=f"there is no plan that includes {slug}")
    told = {"usage": access.usage, "limit": access.limit}
    return Refusal(
        status=402,
        code="quota_exceeded",
        detail=f"your plan's quota of {slug} is used up",
        extra={name: value for name, value in told.items() if value is not None},
    )


def refusal_for_error(error: MontraError) -> Refusal:
    """What to answer when the service has not said whether the customer may."""
    if isinstance(error, InvalidArgumentError) and error.parameter == "customer_id":
        return UNAUTHENTICATED
    if isinstance(error, NotFoundError) and names_the_customer(error):
        return Refusal(status=403, code="unknown_customer", detail="this customer is not known to billing")
    if _is_misconfiguration(error):
        return MISCONFIGURED
    retry_after = error.retry_after if isinstance(error, ApiError) else None
    return Refusal(status=503, code="billing_unavailable", detail=_UNAVAILABLE, retry_after=retry_after)


_CUSTOMER_CODES = {"customer_not_found", "unknown_customer", "no_such_customer", "invalid_customer"}
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`""")
_OTHER_THINGS = re.compile(r"meter|feature|slug|route|path|url|endpoint|resource|api\b", re.IGNORECASE)


def names_the_customer(error: NotFoundError) -> bool:
    """Whether a 404 surely says that it is the customer who is unknown, and not the meter or the whole address.

    The contract has one status for all of them. Decided is by the code; where it is only `not_found`, by the service's
    sentence, of which what it quotes (ids and slugs, which may be any words) does not count.
    """
    code = error.code.lower()
    if code in _CUSTOMER_CODES:
        return True
    if code != "not_found":
        return False
    sentence = _QUOTED.sub("", error.message[:_LONGEST_LOGGED])
    return "customer" in sentence.lower() and not _OTHER_THINGS.search(sentence)


_PASSING_STATUSES = {408, 409, 425, 429}


def _is_misconfiguration(error: MontraError) -> bool:
    """Whether trying again can't help: somebody has to change a setting."""
    if isinstance(error, (ConfigError, InvalidArgumentError)):
        return True
    if isinstance(error, InvalidResponseError) or not isinstance(error, ApiError):
        return False
    return error.status < 500 and error.status not in _PASSING_STATUSES


def refused(kind: Kind, slug: str, customer_id: str, error: MontraError) -> Refusal:
    """The answer to whoever is asking, and the cause to the log."""
    refusal = refusal_for_error(error)
    level = logging.WARNING if refusal.status in (401, 403) else logging.ERROR
    log.log(
        level,
        "require_%s(%r): access of customer %r can't be checked, the request is refused with %d %s: %s: %s%s",
        kind,
        slug,
        customer_id[:_LONGEST_LOGGED],
        refusal.status,
        refusal.code,
        type(error).__name__,
        _on_one_line(str(error)),
        _advice(error, refusal),
    )
    return refusal


def _on_one_line(text: str) -> str:
    """What others wrote can't write lines of its own into the log."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_LOGGED])


def _advice(error: MontraError, refusal: Refusal) -> str:
    if isinstance(error, (AuthenticationError, PermissionDeniedError)):
        return "; is it the right API key, and of the right account?"
    if isinstance(error, NotFoundError) and refusal is MISCONFIGURED:
        return "; is the slug spelt right, does the customer exist, and does the base URL end with the API's path?"
    if isinstance(error, ApiError) and error.status < 400:
        return "; is it the right base URL, with the API's path?"
    return ""


def unidentified(error: Exception) -> Refusal:
    """For a `customer=` that raised: its own mistake is logged whole, a missing header or session is ordinary."""
    if isinstance(error, LookupError):
        log.info("customer= found nobody (%s): the request is refused with 401", type(error).__name__)
    else:
        log.error("customer= failed: the request is refused with 401", exc_info=error)
    return UNAUTHENTICATED


def identified(found: object) -> str | Refusal:
    """The customer id that a `customer=` has given, or why there is none."""
    if found is None or (isinstance(found, str) and not found.strip()):
        return UNAUTHENTICATED
    if isinstance(found, str):
        return found
    log.error("customer= gave %s, not a string: the request is refused with 500", type(found).__name__)
    return MISCONFIGURED


def checked_guard(slug: str, customer: object) -> None:
    """Mistakes that can be told when a route is written.

    Raises:
        InvalidArgumentError: a blank slug.
        TypeError: `customer` can't be called.
    """
    validation.text("slug", slug)
    if not callable(customer):
        raise TypeError(f"customer: a function that finds the customer's id, not {type(customer).__name__}")


async def admit(
    kind: Kind,
    slug: str,
    client: Callable[[], Montra],
    customer: Callable[[], object],
    passes: tuple[type[Exception], ...] = (),
) -> Refusal | None:
    """Find out who is asking, and ask the service whether they may. Returns None for who may pass.

    Args:
        kind: what is asked.
        slug: of the feature or meter.
        client: gives the application's client.
        customer: finds the customer's id; may give an awaitable.
        passes: the framework's own answers, which `customer` may raise (a redirect to the log-in, say).
    """
    try:
        found = customer()
        if isawaitable(found):
            found = await found
    except Exception as error:
        if isinstance(error, passes) and not isinstance(error, LookupError):
            raise
        return unidentified(error)
    customer_id = identified(found)
    return customer_id if isinstance(customer_id, Refusal) else await check(kind, slug, client, customer_id)


async def check(kind: Kind, slug: str, client: Callable[[], Montra], customer_id: str) -> Refusal | None:
    """Ask the service. Returns None for who may pass."""
    try:
        if kind == "feature":
            access = await client().check_feature_access(customer_id, slug)
        else:
            access = await client().check_entitlement(customer_id, slug)
    except MontraError as error:
        return refused(kind, slug, customer_id, error)
    return refusal_of(kind, slug, access)
