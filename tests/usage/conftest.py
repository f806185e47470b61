"""A Redis for the tests of a module, empty for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .redis_servers import RedisServer, redis_server


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), appendonly="yes", appendfsync="no") as server:
        yield server


@pytest.fixture
def redis(_redis: RedisServer) -> RedisServer:
    """A running Redis without keys."""
    with _redis.client() as client:
        client.flushall()
    return _redis
