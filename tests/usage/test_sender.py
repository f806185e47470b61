"""The sender: every claimed request is sent, and settled exactly once, whatever the service answers."""

from __future__ import annotations

import asyncio
import logging

import pytest

from montra_async.usage.events import Outcome

from .fake_outbox import outbox_error, usage_request
from .sending import answer, lost, running, times
from .virtual_time import run


def test_what_is_claimed_is_sent_once_and_settled() -> None:
    async def main() -> None:
        async with running() as bench:
            bench.outbox.add(*[usage_request("cust_1", 2) for _ in range(500)])
            await bench.until_settled(5)
            assert bench.service.sums == {"cust_1": 1000}
            assert set(bench.service.keys.values()) == {1}
            assert bench.service.most_in_flight == 32
            assert len(bench.outbox.delivered) == 500
            await bench.until(lambda: len(bench.observed) == 500)

    run(main())


@pytest.mark.parametrize(("takes", "most"), [(0.5, 4 * 5), (0.01, 60), (0.0001, 300)])
def test_claims_are_bounded_by_the_concurrency_and_the_goodput(takes: float, most: int) -> None:
    """What is sent within a tenth of a second is claimed ahead, and 256 at most: others may send the rest."""

    async def main() -> None:
        async with running(concurrency=4) as bench:
            bench.service.takes = takes
            bench.outbox.add(*[usage_request() for _ in range(2000)])
            await bench.until_settled(600)
            assert bench.service.most_in_flight == 4
            assert most / 4 < bench.outbox.most_claimed <= most

    run(main())


def test_an_idle_sender_sleeps_and_sees_what_others_append() -> None:
    async def main() -> None:
        async with running() as bench:
            await asyncio.sleep(60)
            assert bench.outbox.exchanges <= 65
            bench.outbox.add(usage_request())
            await bench.until_settled(1.1)

    run(main(), max_turns=5000)


def test_it_wakes_at_once() -> None:
    async def main() -> None:
        async with running() as bench:
            await asyncio.sleep(10.5)
            bench.outbox.add(usage_request())
            bench.sender.wake()
            await bench.until(lambda: bench.service.sums.total() == 1, 0.02)

    run(main())


def test_a_wake_during_an_exchange_is_not_forgotten() -> None:
    async def main() -> None:
        async with running() as bench:
            await asyncio.sleep(10)
            bench.outbox.takes = 0.1
            bench.sender.wake()
            await asyncio.sleep(0.01)
            bench.outbox.takes = 0.0
            await asyncio.sleep(0.0899)
            bench.outbox.add(usage_request())
            bench.sender.wake()
            await bench.until_settled(0.2)

    run(main())


def test_failed_attempts_are_repeated_under_the_same_key() -> None:
    async def main() -> None:
        async with running() as bench:
            bench.service.after = times(20, lost)
            bench.outbox.add(*[usage_request() for _ in range(50)])
            await bench.until_settled()
            assert bench.service.sums.total() == 50
            assert bench.service.keys.total() > 50
            assert {one.sent for one in bench.outbox.retried if one.delay} == {True}

    run(main())


def test_what_is_refused_for_good_does_not_block_the_others() -> None:
    async def main() -> None:
        async with running() as bench:
            wrong = usage_request("cust_unknown")
            bench.service.behave = lambda key: (
                answer(404, "not_found", "no such customer") if key == wrong.key else None
            )
            bench.outbox.add(wrong, *[usage_request() for _ in range(50)])
            await bench.until_settled(1)
            (refused,) = bench.outbox.refused
            assert (refused.status, refused.code, refused.message) == (404, "not_found", "no such customer")
            assert len(bench.outbox.delivered) == 50
            assert bench.sender.state.refused == 1

    run(main())


def test_a_poison_request_neither_blocks_the_others_nor_holds_the_circuit_open() -> None:
    async def main() -> None:
        async with running() as bench:
            poison = usage_request()
            bench.service.behave = lambda key: answer(500) if key == poison.key else None
            bench.outbox.add(poison)
            await asyncio.sleep(300)
            bench.outbox.add(*[usage_request() for _ in range(50)])
            bench.sender.wake()
            await bench.until(lambda: len(bench.outbox.delivered) == 50, 1)
            assert bench.sender.state.circuit == "closed"
            assert bench.service.keys[poison.key] < 30

    run(main())


def test_retry_after_pauses_everything() -> None:
    async def main() -> None:
        async with running() as bench:
            bench.service.behave = times(1, lambda: answer(429, retry_after=5.0))
            bench.outbox.add(*[usage_request() for _ in range(100)])
            await bench.until_settled()
            first = bench.service.arrivals[0]
            paused = [at for at in bench.service.arrivals if first + 0.011 < at < first + 5.0]
            assert paused == []
            assert bench.service.sums.total() == 100
            assert {one.sent for one in bench.outbox.retried} == {False}

    run(main())


