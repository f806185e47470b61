"""Who may pass a guard, and what the others are told (RFC 9457, `application/problem+json`)."""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

import attrs

from ..client import Montra
from ..core.errors import MontraError, NotFoundError
from ..resources.features import Entitlement

CONTENT_TYPE = "application/problem+json"

Kind: TypeAlias = Literal["feature", "quota"]


@attrs.frozen(kw_only=True)
class Refusal:
    """An answer instead of the route's.

    Attributes:
        status: 402 the quota is used up, 403 not in the plan (or nobody knows this customer), 503 Montra can't say.
        code: `quota_exceeded`, `feature_not_included`, `unknown_customer` or `entitlements_unavailable`.
    """

    status: int
    code: str
    detail: str
    extra: dict[str, Any] = attrs.field(factory=dict[str, Any])

    def problem(self) -> dict[str, Any]:
        return {"type": "about:blank", "title": _TITLES[self.status], "status": self.status, "code": self.code} | {
            "detail": self.detail,
            **self.extra,
        }

    def body(self) -> bytes:
        return json.dumps(self.problem()).encode()


_TITLES = {402: "Payment Required", 403: "Forbidden", 503: "Service Unavailable"}


def refusal_of(kind: Kind, slug: str, access: Entitlement) -> Refusal | None:
    """None for who may pass."""
    if access.has_access:
        return None
    if kind == "feature":
        return Refusal(status=403, code="feature_not_included", detail=f"your plan does not include {slug}")
    told = {"usage": access.usage, "limit": access.limit}
    return Refusal(
        status=402,
        code="quota_exceeded",
        detail=f"your plan's quota of {slug} is used up",
        extra={name: value for name, value in told.items() if value is not None},
    )


def refusal_without_answer(error: MontraError) -> Refusal:
    """What to answer when Montra did not say: nobody passes by accident."""
    if isinstance(error, NotFoundError):
        return Refusal(status=403, code="unknown_customer", detail="this customer is not known to billing")
    return Refusal(status=503, code="entitlements_unavailable", detail="access can't be checked right now; try again")


async def check(client: Montra, kind: Kind, slug: str, customer_id: str) -> Refusal | None:
    """Ask Montra; None for who may pass."""
    try:
        if kind == "feature":
            access = await client.check_feature_access(customer_id, slug)
        else:
            access = await client.check_entitlement(customer_id, slug)
    except MontraError as error:
        return refusal_without_answer(error)
    return refusal_of(kind, slug, access)
