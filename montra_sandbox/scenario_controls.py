"""Controls that script the sandbox: triggers, scenarios, demo data and seed files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .control_base import ControlBase, control, settling_control
from .json import is_object
from .problems import invalid
from .scenarios import seed_file, trigger as triggers
from .scenarios.demo.furnish import furnish

Route: TypeAlias = tuple[str, str, Callable[..., Any]]


class ScenarioControls(ControlBase):
    """Controls that make many calls at once.

    Raises:
        Problem: the control was refused.
        RuntimeError: the sandbox is not running.
    """

    webhook_secret: str

    @settling_control
    def trigger(
        self, event: str, /, *, service: str | None = None, owner: str | None = None, **fields: Any
    ) -> list[dict[str, Any]]:
        """Do what really causes an event, including the objects that it needs.

            sandbox.trigger("checkout.completed", email="ada@example.com", amount=49)

        Args:
            event: the event's type, such as `checkout.completed`; `paywall:refund.created` says the service, too.
            service: `montra` or `paywall`. By default the one that has the event, and `montra` if both have it.
            owner: the API key of the merchant whose event it is; the first key's by default.
            fields: what matters about it. `list_triggers` names the fields of each event; the rest is made up.

        Returns:
            All events that this caused, in order: `id`, `type`, `service`, `created_at` and `data` of each.

        Raises:
            Problem: 400 unknown event or field, impossible value; 404 unknown object; 409 it can't happen now.
        """
        return triggers.trigger(self._world, event, service, fields, self._owner_id(owner))

    @control
    def list_triggers(self) -> list[dict[str, Any]]:
        """What `trigger` knows: `event`, `service`, `description`, and `fields` with their descriptions."""
        return triggers.list_triggers()

    @control
    def load_seed(self, data: Any, *, owner: str | None = None) -> dict[str, int]:
        """Create the plans, discounts, customers and webhooks of a seed file that are missing. In one transaction.

            sandbox.load_seed({"pricing_models": [{"name": "Pro"}], "customers": [...]})

        Args:
            data: the tables of a seed file; `parse_seed_file` reads one.
            owner: the API key of the merchant whose they are; the first key's by default.

        Returns:
            How many objects of each kind were created.

        Raises:
            Problem: with what is wrong and where: `customers[2].plan: ...`. Nothing was changed then.
        """
        return seed_file.load_seed(self._world, data, self._owner_id(owner), self.webhook_secret)

    @control
    def demo(self, *, customers: int = 200, months: int = 12, seed: int = 42) -> dict[str, int]:
        """Fill an empty sandbox with believable data: plans, customers, usage, invoices, payments, paywall users.

        Args:
            customers: how many customers, 1 to 2,000. 200 in a year take two seconds, 2,000 in three years thirty.
            months: how long ago the first of them signed up, 1 to 36 months.
            seed: the same seed gives the same data, moved to the present.

        Returns:
            How many objects there are of each kind.

        Raises:
            Problem: 400 argument out of range, 409 the sandbox is not empty.
        """
        return furnish(self._world, customers=customers, months=months, seed=seed)


def scenario_routes(controls: ScenarioControls) -> list[Route]:
    """Method, path below `/_sandbox` and control of each route, for `http.control_routes`.

    Args:
        controls: the controls that they call.
    """

    def trigger(event: Any, *, service: Any = None, owner: Any = None, fields: Any = None) -> Any:
        if not (fields is None or is_object(fields)):
            raise invalid("fields: an object")
        return {"events": controls.trigger(event, service=service, owner=owner, **(fields or {}))}

    return [
        ("GET", "/triggers", controls.list_triggers),
        ("POST", "/trigger", trigger),
        ("POST", "/seed", controls.load_seed),
        ("POST", "/demo", controls.demo),
    ]