def test_wrong_credentials_lose_nothing_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running() as bench:
            bench.service.behave = lambda key: answer(401, "unauthorized")
            bench.outbox.add(*[usage_request() for _ in range(100)])
            await asyncio.sleep(600)
            assert len(bench.service.arrivals) < 70
            assert bench.outbox.refused == []
            assert {one.sent for one in bench.outbox.retried} == {False}
            bench.service.behave = lambda key: None
            await bench.until_settled(120)
            assert bench.service.sums.total() == 100

    run(main())
    told = [one for one in caplog.records if one.levelno == logging.WARNING and "API key" in one.message]
    assert 1 <= len(told) <= 11


def test_an_outbox_that_fails_for_a_while_loses_no_settlement(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running() as bench:
            bench.outbox.add(*[usage_request() for _ in range(200)])
            await bench.until(lambda: bench.service.sums.total() > 10)
            bench.outbox.errors = [outbox_error() for _ in range(10)]
            await bench.until(lambda: not bench.outbox.errors)
            assert bench.outbox.most_claimed <= 32 * 5
            await bench.until_settled(60)
            assert bench.service.sums.total() == 200
            assert set(bench.service.keys.values()) == {1}

    run(main())
    assert len([one for one in caplog.records if "no space left" in one.message]) == 1


def test_stopping_settles_what_ended_and_hands_back_the_rest() -> None:
    async def main() -> None:
        async with running(concurrency=4) as bench:
            bench.service.takes = 1.0
            bench.outbox.add(*[usage_request() for _ in range(100)])
            await bench.until(lambda: bench.service.in_flight == 4)
            await bench.sender.stop(10)
            assert bench.task.done()
            assert len(bench.outbox.delivered) == 4
            assert bench.outbox.claimed == {}
            assert {(one.sent, one.delay) for one in bench.outbox.retried} == {(False, 0.0)}
            assert len(bench.outbox.waiting) == 96

    run(main())


def test_stopping_at_once_says_what_was_on_the_wire() -> None:
    async def main() -> None:
        async with running(concurrency=4) as bench:
            bench.service.takes = 1.0
            bench.outbox.add(*[usage_request() for _ in range(100)])
            await bench.until(lambda: bench.service.in_flight == 4)
            await bench.sender.stop(0)
            assert len([one for one in bench.outbox.retried if one.sent]) == 4
            assert len([one for one in bench.outbox.retried if not one.sent]) > 0
            assert len(bench.outbox.waiting) == 100

    run(main())


@pytest.mark.parametrize("after", [0.0, 0.001, 0.002, 0.003, 0.02, 0.5])
def test_a_cancelled_sender_hands_everything_back(after: float) -> None:
    async def main() -> None:
        async with running(concurrency=4) as bench:
            bench.service.takes = 1.0
            bench.outbox.add(*[usage_request() for _ in range(100)])
            await asyncio.sleep(after)
            bench.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bench.task
            assert bench.outbox.claimed == {}
            assert len(bench.outbox.waiting) == 100
            assert bench.service.in_flight == 0

    run(main())


def test_claims_that_expire_are_renewed_and_lost_ones_are_not_sent() -> None:
    async def main() -> None:
        async with running(concurrency=2, renew_after=5.0) as bench:
            bench.service.takes = 6.0
            bench.outbox.add(*[usage_request() for _ in range(6)])
            await bench.until(lambda: len(bench.outbox.claimed) == 4)
            last = list(bench.outbox.claimed.values())[-1]
            bench.outbox.lost_on_renewal.add(last.id)
            await asyncio.sleep(60)
            assert bench.outbox.renewed
            assert last.key not in bench.service.keys
            assert bench.service.sums.total() == 5

    run(main())


def test_what_can_not_be_renewed_waits_until_it_can(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(concurrency=2, renew_after=5.0) as bench:
            bench.service.takes = 6.0
            bench.outbox.renewal_errors = [outbox_error(), outbox_error(), ZeroDivisionError()]
            bench.outbox.add(*[usage_request() for _ in range(6)])
            await bench.until_settled(120)
            assert bench.outbox.renewal_errors == []
            assert set(bench.service.keys.values()) == {1}
            assert bench.service.sums.total() == 6

    run(main())
    assert "can't be used; trying again" in caplog.text


def test_an_attempt_that_never_ends_is_cancelled() -> None:
    async def main() -> None:
        async with running(request_timeout=2.0) as bench:
            bench.service.takes = 1e6
            bench.outbox.add(usage_request())
            await bench.until(lambda: bool(bench.service.arrivals))
            bench.service.takes = 0.01
            await bench.until_settled(60)
            assert [(one.outcome, one.sent) for one in bench.outbox.retried] == [(Outcome.RETRY, True)]

    run(main())


def test_what_was_claimed_too_long_ago_is_handed_back_instead_of_sent() -> None:
    """Its process stood still: what may have been counted may be too old by now. Whoever claims it anew looks."""

    async def main() -> None:
        async with running(concurrency=1, request_timeout=60.0, stale_after=5.0) as bench:
            bench.service.takes = 8.0
            bench.outbox.add(*(usage_request() for _ in range(6)))
            await bench.until_settled()
            assert len(bench.outbox.delivered) == 6
            assert bench.outbox.retried, "those that waited for eight seconds"
            assert not any(settlement.sent for settlement in bench.outbox.retried)
            assert all(count == 1 for count in bench.service.keys.values())

    run(main())
