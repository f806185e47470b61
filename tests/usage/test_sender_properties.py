"""Rules that hold whatever the service and the outbox do."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import given, strategies as st

from montra_async.core.errors import InvalidArgumentError, InvalidResponseError
from montra_async.usage.events import Outcome

from .fake_outbox import usage_request
from .sending import CALL, answer, lost, running
from .virtual_time import run

RETRY_AFTER = st.none() | st.floats(0.0, 20.0)
ERRORS = st.one_of(
    st.builds(answer, st.sampled_from([400, 401, 403, 404, 408, 409, 422, 425, 500, 502]), st.just("")),
    st.builds(answer, st.sampled_from([429, 503]), st.just(""), retry_after=RETRY_AFTER),
    st.builds(answer, st.just(409), st.sampled_from(["in_progress", "idempotency_mismatch"])),
    st.builds(lost, st.booleans()),
    st.just(RuntimeError("a bug")),
    st.just(InvalidArgumentError("amount", "negative")),
)
LOST_ANSWERS = st.one_of(
    st.builds(lost),
    st.builds(answer, st.sampled_from([500, 502, 503, 504]), st.just("")),
    st.just(InvalidResponseError("a page", status=200, code="invalid_response", call=CALL)),
)
BEHAVIOUR = st.lists(st.none() | ERRORS, max_size=60)


class Replay:
    """Returns each of some errors once, and None from then on. Those that refuse for good count their keys."""

    def __init__(self, errors: list[Any]) -> None:
        self.left = list(reversed(errors))

    def __call__(self, key: str) -> Any:
        return self.left.pop() if self.left else None


@given(BEHAVIOUR, st.lists(st.none() | LOST_ANSWERS, max_size=30), st.integers(1, 40), st.integers(1, 16), st.data())
def test_every_request_is_settled_exactly_once(
    errors: list[Any], lost_answers: list[Any], requests: int, concurrency: int, data: st.DataObject
) -> None:
    failures = data.draw(st.lists(st.integers(1, 30), max_size=5), label="exchanges that fail")
    seed = data.draw(st.integers(0, 1000), label="seed")

    async def main() -> None:
        async with running(concurrency=concurrency, random=random.Random(seed).random) as bench:
            bench.service.behave = Replay(errors)
            bench.service.after = Replay(lost_answers)
            bench.outbox.failing = set(failures)
            bench.outbox.add(*[usage_request() for _ in range(requests)])
            await bench.until_settled()
            assert bench.service.most_in_flight <= concurrency
            refused = len(bench.outbox.refused)
            assert len(bench.outbox.delivered) + refused == requests
            assert len(bench.outbox.delivered) <= bench.service.sums.total() <= requests
            await bench.until(lambda: len(bench.observed) == bench.sender.state.sent)
            assert (
                sum(one.outcome is Outcome.REFUSED for one in bench.observed) == refused == bench.sender.state.refused
            )

    run(main())


@given(BEHAVIOUR, st.floats(0.0, 2.0), st.floats(0.0, 1.0), st.booleans(), st.floats(0.0, 0.1))
def test_whenever_it_ends_nothing_stays_claimed(
    errors: list[Any], after: float, timeout: float, cancelled: bool, takes: float
) -> None:
    async def main() -> None:
        async with running(concurrency=4) as bench:
            bench.service.behave = Replay(errors)
            bench.service.takes = 0.05
            bench.outbox.takes = takes
            bench.outbox.add(*[usage_request() for _ in range(50)])
            await asyncio.sleep(after)
            if cancelled:
                bench.task.cancel()
                await asyncio.gather(bench.task, return_exceptions=True)
            else:
                await bench.sender.stop(timeout)
            assert bench.task.done()
            assert bench.service.in_flight == 0
            assert bench.outbox.claimed == {}
            settled = len(bench.outbox.delivered) + len(bench.outbox.refused)
            assert settled + len(bench.outbox.waiting) == 50
            counted = bench.service.keys.keys() - {one.key for one in bench.outbox.delivered}
            unsent = {one.key for one in bench.outbox.waiting if not one.ambiguous and one.key in counted}
            assert all(key not in bench.service.counted for key in unsent), "what was counted is not called unsent"

    run(main())
