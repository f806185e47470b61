"""The circuit breaker, and flow control around it."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given, strategies as st

from montra_async.usage.sending.circuit import Circuit, exponential_pause
from montra_async.usage.sending.flow import MAX_RETRY_AFTER, FlowControl, bounded_pause, retry_delay
from montra_async.usage.sending.verdicts import DELIVERED, INTERRUPTED, verdict_of

from .fake_outbox import usage_request
from .sending import answer, lost, running
from .virtual_time import run


def circuit(threshold: int = 3) -> Circuit:
    return Circuit(random=lambda: 1.0, threshold=threshold, first_pause=1.0, max_pause=30.0)


def test_it_opens_after_failures_in_a_row_of_different_requests() -> None:
    one = circuit()
    assert [one.failed(number, 0.0, 1.0) for number in (1, 2, 3)] == [False, False, True]
    assert one.state == "open"
    assert one.delay(1.0) == 1.0
    assert one.delay(2.0) == 0.0


def test_the_more_are_under_way_the_more_must_fail() -> None:
    """Lost connections are noticed at once, answers arrive later: a few failures of many come in a row."""
    one = circuit(threshold=5)
    assert not any(one.failed(number, 0.0, 1.0, 32) for number in range(15))
    assert one.failed(15, 0.0, 1.0, 32)


def test_one_request_that_always_fails_does_not_open_it() -> None:
    one = circuit()
    for at in range(100):
        assert not one.failed("poison", at, at)
    assert one.state == "closed"


def test_a_success_ends_the_row() -> None:
    one = circuit()
    for number in range(100):
        one.failed(number, 0.0, 1.0)
        if number % 2:
            one.succeeded()
    assert one.state == "closed"


def test_one_probe_at_a_time_and_growing_pauses() -> None:
    one = circuit(threshold=1)
    one.failed(0, 0.0, 0.0)
    now, pauses = 0.0, []
    for number in range(1, 10):
        pauses.append(one.delay(now))
        now += one.delay(now)
        one.started()
        assert one.state == "half_open"
        assert one.delay(now) == math.inf
        one.failed(number, now, now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert one.succeeded()
    assert (one.state, one.delay(now)) == ("closed", 0.0)
    one.failed(10, now, now)
    assert one.delay(now) == 1.0


def test_attempts_from_before_it_opened_change_nothing() -> None:
    one = circuit(threshold=1)
    one.failed(0, 0.0, 5.0)
    assert not one.failed(1, 4.0, 5.5)
    one.started()
    assert not one.failed(2, 4.5, 6.5)
    assert one.state == "half_open"


def test_a_probe_without_an_answer_is_followed_by_another() -> None:
    one = circuit(threshold=1)
    one.failed(0, 0.0, 0.0)
    one.started()
    one.abandoned(1.0)
    assert (one.state, one.delay(1.0)) == ("open", 0.0)


@given(st.integers(-5, 10**6))
def test_pauses_are_bounded(attempt: int) -> None:
    assert 0.5 <= exponential_pause(attempt, first=0.5, maximum=30.0) <= 30.0


@given(st.integers(1, 10**6), st.sampled_from([429, 500, 503]), st.none() | st.floats(), st.floats(0, 1))
def test_delays_of_requests_are_bounded(attempts: int, status: int, retry_after: float | None, chance: float) -> None:
    verdict = verdict_of(answer(status, retry_after=retry_after))
    delay = retry_delay(verdict, attempts, lambda: chance)
    assert bounded_pause(retry_after) <= delay <= MAX_RETRY_AFTER + 60


def test_retry_after_stops_everything_for_its_time() -> None:
    flow = FlowControl(8, lambda: 0.5)
    flow.started()
    flow.ended(1, verdict_of(answer(503, retry_after=7.0)), 0.0, 1.0)
    assert flow.delay(1.0) == 7.0
    assert flow.paused_for(3.0) == 5.0
    assert flow.delay(8.0) == 0.0


def test_concurrency_is_halved_once_per_round_trip_and_grows_by_one() -> None:
    flow = FlowControl(32, lambda: 0.5)
    for _ in range(100):
        flow.started()
        flow.ended(1, DELIVERED, 0.0, 0.1)
    assert flow.limit == 32
    for _ in range(20):
        flow.started()
    for number in range(20):
        flow.ended(number, verdict_of(answer(429)), 1.0, 2.0)
    assert flow.limit == 16
    flow.started()
    flow.ended(1, verdict_of(answer(503)), 2.5, 3.0)
    assert flow.limit == 8
    flow.started()
    flow.ended(1, DELIVERED, 3.0, 3.1)
    assert flow.limit == 9


def test_no_more_at_once_than_the_limit() -> None:
    flow = FlowControl(2, lambda: 0.5)
    flow.started()
    assert flow.delay(0.0) == 0.0
    flow.started()
    assert flow.delay(0.0) == math.inf
    flow.ended(1, INTERRUPTED, 0.0, 1.0)
    assert flow.delay(1.0) == 0.0


@pytest.mark.parametrize("sent", [True, False])
def test_an_outage_costs_few_attempts_and_ends_by_itself(sent: bool) -> None:
    async def main() -> None:
        async with running() as bench:
            bench.outbox.add(*[usage_request() for _ in range(500)])
            await bench.until(lambda: bench.service.sums.total() > 50)
            before = len(bench.service.arrivals)
            bench.service.behave = lambda key: lost(sent)
            await bench.until(lambda: bench.sender.state.circuit == "open", 5)
            down_at = bench.clock()
            await bench.until(lambda: bench.clock() > down_at + 600)
            assert len(bench.service.arrivals) - before < 100
            assert bench.sender.state.circuit in ("open", "half_open")
            assert len(bench.outbox.claimed) <= 1, "others may try"
            bench.service.behave = lambda key: None
            await bench.until(lambda: bench.sender.state.circuit == "closed", 31)
            await bench.until_settled(120)
            assert bench.service.sums.total() == 500

    run(main())


def test_while_the_circuit_is_open_one_request_is_on_its_way() -> None:
    async def main() -> None:
        async with running() as bench:
            bench.service.behave = lambda key: answer(500)
            bench.outbox.add(*[usage_request() for _ in range(200)])
            await bench.until(lambda: bench.sender.state.circuit == "open", 5)
            await bench.until(lambda: bench.service.in_flight == 0, 5)
            bench.service.most_in_flight = 0
            await bench.until(lambda: len(bench.service.arrivals) > 50)
            assert bench.service.most_in_flight == 1

    run(main())


def test_poison_requests_do_not_hold_it_open() -> None:
    """Each probe is a request that has failed least."""

    async def main() -> None:
        async with running(random=random.Random(3).random) as bench:
            requests = [usage_request() for _ in range(10)]
            poison = {request.key for request in requests}
            bench.service.behave = lambda key: answer(500) if key in poison else None
            bench.outbox.add(*requests)
            await bench.until(lambda: bench.sender.state.circuit == "open", 60)
            bench.outbox.add(*[usage_request() for _ in range(100)])
            bench.sender.wake()
            await bench.until(lambda: len(bench.outbox.delivered) == 100, 60)
            assert bench.service.sums.total() == 100

    run(main())


@pytest.mark.parametrize("retry_after", [None, 0.2])
def test_a_service_that_refuses_everything_for_a_while_is_not_asked_all_the_time(retry_after: float | None) -> None:
    async def main() -> None:
        async with running() as bench:
            bench.service.behave = lambda key: answer(429, retry_after=retry_after)
            bench.outbox.add(*[usage_request() for _ in range(500)])
            await asyncio.sleep(60)
            assert len(bench.service.arrivals) < 400
            bench.service.behave = lambda key: None
            await bench.until_settled(20)
            assert bench.service.sums.total() == 500

    run(main())
