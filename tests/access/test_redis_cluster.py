"""A fleet with a cluster of Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from montra_async.access import Access, LimitExceededError, RedisAnswers, RedisHolds

from ..usage.redis_servers import RedisServer, needs_redis, redis_cluster
from .conftest import Service, Usage

pytestmark = needs_redis


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A cluster of one server."""
    with redis_cluster(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.parametrize("forgotten", [False, True])
async def test_holds_and_answers_of_a_cluster(cluster: RedisServer, service: Service, forgotten: bool) -> None:
    """Each script runs more than once, also after Redis has forgotten them all."""
    from redis.asyncio.cluster import RedisCluster

    service.limit = 10
    async with RedisCluster(host="127.0.0.1", port=cluster.port) as client:
        prefix, used = f"test-{forgotten}:", [Usage(service), Usage(service)]

        def join(usage: Usage) -> Access:
            montra: Any = service
            return Access(
                montra,
                usage,  # type: ignore[arg-type]
                fleet=RedisHolds(client, prefix=prefix, timeout=30),
                shared_answers=RedisAnswers(client, prefix=f"{prefix}answers:", timeout=30),
            )

        here, there = map(join, used)
        for left in (6, 2):
            async with here.hold("c", "m", estimate=4) as hold, there.hold("c", "m", estimate=1) as other:
                await hold.renew()
                hold.amount, other.amount = 3, 1
            assert (await there.check("c", meter="m")).allowed
            if forgotten:
                with cluster.client() as control:
                    control.script_flush()
            with pytest.raises(LimitExceededError) as refused:
                await there.hold("c", "m", estimate=100)
            assert refused.value.remaining == left
        asked = service.asked["c", "m"]
        here.invalidate("c")
        assert (await there.check("c", meter="m")).allowed
        async with here.hold("c", "m"):
            assert service.asked["c", "m"] > asked
        for access in (here, there):
            await access.aclose()
    assert [usage.total["c", "m"] for usage in used] == [7, 2]
