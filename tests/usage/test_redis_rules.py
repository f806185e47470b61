"""The rules of every outbox, with Redis, on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from montra_async.usage.outbox import Outbox
from montra_async.usage.redis.redis_outbox import RedisOutbox

from .outbox_helpers import ManualClock
from .redis_servers import RedisServer, needs_redis

rules = pytest.importorskip("tests.usage.test_outbox_rules")
pytestmark = needs_redis


class RedisKeys:
    """The keys of one example in a Redis."""

    owners = 3

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def outbox(self, clock: ManualClock) -> Outbox:
        # Claims don't expire here: the machine's time passes in steps of up to a day. `test_redis_outbox` lets them.
        outbox = RedisOutbox(self._server.url, claim_ttl=80_000)
        outbox._clock = clock.wall
        return outbox

    def remove(self) -> None:
        with self._server.client() as client:
            client.flushall()


def test_redis_keeps_the_rules(redis: RedisServer) -> None:
    class Rules(rules.OutboxRules):
        store_type: Callable[[], Any] = staticmethod(lambda: RedisKeys(redis))

        def set_clock(self, *_: Any, **__: Any) -> None:
            """No rule: there is one clock, Redis's."""

    run_state_machine_as_test(Rules, settings=hypothesis_settings(stateful_step_count=40))
