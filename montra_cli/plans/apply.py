"""Makes changes, one after the other. Done again after a crash, it gives the same result: what is there stays.

A creation has an idempotency key that is made of what is created and of what was there before, so that a request whose
answer was lost, and which is not visible yet, is not carried out twice either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..failures import FAILED, CliError
from ..output.encoding import to_json
from ..sandbox.control_client import ControlClient
from ..sandbox.limits import set_limit
from .changes import Change
from .schema import FEATURE, METER, PLAN, Plan

if TYPE_CHECKING:
    from montra_sync import Montra


class Applier:
    """Makes changes.

    Args:
        client: the service.
        sandbox: the controls, for limits; None when it is no sandbox.
        present: the plans of the service.
    """

    def __init__(self, client: Montra, sandbox: ControlClient | None, present: list[Plan]) -> None:
        self._client = client
        self._sandbox = sandbox
        self._ids = {plan.name: plan.id for plan in present}
        parts = [part for plan in present for parts in plan.parts.values() for part in parts]
        self._there = {str(plan.id) for plan in present} | {str(part.id) for part in parts}

    def apply(self, change: Change) -> None:
        """Make one change.

        Args:
            change: a change that is possible.

        Raises:
            MontraError: a call has failed.
            CliError: a control was refused.
        """
        steps: dict[str, Callable[[Change], None]] = {
            "create": self._create,
            "update": self._update,
            "delete": self._delete,
            "limit": self._limit,
        }
        steps[change.action](change)

    def _create(self, change: Change) -> None:
        client = self._client
        if change.kind is PLAN:
            made = client.create_pricing_model(**change.after, idempotency_key=self._key(change))
            self._ids[change.plan] = made.id
            self._there.add(made.id)
            return
        calls: dict[str, Callable[..., Any]] = {
            "product": client.create_product,
            "meter": client.create_meter,
            "feature": client.create_feature,
        }
        # A feature can be deleted and made again, which a fixed key would prevent; its slug is unique anyway.
        key = None if change.kind is FEATURE else self._key(change)
        self._there.add(calls[change.kind.name](self._plan_id(change), **change.after, idempotency_key=key).id)

    def _update(self, change: Change) -> None:
        assert change.id is not None
        if change.kind is PLAN:
            self._client.update_pricing_model(change.id, **change.after)
        else:
            self._client.update_feature(change.id, **change.after)

    def _delete(self, change: Change) -> None:
        assert change.id is not None
        self._client.delete_feature(change.id)

    def _limit(self, change: Change) -> None:
        assert self._sandbox is not None
        assert change.limit is not None
        assert change.kind is METER
        limit = change.limit
        set_limit(self._sandbox, self._plan_id(change), change.name, limit.max_amount, limit.period, limit.aggregation)

    def _plan_id(self, change: Change) -> str:
        found = self._ids.get(change.plan)
        if found is None:
            raise CliError(f"the pricing model {change.plan!r} is not there", FAILED)
        return found

    def _key(self, change: Change) -> str:
        content = [change.kind.name, self._ids.get(change.plan), change.after, sorted(self._there)]
        return f"plans-{hashlib.sha256(to_json(content).encode()).hexdigest()[:40]}"
