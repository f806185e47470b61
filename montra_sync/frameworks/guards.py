"""What the guards of all synchronous frameworks ask."""

from __future__ import annotations

from montra_async import MontraError
from montra_async.frameworks.access import CONTENT_TYPE, Kind, Refusal, refusal_of, refusal_without_answer

from ..client import Montra


def check(client: Montra, kind: Kind, slug: str, customer_id: str) -> Refusal | None:
    """Ask Montra; None for who may pass."""
    try:
        if kind == "feature":
            access = client.check_feature_access(customer_id, slug)
        else:
            access = client.check_entitlement(customer_id, slug)
    except MontraError as error:
        return refusal_without_answer(error)
    return refusal_of(kind, slug, access)


__all__ = ["CONTENT_TYPE", "Kind", "check"]
