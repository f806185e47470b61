"""Controls that script the sandbox: triggers, scenarios, demo data and seed files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeAlias

from ..json import is_object
from ..problems import invalid
from ..scenarios import seed_file, trigger as triggers
from ..scenarios.demo.furnish import furnish
from ..scenarios.replay import Replay, run_scenario
from ..scenarios.scenario import list_scenarios
from ..server_thread import Completion, is_in_coroutine
from .base import ControlBase, control, settling_control

_OVER = object()
_MAX_SEED = 2**63

Route: TypeAlias = tuple[str, str, Callable[..., Any]]


class ScenarioReport(Awaitable["ScenarioReport"]):
    """What a scenario did and what was answered. In a coroutine it has to be awaited before it is read.

    Args:
        data: the report; None while it is not made.
        pending: makes it when it is awaited.
    """

    def __init__(
        self, data: dict[str, Any] | None = None, pending: Coroutine[Any, Any, dict[str, Any]] | None = None
    ) -> None:
        self._data = data
        self._pending = pending

    def __await__(self) -> Generator[Any, None, ScenarioReport]:
        pending, self._pending = self._pending, None
        if pending is not None:
            self._data = yield from pending.__await__()
        return self

    @property
    def data(self) -> dict[str, Any]:
        """The report as JSON: `name`, `title`, `from`, `to`, `steps`, `succeeded`.

        Raises:
            RuntimeError: it was not awaited.
        """
        if self._data is None:
            raise RuntimeError("in a coroutine a scenario has to be awaited: `await sandbox.scenario(...)`")
        return self._data

    @property
    def succeeded(self) -> bool:
        """Whether all steps have run and all webhooks were accepted."""
        return bool(self.data["succeeded"])

    @property
    def steps(self) -> list[dict[str, Any]]:
        """`title`, `at`, `note`, `events`, `resent` and `deliveries` of each step."""
        steps: list[dict[str, Any]] = self.data["steps"]
        return steps

    def __str__(self) -> str:
        """The steps with their events and answers, one per line."""
        lines = [f"{self.data['title']} ({self.data['from']} to {self.data['to']})"]
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number}. {step['title']}" + (f" ({step['note']})" if step["note"] else ""))
            lines.extend(f"   {event['type']}" for event in step["events"] if not step["deliveries"])
            lines.extend(
                f"   {one['event_type']} -> {one['last_status'] or one['last_error'] or one['status']}"
                for one in step["deliveries"]
            )
        return "\n".join(lines)


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
        return triggers.trigger(self._world, event, service, fields, self._merchant_of(owner))

    @control
    def list_triggers(self) -> list[dict[str, Any]]:
        """What `trigger` knows: `event`, `service`, `description`, and `fields` with their descriptions."""
        return triggers.list_triggers()

    # Scenarios

    @control
    def scenarios(self) -> list[dict[str, Any]]:
        """The scenarios: `name`, `title`, `service` and the titles of their `steps`."""
        return list_scenarios()

    def scenario(
        self, name: str, *, to: str | None = None, secret: str | None = None, owner: str | None = None
    ) -> ScenarioReport:
        """Run a whole lifecycle with real calls, and report what a webhook endpoint answered. It moves the clock.

            report = sandbox.scenario("trial_then_paid", to="http://127.0.0.1:8000/webhooks")

        In a coroutine, await it: `report = await sandbox.scenario(...)`. What is in the sandbox already stays; only the
        scenario's own events go to `to`.

        Args:
            name: the scenario; `scenarios` lists them.
            to: where its webhooks go, besides the endpoints that there are; nowhere else by default.
            secret: the key of the signatures at `to`; the sandbox's `webhook_secret` by default.
            owner: the API key of the merchant; the first key by default.

        Raises:
            Problem: 404 unknown scenario, 400 invalid value, 409 the paywall has no price that the scenario needs.
        """
        begin = partial(self._begin_scenario, name, to, secret, owner)
        if is_in_coroutine():
            return ScenarioReport(pending=self._play_async(begin))
        replay = self.call_in_server(begin, settles=False)
        try:
            turns = replay.play()
            while self.call_in_server(partial(next, turns, _OVER), settles=False) is not _OVER:
                self.settle()
            return ScenarioReport(self.call_in_server(replay.report, settles=False))
        finally:
            self.call_in_server(replay.close, settles=False)

    async def _play_async(self, begin: Callable[[], Replay]) -> dict[str, Any]:
        replay = self.call_in_server(begin, settles=False)
        try:
            turns = replay.play()
            while self.call_in_server(partial(next, turns, _OVER), settles=False) is not _OVER:
                await self.settle()
            return self.call_in_server(replay.report, settles=False)
        finally:
            self.call_in_server(replay.close, settles=False)

    async def run_scenario(
        self, name: str, *, to: str | None = None, secret: str | None = None, owner: str | None = None
    ) -> dict[str, Any]:
        """`scenario` for code in the server's event loop: the controls over HTTP, and the dashboard.

        Args:
            name: as for `scenario`.
            to: as for `scenario`.
            secret: as for `scenario`.
            owner: as for `scenario`.

        Returns:
            `ScenarioReport.data`.

        Raises:
            Problem: as `scenario`.
        """
        secret = self.webhook_secret if secret is None else secret
        merchant_id = self._merchant_of(owner)
        return await run_scenario(
            self._world, self._webhook_sender, name, to=to, secret=secret, merchant_id=merchant_id
        )

    def _begin_scenario(self, name: Any, to: Any, secret: Any, owner: str | None) -> Replay:
        return Replay(
            self._world,
            self._webhook_sender,
            name,
            to=to,
            secret=self.webhook_secret if secret is None else secret,
            merchant_id=self._merchant_of(owner),
        )

    def _merchant_of(self, owner: Any) -> str:
        if not (owner is None or isinstance(owner, str)):
            raise invalid("owner: an API key")
        return self._owner_id(owner)

    @abstractmethod
    def settle(self) -> Completion:
        """Make all deliveries of webhooks that are due."""

    # Data

    @control
    def load_seed(self, data: Any, *, seed: int | None = None, owner: str | None = None) -> dict[str, int]:
        """Create the plans, discounts, customers and webhooks of a seed file that are missing. In one transaction.

            sandbox.load_seed({"pricing_models": [{"name": "Pro"}], "customers": [...]})

        Args:
            data: the tables of a seed file; `parse_seed_file` reads one.
            seed: makes the ids reproducible from now on, as `seed_ids`; needs an empty sandbox. None leaves them.
            owner: the API key of the merchant whose they are; the first key's by default.

        Returns:
            How many objects of each kind were created.

        Raises:
            Problem: with what is wrong and where: `customers[2].plan: ...`. Nothing was changed then. 409, a seed in a
                sandbox with data.
        """
        merchant_id = self._merchant_of(owner)
        if seed is not None:
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MAX_SEED:
                raise invalid(f"seed: a whole number from 0 to {_MAX_SEED}")
            self._world.seed_ids(seed)
        return seed_file.load_seed(self._world, data, merchant_id, self.webhook_secret)

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
        given: Any = {} if fields is None else fields
        if not is_object(given):
            raise invalid("fields: an object")
        for name in ("service", "owner"):
            if name in given:
                raise invalid(f"fields: unknown: {name}, which belongs beside fields")
        return {"events": controls.trigger(event, service=service, owner=owner, **given)}

    return [
        ("GET", "/triggers", controls.list_triggers),
        ("POST", "/trigger", trigger),
        ("GET", "/scenarios", controls.scenarios),
        ("POST", "/scenarios/{name}", controls.run_scenario),
        ("POST", "/seed", controls.load_seed),
        ("POST", "/demo", controls.demo),
    ]
