"""Sending below a rate limit: simulations on virtual time, with random numbers of a fixed seed."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from montra_async.usage.sending.pacing import AdaptiveConcurrency, GoodputMeter, Pacer

from .fake_outbox import usage_request
from .sending import answer, running
from .virtual_time import run

RATE = 100
SECONDS = 60

Limiter = Callable[[float], "float | None"]
"""Told the time of a request. Returns None, or the seconds after which to come again; 0 for a refusal without them."""


def token_bucket(burst: int, retry_after: float) -> Limiter:
    tokens, at = float(burst), -math.inf

    def limiter(now: float) -> float | None:
        nonlocal tokens, at
        tokens, at = min(burst, tokens + (now - at) * RATE), now
        if tokens < 1:
            return retry_after
        tokens -= 1
        return None

    return limiter


def fixed_window(retry_after: float | None) -> Limiter:
    """`RATE` requests in each second. Without `retry_after`, it tells exactly when the next second begins."""
    second, count = -1, 0

    def limiter(now: float) -> float | None:
        nonlocal second, count
        if int(now) != second:
            second, count = int(now), 0
        count += 1
        if count <= RATE:
            return None
        return 1.001 - now % 1 if retry_after is None else retry_after

    return limiter


class Result(NamedTuple):
    goodput: float
    """Requests that were accepted, as a part of what the limit allows."""
    refused: float
    """The part of the requests that was refused."""


async def simulate(limiter: Limiter, *, latency: float = 0.02, seconds: float = SECONDS) -> Result:
    """Send a backlog that does not end."""
    loop = asyncio.get_running_loop()
    chance = random.Random(7).random
    accepted = refused = 0

    async def report(*_: object, **__: object) -> None:
        nonlocal accepted, refused
        await asyncio.sleep(latency * chance())
        wait = limiter(loop.time())
        await asyncio.sleep(latency * chance())
        if wait is not None:
            refused += 1
            raise answer(429, retry_after=wait or None)
        accepted += 1

    async with running(report=report, random=chance) as bench:
        end = loop.time() + seconds
        while loop.time() < end:
            if len(bench.outbox.waiting) < RATE:
                bench.outbox.add(*[usage_request() for _ in range(2 * RATE)])
            await asyncio.sleep(0.2)
        return Result(accepted / (RATE * seconds), refused / (accepted + refused))


@pytest.mark.parametrize("retry_after", [0.0, 0.2])
@pytest.mark.parametrize("burst", [RATE, RATE // 5, RATE // 10])
def test_ninety_percent_of_a_token_bucket(burst: int, retry_after: float) -> None:
    result = run(simulate(token_bucket(burst, retry_after)))
    assert result.goodput > 0.9, result
    assert result.refused < 0.06, result


@pytest.mark.parametrize("burst", [RATE, RATE // 5, RATE // 10])
def test_three_quarters_of_a_token_bucket_that_asks_for_a_second(burst: int) -> None:
    result = run(simulate(token_bucket(burst, 1.0)))
    assert result.goodput > 0.75, result
    assert result.refused < 0.02, result


@pytest.mark.parametrize(("retry_after", "least"), [(0.0, 0.9), (0.2, 0.9), (None, 0.9), (1.0, 0.75)])
def test_most_of_a_limit_per_second(retry_after: float | None, least: float) -> None:
    result = run(simulate(fixed_window(retry_after)))
    assert result.goodput > least, result
    assert result.refused < 0.06, result


@pytest.mark.parametrize("retry_after", [0.0, 0.2, 1.0])
def test_most_of_a_bucket_that_is_smaller_than_the_jitter_of_the_network(retry_after: float) -> None:
    assert run(simulate(token_bucket(RATE // 20, retry_after))).goodput > 0.65


@pytest.mark.parametrize("latency", [0.002, 0.2])
def test_whatever_the_latency(latency: float) -> None:
    assert run(simulate(token_bucket(RATE, 0.2), latency=latency)).goodput > 0.85


def refused_at_random(share: float, retry_after: float) -> Limiter:
    """Refuses a share of the requests, however few there are: a limit of single customers, or a broken server."""
    chance = random.Random(3).random
    return lambda _: retry_after if chance() < share else None


@pytest.mark.parametrize(("share", "retry_after"), [(0.002, 0.2), (0.01, 0.2), (0.01, 1.0), (0.05, 0.2), (0.05, 1.0)])
def test_refusals_at_random_cost_their_pauses_and_little_more(share: float, retry_after: float) -> None:
    unlimited = run(simulate(lambda _: None, seconds=10)).goodput
    possible = 1 / (1 / unlimited + share * retry_after * RATE)
    result = run(simulate(refused_at_random(share, retry_after), seconds=120))
    assert result.goodput > 0.7 * possible, (result, possible)


def test_a_limit_that_is_lowered_and_raised_is_followed() -> None:
    """For 60 s each: all of the rate, a tenth of it, all of it."""
    tokens, at, began = float(RATE), -math.inf, math.nan
    accepted = [0, 0, 0]

    def limiter(now: float) -> float | None:
        nonlocal tokens, at, began
        began = now if math.isnan(began) else began
        phase = min(2, int((now - began) / 60))
        rate = RATE / 10 if phase == 1 else RATE
        tokens, at = min(rate, tokens + (now - at) * rate), now
        if tokens < 1:
            return 0.2
        tokens -= 1
        accepted[phase] += 1
        return None

    run(simulate(limiter, seconds=180))
    assert accepted[0] > 0.9 * 60 * RATE
    assert accepted[1] > 0.7 * 60 * RATE / 10
    assert accepted[2] > 0.6 * 60 * RATE, "it grows slowly at first"


def test_a_lone_refusal_sets_no_pace() -> None:
    pacer = Pacer()
    pacer.goodput.set_active(True, 0.0)
    pacer.throttled(0.0, 1.0, None)
    assert pacer.rate(1.0) is None
    assert pacer.delay(1.0) == 0.0


def test_rare_refusals_set_no_pace() -> None:
    pacer = Pacer()
    pacer.goodput.set_active(True, 0.0)
    for number in range(10_000):
        now = number * 0.001
        if number % 30 == 0:
            pacer.throttled(now, now, None)
        else:
            pacer.succeeded(now)
    assert pacer.rate(10.0) is None


def limited(goodput: int = 100) -> Pacer:
    """A pacer that has met a limit at the time 10, after ten seconds of goodput."""
    pacer = Pacer()
    pacer.goodput.set_active(True, 0.0)
    for number in range(10 * goodput):
        pacer.succeeded(number / goodput)
    pacer.throttled(9.9, 10.0, 1.0)
    return pacer


def test_the_pace_begins_at_85_percent_and_grows() -> None:
    pacer = limited()
    rates = [pacer.rate(now) or math.inf for now in range(11, 60)]
    assert rates[0] == pytest.approx(85, rel=0.02)
    assert rates == sorted(rates)
    assert rates[-1] == math.inf, "a limit that is not met again is forgotten"


def test_the_pace_is_kept() -> None:
    pacer = limited()
    now, sent = 11.0, 0
    while now < 13.0:
        delay = pacer.delay(now)
        if delay == 0:
            pacer.started()
            sent += 1
        now += max(delay, 1e-6)
    assert 2 * 85 <= sent <= 2 * 100


def test_refusals_of_one_burst_count_once() -> None:
    pacer = limited()
    before = pacer.rate(11.0)
    for _ in range(30):
        pacer.throttled(9.95, 10.1, 1.0)
    assert pacer.rate(11.0) == before


def test_goodput_does_not_count_idle_time() -> None:
    meter = GoodputMeter()
    for second in range(10):
        meter.set_active(True, float(second))
        for _ in range(10):
            meter.succeeded(second + 0.1)
        meter.set_active(False, second + 0.1)
    assert meter.rate(10.0) == pytest.approx(100, rel=0.11)


def test_concurrency_stays_within_its_bounds() -> None:
    concurrency = AdaptiveConcurrency(4)
    assert concurrency.limit == 4
    for second in range(10):
        concurrency.congested(second, second + 0.5)
    assert concurrency.limit == 1
    for _ in range(10):
        concurrency.succeeded()
    assert concurrency.limit == 4
