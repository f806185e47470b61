"""The APIs called in-process answer and refuse as they do over HTTP, in one transaction or in one for several calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from montra_sandbox import Problem, Sandbox
from montra_sandbox.scenarios.calls import Calls, first_merchant
from montra_sandbox.scenarios.demo.names import People

from .server_side import in_server

PERSON = {"name": "Ada", "email": "ada@example.com"}

Run = Callable[[Callable[[Calls], Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    with Sandbox() as sandbox:
        yield lambda use: in_server(sandbox, lambda world: use(Calls(world, first_merchant(world))))


def test_all_kinds_of_answers(run: Run) -> None:
    def use(calls: Calls) -> None:
        model = calls.montra("create_pricing_model", {"name": "Pro"})
        feature = calls.montra("create_feature", {"name": "S", "slug": "s", "pricing_model_id": model["id"]})
        assert calls.montra("delete_feature", path={"feature_id": feature["id"]}) is None
        logs = calls.montra("list_audit_logs", query={"limit": 2})
        assert [one["event_type"] for one in logs] == ["feature.deleted", "feature.created"]
        assert calls.montra("get_analytics_series", query={"interval": "daily", "points": 2})["points"] == 2
        assert calls.montra("list_customers") == []

    run(use)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda calls: calls.montra("create_customer", {"name": "A"}), "body: 'email' is a required property"),
        (lambda calls: calls.montra("create_customer", {**PERSON, "email": "x"}), "email: must be an email address"),
        (lambda calls: calls.montra("get_customer"), "path: 'customer_id' is a required property"),
        (lambda calls: calls.montra("get_analytics_series"), "query: 'interval' is a required property"),
        (lambda calls: calls.montra("get_customer", path={"customer_id": "none"}), "no customer 'none'"),
        (lambda calls: calls.paywall("none", "start_checkout", {"priceId": 101}), "no paywall 'none'"),
    ],
)
def test_refusals_are_those_of_http(call: Callable[[Calls], Any], message: str, run: Run) -> None:
    with pytest.raises(Problem) as refused:
        run(call)
    assert message in refused.value.message


def test_several_calls_are_all_or_nothing(run: Run) -> None:
    def use(calls: Calls) -> None:
        with pytest.raises(Problem, match="exists"), calls.transaction():
            calls.montra("create_customer", PERSON)
            with calls.transaction():
                calls.montra("create_customer", PERSON)
        assert calls.montra("list_customers") == []
        with pytest.raises(Problem) as refused, calls.transaction():
            raise OverflowError("date value out of range")
        assert (refused.value.status, refused.value.code) == (400, "out_of_range")
        calls.montra("create_customer", PERSON)  # the transaction is over

    run(use)


def test_invented_people_have_addresses_of_their_own() -> None:
    people = People(random.Random(1))
    made = [people.make() for _ in range(3_000)]
    assert len({one.email for one in made}) == 3_000
    assert all(one.email.endswith(("example.com", "example.org")) for one in made)
    assert 0.25 < sum(one.company is None for one in made) / 3_000 < 0.45
