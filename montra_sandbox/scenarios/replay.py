"""Play a scenario against a webhook endpoint, and report what it answered."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from typing import Any

import attrs

from ..database import Database
from ..datetimes import format_datetime
from ..ids import new_id
from ..json import dumps
from ..problems import invalid
from ..webhook_queue import queue_delivery
from ..webhook_sender import WebhookSender
from ..world import World
from .calls import Calls, first_merchant
from .scenario import StepResult, open_scenario

_MAX_URL = 2_000
_MAX_SECRET = 1_000
_MAX_REACTIONS = 10
"""How often an application may react in a step to what its reaction has caused; the rest counts for the next step."""
_URL_BEGINNINGS = ("http://", "https://")
_REPORTED = (
    *("event_id", "event_type", "service", "url", "status", "attempts", "last_status", "last_error"),
    *("duration_ms", "response_body"),
)


@attrs.define(kw_only=True)
class _PlayedStep:
    """A step that has run, and the ids of its deliveries."""

    result: StepResult
    events: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    deliveries: set[str] = attrs.field(factory=set[str])

    @property
    def event_ids(self) -> list[str]:
        """The events that the step caused, and those that it had delivered again."""
        return list(dict.fromkeys([*(event["id"] for event in self.events), *self.result.resend]))


class Replay:
    """One run of a scenario with its deliveries. It is used in the server's thread only.

    Args:
        world: the state.
        sender: its deliveries are listed.
        name: the scenario's name.
        to: where its events go, besides the endpoints that there are already; None for nowhere else.
        secret: the key of the signatures at `to`; a random one by default.
        merchant_id: whose customer lives it; the first merchant by default.

    Raises:
        Problem: 404 unknown scenario, 400 invalid address or secret.
    """

    def __init__(
        self,
        world: World,
        sender: WebhookSender,
        name: Any,
        *,
        to: Any = None,
        secret: Any = None,
        merchant_id: str | None = None,
    ) -> None:
        self._merchant_id = merchant_id or first_merchant(world)
        self._run = open_scenario(world, name, self._merchant_id)
        self._world = world
        self._sender = sender
        self._played: list[_PlayedStep] = []
        self._endpoints = None if to is None else _Endpoints(world, self._merchant_id, to, secret)

    def play(self) -> Generator[None]:
        """Run the scenario. After each turn of the iterator all deliveries that are due have to be attempted."""
        while not self._run.is_over:
            newest = self._newest_delivery()
            result = self._run.run_next()
            step = _PlayedStep(result=result)
            self._played.append(step)
            yield from self._deliver(step, result.events)
            for event_id in result.resend:
                self._queue([event_id], again=True)
                yield
            step.deliveries = self._deliveries_after(newest, step)

    def _deliver(self, step: _PlayedStep, events: list[dict[str, Any]]) -> Generator[None]:
        """Deliver the events of a step, and those that an application causes when it gets them."""
        for reactions in range(_MAX_REACTIONS + 1):
            events = events if reactions == 0 else self._run.new_events()
            if reactions and not events:
                return
            step.events.extend(events)
            if self._endpoints is not None:
                self._queue([event["id"] for event in events], again=False)
            yield

    def _newest_delivery(self) -> int:
        return int(self._world.db.value("SELECT max(sequence) FROM deliveries") or 0)

    def _deliveries_after(self, sequence: int, step: _PlayedStep) -> set[str]:
        """The ids of a step's deliveries: of its events, and to the scenario's endpoints if it has some."""
        rows = self._world.db.all("SELECT id, event_id, endpoint_id FROM deliveries WHERE sequence > ?", sequence)
        event_ids = set(step.event_ids)
        return {
            row["id"]
            for row in rows
            if row["event_id"] in event_ids and (self._endpoints is None or row["endpoint_id"] in self._endpoints.ids)
        }

    def _queue(self, event_ids: list[str], *, again: bool) -> None:
        """Queue deliveries of events: to `to`; without it, those that are made again go to where they went before."""
        db, now = self._world.db, format_datetime(self._world.clock.now())
        with db.transaction():
            for event_id in event_ids:
                for endpoint_id in self._targets(db, event_id, again=again):
                    queue_delivery(db, self._merchant_id, event_id, endpoint_id, now)
        self._world.notify()

    def _targets(self, db: Database, event_id: str, *, again: bool) -> list[str]:
        if self._endpoints is not None:
            return [self._endpoints.of_service(db.value("SELECT service FROM events WHERE id = ?", event_id))]
        rows = db.all("SELECT DISTINCT endpoint_id FROM deliveries WHERE event_id = ?", event_id) if again else []
        return [row["endpoint_id"] for row in rows]

    def report(self) -> dict[str, Any]:
        """What happened: `name`, `title`, `from` and `to` (times), `steps`, and whether all deliveries `succeeded`.

        Each step has `title`, `at`, `note`, `events`, `resent` (ids of events) and `deliveries` with what was answered
        last.
        """
        steps = [self._report_step(step) for step in self._played]
        answers = [delivery["status"] for step in steps for delivery in step["deliveries"]]
        results = [step.result for step in self._played]
        return {
            "name": self._run.scenario.name,
            "title": self._run.scenario.title,
            "from": results[0].started_at if results else None,
            "to": results[-1].at if results else None,
            "steps": steps,
            "succeeded": self._run.is_over and all(status == "succeeded" for status in answers),
        }

    def _report_step(self, step: _PlayedStep) -> dict[str, Any]:
        result = step.result
        listed = [one for event_id in step.event_ids for one in self._sender.list_deliveries(event_id=event_id)[::-1]]
        return {
            "title": result.title,
            "at": result.at,
            "note": result.note,
            "events": [{"id": event["id"], "type": event["type"]} for event in step.events],
            "resent": result.resend,
            "deliveries": [{name: one[name] for name in _REPORTED} for one in listed if one["id"] in step.deliveries],
        }

    def close(self) -> None:
        """Remove the endpoints of the scenario. Deliveries that are still pending are canceled."""
        if self._endpoints is not None:
            self._endpoints.remove()


class _Endpoints:
    """Endpoints that get the scenario's events and no others: one per service, because each signs in its own way."""

    def __init__(self, world: World, merchant_id: str, to: Any, secret: Any) -> None:
        if not isinstance(to, str) or len(to) > _MAX_URL or not to.startswith(_URL_BEGINNINGS):
            raise invalid("to: a URL such as http://127.0.0.1:8000/webhooks")
        if secret is not None and (not isinstance(secret, str) or not 0 < len(secret) <= _MAX_SECRET):
            raise invalid(f"secret: text of 1 to {_MAX_SECRET} characters")
        self._world = world
        self._montra_id, self._paywall_id = new_id("wh"), new_id("pw")
        secret = secret or f"whsec_{secrets.token_hex(24)}"
        created_at = format_datetime(world.clock.now())
        with world.db.transaction() as db:
            db.insert(
                "webhook_endpoints",
                id=self._montra_id,
                merchant_id=merchant_id,
                url=to,
                description="Temporary, of a running scenario",
                events=dumps(["*"]),
                enabled=False,  # its deliveries are queued one by one
                secret=secret,
                created_at=created_at,
            )
            config = Calls(world, merchant_id).get_paywall()["config"]
            db.insert(
                "paywalls",  # deliveries to a paywall are signed as that service does
                id=self._paywall_id,
                merchant_id=merchant_id,
                config=config,
                version=1,
                webhook_url=to,
                webhook_secret=secret,
                created_at=created_at,
            )

    @property
    def ids(self) -> tuple[str, str]:
        """The ids of both."""
        return self._montra_id, self._paywall_id

    def of_service(self, service: str) -> str:
        """The id of the endpoint for a service's events."""
        return self._paywall_id if service == "paywall" else self._montra_id

    def remove(self) -> None:
        """Remove both."""
        with self._world.db.transaction() as db:
            db.run("DELETE FROM webhook_endpoints WHERE id = ?", self._montra_id)
            db.run("DELETE FROM paywalls WHERE id = ?", self._paywall_id)


async def run_scenario(
    world: World,
    sender: WebhookSender,
    name: Any,
    *,
    to: Any = None,
    secret: Any = None,
    merchant_id: str | None = None,
) -> dict[str, Any]:
    """Run a scenario in the server's event loop, attempting its deliveries after each step; returns `Replay.report`.

    Args:
        world: the state.
        sender: makes the deliveries.
        name: the scenario's name.
        to: as for `Replay`.
        secret: as for `Replay`.
        merchant_id: as for `Replay`.

    Raises:
        Problem: 404 unknown scenario, 400 invalid address or secret, otherwise what a step answers.
    """
    replay = Replay(world, sender, name, to=to, secret=secret, merchant_id=merchant_id)
    try:
        for _ in replay.play():
            await sender.send_due()
        return replay.report()
    finally:
        replay.close()
