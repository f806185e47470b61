"""Scenarios by name, and running them step by step."""

from __future__ import annotations

from typing import Any

import attrs

from ..datetimes import format_datetime
from ..problems import Problem
from ..world import World
from . import montra_scenarios, paywall_scenarios
from .calls import Calls, first_merchant
from .stage import Scenario, Stage

SCENARIOS: dict[str, Scenario] = {one.name: one for one in paywall_scenarios.SCENARIOS + montra_scenarios.SCENARIOS}
"""By name."""


@attrs.frozen(kw_only=True)
class StepResult:
    """What a step has done.

    Attributes:
        title: the step's title.
        started_at: the sandbox's time before it.
        at: the sandbox's time after it.
        note: what came of it, for people; None when the events say it all.
        events: the events that happened to the scenario's objects since the step before, in order.
        resend: ids of events that are to be delivered again, one after the other.
    """

    title: str
    started_at: str
    at: str
    note: str | None
    events: list[dict[str, Any]]
    resend: list[str]


class ScenarioRun:
    """One run of a scenario. It is used in the server's thread only.

    Args:
        world: the state.
        scenario: the scenario.
        merchant_id: whose customer lives it.

    Attributes:
        scenario: as given.
        steps: the titles of all steps.
    """

    scenario: Scenario
    steps: list[str]

    def __init__(self, world: World, scenario: Scenario, merchant_id: str) -> None:
        self.scenario = scenario
        self.steps = [step.title for step in scenario.steps]
        self._stage = Stage(Calls(world, merchant_id))
        self._position = 0
        self._last_event = self._stage.calls.last_event()

    @property
    def is_over(self) -> bool:
        """Whether all steps have run."""
        return self._position == len(self.steps)

    def run_next(self) -> StepResult:
        """Run the next step; the clock moves for real.

        Raises:
            IndexError: all steps have run.
            Problem: the step is impossible, because the sandbox was changed meanwhile or is set up differently.
        """
        step, stage = self.scenario.steps[self._position], self._stage
        calls = stage.calls
        started_at = calls.now()
        stage.resend = []
        note = step.run(stage)
        self._position += 1
        return StepResult(
            title=step.title,
            started_at=format_datetime(started_at),
            at=format_datetime(calls.now()),
            note=note,
            events=self.new_events(),
            resend=stage.resend,
        )

    def new_events(self) -> list[dict[str, Any]]:
        """Events of the scenario's objects that nobody has asked for yet: an application may react to webhooks."""
        calls = self._stage.calls
        position, self._last_event = self._last_event, calls.last_event()
        return [event for event in calls.events_after(position) if self._stage.owns(event)]


def open_scenario(world: World, name: Any, merchant_id: str | None = None) -> ScenarioRun:
    """Begin a run of a scenario.

    Args:
        world: the state.
        name: the scenario's name.
        merchant_id: whose customer lives it; the first merchant by default.

    Raises:
        Problem: 404, there is no such scenario.
    """
    scenario = SCENARIOS.get(name) if isinstance(name, str) else None
    if scenario is None:
        raise Problem(404, "not_found", f"no scenario {str(name)[:100]!r}; there are: {', '.join(SCENARIOS)}")
    return ScenarioRun(world, scenario, merchant_id or first_merchant(world))


def list_scenarios() -> list[dict[str, Any]]:
    """`name`, `title`, `service` and `steps` (titles) of all scenarios."""
    return [
        {
            "name": one.name,
            "title": one.title,
            "service": one.service,
            "steps": [step.title for step in one.steps],
        }
        for one in SCENARIOS.values()
    ]
