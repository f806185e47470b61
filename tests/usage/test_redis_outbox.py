"""`RedisOutbox` with a real Redis, on a clock that is set by hand."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from montra_async.core.errors import ConfigError
from montra_async.usage.errors import OutboxError, OutboxFullError
from montra_async.usage.events import UsageRequest, amount_of
from montra_async.usage.redis.redis_outbox import RedisOutbox

from .outbox_helpers import BASE_URL, START, ManualClock, delivered, drain, event, refused, retry, settings, summable
from .redis_servers import RedisServer, needs_redis, redis_cluster, redis_server

pytestmark = needs_redis

Open = Callable[..., RedisOutbox]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def opened(redis: RedisServer, clock: ManualClock) -> Iterator[Open]:
    """Opens outboxes of one name, which are closed after the test."""
    outboxes: list[RedisOutbox] = []

    def opened(*, expires_after: float = 3600.0, client: Any = None, **arguments: Any) -> RedisOutbox:
        outbox = RedisOutbox(client or redis.url, **arguments)
        outbox._clock = clock.wall
        outbox.open(settings(coalesce_window=1.0, expires_after=expires_after))
        outboxes.append(outbox)
        return outbox

    yield opened
    for outbox in outboxes:
        outbox.close()


def claimed(outbox: RedisOutbox, limit: int = 100, *, flush: bool = False) -> list[UsageRequest]:
    return outbox.exchange([], limit, flush=flush).requests


def test_events_of_one_customer_meter_and_scale_are_added_up(opened: Open, clock: ManualClock) -> None:
    outbox = opened()
    first = summable("cust_1", 5)
    outbox.append([first, summable("cust_1", 7), summable("cust_2", 1)])
    outbox.append([summable("cust_1", 3), summable("cust_1", 25, scale=1), summable("cust_1", 2, meter_slug="calls")])
    found = {(each.customer_id, each.meter_slug, each.scale): each for each in claimed(outbox, flush=True)}
    assert {key: (each.units, each.events) for key, each in found.items()} == {
        ("cust_1", "tokens", 0): (15, 3),
        ("cust_2", "tokens", 0): (1, 1),
        ("cust_1", "tokens", 1): (25, 1),
        ("cust_1", "calls", 0): (2, 1),
    }
    assert found["cust_1", "tokens", 0].key == first.key, "the sum has the key of its first event, from its birth"
    assert outbox.counts().events == 6


def test_what_may_not_be_added_up_keeps_its_own_key(opened: Open) -> None:
    outbox = opened()
    events = [
        event("cust_1", 5),
        event("cust_1", 5, metadata='{"model":"x\\"y"}'),
        event("cust_1", "123456789012345678901234567890", scale=-1),
        summable("cust_1", 2**44),
        event('"},\n\x1f\u2028é😀', 0, meter_slug="a,b", recorded_at=1e9 + 0.123456),
    ]
    outbox.append(events)
    found = {each.key: each for each in claimed(outbox)}
    assert len(found) == 5
    for given in events:
        got = found[given.key]
        assert (got.customer_id, got.meter_slug, got.units, got.scale) == given[1:5]
        assert (got.metadata, got.recorded_at, got.events) == (given.metadata, given.recorded_at, 1)


def test_sums_are_exact_beyond_doubles_and_close_before_they_overflow(opened: Open, redis: RedisServer) -> None:
    outbox = opened()
    events = [summable("cust_1", 2**44 - 1) for _ in range(1200)]
    outbox.append(events)
    (only,) = claimed(outbox, flush=True)
    assert only.units == 1200 * (2**44 - 1) > 2**53
    outbox.append([summable("cust_1", 2)])
    with redis.client() as client:
        client.hset("montra:usage:{default}:sums", 'u"cust_1","tokens",0', str(4 * 10**18 - 1))
    outbox.append([summable("cust_1", 1999), summable("cust_1", 1)])
    outbox.append([summable("cust_1", 9)])
    closed, still_open = claimed(outbox, flush=True)
    assert (closed.units, closed.events) == (4 * 10**18 + 1999, 3)
    assert (still_open.units, still_open.events) == (9, 1)
    assert closed.key != still_open.key


def test_a_sum_is_closed_when_its_window_ends_and_never_changes_after(opened: Open, clock: ManualClock) -> None:
    outbox = opened()
    outbox.append([summable("cust_1", 1)])
    clock.advance(0.4)
    outbox.append([summable("cust_1", 2)])
    early = outbox.exchange([], 10)
    assert early.requests == []
    assert early.next_due == pytest.approx(0.6)
    clock.advance(0.6)
    (first,) = claimed(outbox)
    outbox.append([summable("cust_1", 4)])
    outbox.exchange([retry(first, sent=True)], 0)
    again, second = claimed(outbox, flush=True)
    assert (again.key, again.units, again.events) == (first.key, 3, 2)
    assert (second.units, second.events) == (4, 1)
    assert second.key != first.key


def test_sums_stay_open_behind_a_backlog_but_not_for_long(opened: Open, clock: ManualClock) -> None:
    outbox = opened()
    outbox.append([event() for _ in range(20)] + [summable("cust_2", 1)])
    clock.advance(2.0)
    assert all(each.customer_id == "cust_1" for each in claimed(outbox, 5))
    outbox.append([summable("cust_2", 1)])
    clock.advance(9.1)
    assert all(each.customer_id == "cust_1" for each in claimed(outbox, 5))
    outbox.append([summable("cust_2", 5)])  # after the sum was closed
    sums = [each for each in claimed(outbox, 100, flush=True) if each.customer_id == "cust_2"]
    assert [(each.units, each.events) for each in sums] == [(2, 2), (5, 1)]


def test_a_request_has_one_owner(opened: Open, clock: ManualClock) -> None:
    ours, theirs = opened(claim_ttl=60), opened(claim_ttl=60)
    ours.append([event() for _ in range(3)])
    (first,) = claimed(ours, 1)
    assert len(claimed(theirs)) == 2
    clock.advance(59.9)
    assert claimed(theirs) == []
    assert ours.renew([first]) == [first]
    clock.advance(59.9)
    assert [each.id for each in claimed(theirs)] != [first.id]
    clock.advance(0.2)
    again = {each.id: each for each in claimed(theirs)}[first.id]
    assert (again.key, again.attempts, again.ambiguous) == (first.key, 2, True)
    assert ours.renew([first]) == [], "a lost claim is dropped"


def test_a_lost_claim_settles_nothing_but_a_delivery(opened: Open, clock: ManualClock) -> None:
    ours, theirs = opened(), opened()
    ours.append([event(), event()])
    first, second = claimed(ours)
    clock.advance(61)
    assert len(claimed(theirs)) == 2
    ours.exchange([retry(first, sent=False), refused(first)], 0)
    assert theirs.counts()[:4] == (2, 2, 2, 0)
    ours.exchange(delivered(second), 0)
    assert theirs.counts()[:4] == (1, 1, 1, 0), "the service has counted it, whoever asked"
    with_another_key = first._replace(key="another", attempts=9)
    ours.exchange(delivered(with_another_key), 0)
    assert theirs.counts().events == 1, "an id that was used again is not deleted"


def test_what_was_surely_not_sent_never_becomes_ambiguous(opened: Open, clock: ManualClock) -> None:
    outbox = opened(expires_after=100)
    outbox.append([event()])
    for attempt in range(1, 5):
        (request,) = claimed(outbox)
        assert (request.attempts, request.ambiguous) == (attempt, False)
        waits = outbox.exchange([retry(request, sent=False, delay=200)], 10)
        assert waits.requests == []
        assert waits.next_due == pytest.approx(200)
        clock.advance(200)


def test_what_may_have_been_counted_is_parked_when_it_is_too_old(opened: Open, clock: ManualClock) -> None:
    outbox = opened(expires_after=100)
    outbox.append([event("cust_1", 7, metadata='{"a":1.50}')])
    (request,) = claimed(outbox)
    outbox.exchange([retry(request, sent=True, delay=60)], 0)
    clock.advance(60)
    (request,) = claimed(outbox)
    assert request.ambiguous
    outbox.exchange([retry(request, sent=False, delay=60)], 0)
    clock.advance(60)
    found = outbox.exchange([], 10)
    assert found.requests == []
    (parked,) = found.expired
    assert (parked.key, parked.reason, parked.amount, parked.attempts) == (request.key, "ambiguous", 7, 2)
    assert json.dumps(parked.metadata, default=str) == '{"a": "1.50"}'
    assert outbox.list_parked(10) == [parked]
    assert outbox.counts()[:4] == (0, 0, 0, 1)

    assert outbox.retry_parked([parked.id]) == 1
    (request,) = claimed(outbox)
    assert (request.key, request.attempts, request.ambiguous) == (parked.key, 3, True)
    outbox.exchange([retry(request, sent=True, delay=99)], 0)
    clock.advance(99)
    assert len(claimed(outbox)) == 1, "it may be sent for as long as before, from then on"


def test_refused_requests_are_listed_retried_and_dropped(opened: Open, clock: ManualClock) -> None:
    outbox = opened()
    for number in range(5):
        outbox.append([event(f"cust_{number}")])
        requests = claimed(outbox)
        outbox.exchange([refused(each) for each in requests], 0)
        assert [each.id for each in outbox.list_parked(9)][number:] == [each.id for each in requests]
        clock.advance(1)
    first, second = outbox.list_parked(2)
    assert [first.customer_id, second.customer_id] == ["cust_0", "cust_1"]
    assert (first.status, first.code, first.message, first.reason) == (
        *(422, "no_such_meter", "There is no such meter."),
        "refused",
    )
    assert first.parked_at.timestamp() == START
    assert outbox.drop_parked([second.id, "no-such-id", second.id]) == 1
    assert [each.customer_id for each in outbox.list_parked(9, second.id)] == ["cust_2", "cust_3", "cust_4"]
    assert outbox.retry_parked([first.id]) == 1
    (again,) = claimed(outbox)
    assert (again.key, again.attempts, again.ambiguous) == (first.key, 2, False)
    assert outbox.retry_parked() == 3
    assert outbox.drop_parked() == 0
    assert outbox.counts()[:4] == (4, 4, 1, 0)
    assert outbox.list_parked(9) == []


def test_long_messages_of_the_service_are_cut(opened: Open) -> None:
    outbox = opened()
    outbox.append([event()])
    (request,) = claimed(outbox)
    outbox.exchange([refused(request)._replace(message='"\n' * 10_000, code="c" * 10_000, status=None)], 0)
    (parked,) = outbox.list_parked(1)
    assert (len(parked.message), len(parked.code), parked.status) == (1003, 131, None)  # with three dots each


@pytest.mark.parametrize("bound", [{"max_events": 5}, {"max_size": 5000}])
def test_a_full_outbox_stores_nothing_more(opened: Open, bound: dict[str, int]) -> None:
    outbox = opened(**bound)
    with pytest.raises(OutboxFullError, match=r"Redis at 127\.0\.0\.1:\d+/0: the outbox default is full: \d+ events"):
        for _ in itertools.repeat(None, 100):
            before = outbox.counts()
            outbox.append([event(), summable()])
    assert outbox.counts() == before
    outbox.exchange([refused(each) for each in claimed(outbox, flush=True)], 0)
    with pytest.raises(OutboxFullError):  # what is parked takes up room, too
        outbox.append([event() for _ in range(5)])
    outbox.drop_parked()
    outbox.append([event(), summable()])


def test_the_oldest_are_dropped_but_not_what_is_claimed(opened: Open) -> None:
    outbox = opened()
    outbox.append([event(f"cust_{number}") for number in range(450)])
    kept = claimed(outbox, 210)
    outbox.append([summable("cust_x"), summable("cust_x"), summable("cust_y")])
    assert outbox.drop_oldest(230) == 230
    assert outbox.counts()[:3] == (450 + 3 - 230, 210 + 10 + 2, 210)
    assert outbox.drop_oldest(11) == 12, "a sum is dropped as a whole"
    assert outbox.drop_oldest(1000) == 1
    assert outbox.drop_oldest(1) == 0
    assert outbox.counts()[:3] == (210, 210, 210)
    outbox.exchange(delivered(*kept), 0)
    assert outbox.counts()._replace(oldest_age=0) == (0, 0, 0, 0, None, 0, 0)


def test_the_age_is_that_of_the_oldest_event(opened: Open, clock: ManualClock) -> None:
    outbox = opened()
    outbox.append([event(recorded_at=START)])
    clock.advance(100)
    outbox.append([event(recorded_at=START - 50), summable(recorded_at=START - 70.5), summable(recorded_at=START)])
    assert outbox.counts()[4:6] == (START - 70.5, 170.5)
    (oldest,) = [each for each in claimed(outbox, flush=True) if each.events == 2]
    assert oldest.recorded_at == START - 70.5
    assert outbox.counts()[4:6] == (START - 70.5, 170.5)
    outbox.exchange(delivered(oldest), 0)
    assert outbox.counts()[4:6] == (START - 50, 150)


def test_another_api_needs_another_outbox(opened: Open, redis: RedisServer) -> None:
    outbox = opened()
    outbox.append([event()])
    other = RedisOutbox(redis.url)
    with pytest.raises(ConfigError, match=rf"belongs to {BASE_URL}, not to https://other\.test: give each API"):
        other.open(settings(base_url="https://other.test"))
    for call in (lambda: other.append([event()]), lambda: other.exchange([], 1), other.counts):
        with pytest.raises(OutboxError, match=r"not to https://other\.test"):
            call()
    other.close()
    elsewhere = RedisOutbox(redis.url, name="other")
    elsewhere.open(settings(base_url="https://other.test"))
    assert elsewhere.counts().events == 0
    elsewhere.close()


def test_a_group_of_any_size_is_stored_as_a_whole(opened: Open, redis: RedisServer) -> None:
    outbox = opened(max_events=400)
    metadata = json.dumps({"text": "x" * 60_000})
    events = [event(metadata=metadata) for _ in range(200)] + [summable(f"cust_{number}") for number in range(200)]
    outbox.append(events)
    assert outbox.counts()[:2] == (400, 400)
    with pytest.raises(OutboxFullError):
        outbox.append(events)
    with pytest.raises(OutboxFullError):
        outbox.append(events[:120])  # fewer parts than before
    got = outbox.exchange([], 1000)
    assert got.next_due == 0
    assert len(got.requests) < 200, "one call returns a few megabytes at most"
    outbox.exchange([retry(each, sent=False) for each in got.requests], 0)
    assert sorted(each.key for each in drain(outbox, 1000)) == sorted(each.key for each in events)
    with redis.client() as client:
        assert not client.keys("*stage*")


def test_many_settlements_at_once(opened: Open) -> None:
    outbox = opened()
    outbox.append([event() for _ in range(2500)])
    requests = [each for _ in range(3) for each in claimed(outbox, 5000)]
    assert len(requests) == 2500
    assert outbox.renew(requests) == requests
    assert outbox.exchange(delivered(*requests, *requests[:10]), 10).next_due is None
    assert outbox.counts()[:4] == (0, 0, 0, 0)


def test_closing_hands_claims_back_as_ambiguous(opened: Open, redis: RedisServer) -> None:
    ours, theirs = opened(), opened()
    ours.append([event()])
    (request,) = claimed(ours)
    assert claimed(theirs) == []
    ours.close()
    (again,) = claimed(theirs)
    assert (again.key, again.attempts, again.ambiguous) == (request.key, 2, True)
    with redis.client() as client:
        assert len(client.xinfo_consumers("montra:usage:{default}:requests", "senders")) == 1
        assert client.xpending("montra:usage:{default}:requests", "senders")["pending"] == 1
    ours.open(settings())
    ours.append([event()])


def test_consumers_that_are_gone_are_deleted(opened: Open, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = opened()
    gone.append([event()])
    assert len(claimed(gone)) == 1
    monkeypatch.setattr("montra_async.usage.redis.redis_outbox._LONGEST_IDLE", -1)
    new = opened()
    with redis.client() as client:
        assert client.xinfo_consumers("montra:usage:{default}:requests", "senders") == []
    assert new.counts().claimed == 1, "its claim expires as any other"


def test_a_client_of_the_users_own(opened: Open, redis: RedisServer) -> None:
    with redis.client(decode_responses=True) as text, redis.client(protocol=3) as resp3:
        for client in (text, resp3):
            outbox = opened(client=client)
            outbox.append([event("cust_é", metadata='{"a":"é"}'), summable()])
            requests = claimed(outbox, flush=True)
            assert {each.customer_id for each in requests} == {"cust_é", "cust_1"}
            assert outbox.renew(requests) == requests
            outbox.exchange([refused(requests[0]), *delivered(requests[1])], 0)
            assert len(outbox.list_parked(1)) == outbox.drop_parked() == 1
            assert outbox.counts()[:4] == (0, 0, 0, 0)
            outbox.close()
            assert client.ping(), "the connection is the user's"


def test_everything_deleted_while_in_use(opened: Open, redis: RedisServer) -> None:
    outbox = opened()
    outbox.append([event(), event()])
    held, _ = claimed(outbox)
    with redis.client() as client:
        client.flushall()
    assert outbox.exchange(delivered(held), 10).requests == []
    assert outbox.renew([held]) == []
    outbox.append([event()])
    assert len(claimed(outbox)) == 1


def test_a_deleted_group_is_created_again_and_claims_stay(opened: Open, redis: RedisServer, clock: ManualClock) -> None:
    ours, theirs = opened(), opened()
    ours.append([event() for _ in range(4)])
    first, second = claimed(ours, 2)
    ours.exchange([retry(second, sent=False, delay=5)], 0)
    with redis.client() as client:
        client.xgroup_destroy("montra:usage:{default}:requests", "senders")
    rest = claimed(theirs)
    assert len(rest) == 2
    assert not {first.id, second.id} & {each.id for each in rest}
    clock.advance(5)
    assert [each.id for each in claimed(theirs)] == [second.id]
    assert ours.renew([first]) == [first]


def test_strange_entries_keep_nothing_from_being_sent(
    opened: Open, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = opened()
    with redis.client() as client:
        for content in ("hello", "[1\n,1,1.0]", "hello,1,1.0]", b"\xff,1,1.0]", "[1,2,3,1,1.0]"):
            client.xadd("montra:usage:{default}:requests", {"b": content})
        client.xadd("montra:usage:{default}:requests", {"x": "y"})
    outbox.append([event()])
    assert len(claimed(outbox)) == 1
    assert len(caplog.records) == 3
    assert "is none of its own" in caplog.text


def test_a_sum_of_a_huge_group(opened: Open) -> None:
    outbox = opened()
    outbox.append([summable("cust_1", 2**44 - 1) for _ in range(70_000)])
    (only,) = claimed(outbox, flush=True)
    assert (only.units, only.events) == (70_000 * (2**44 - 1), 70_000)


def test_every_key_is_in_one_slot() -> None:
    from redis.crc import key_slot

    outbox = RedisOutbox("redis://127.0.0.1:1/0", name="api-1")
    keys = [*outbox._keys, f"{outbox._prefix}writer:x", f"{outbox._prefix}stage:x"]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert all(key.startswith("montra:usage:{api-1}:") for key in keys)


def test_a_cluster(tmp_path: Path) -> None:
    from redis import RedisCluster

    with redis_cluster(tmp_path) as server:
        cluster = RedisCluster(host="127.0.0.1", port=server.port)
        outbox = RedisOutbox(cluster, name="cluster")
        outbox.open(settings())
        outbox.append([event(), *(summable(f"cust_{number}") for number in range(10))])
        requests = claimed(outbox, flush=True)
        assert sum(int(amount_of(each.units, each.scale)) for each in requests) == 11
        assert outbox.renew(requests) == requests
        outbox.exchange(delivered(*requests), 0)
        assert outbox.counts()[:4] == (0, 0, 0, 0)
        outbox.close()
        cluster.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a{b}"},
        {"claim_ttl": 0},
        {"timeout": -1},
        {"patience": float("nan")},
        {"max_size": 0},
        {"max_events": 0},
        {"client": "http://user:hunter2@host/"},
        {"client": "redis://user:hunter2@host:port/"},
        {"client": "redis://user:hunter2@host/abc"},
        {"client": "rediss://user:hunter2@host:6379/1x?health_check_interval=5"},
        {"client": "redis://user:hunter2@host/-1"},
    ],
)
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisOutbox(**{"client": "redis://127.0.0.1:1/0", **wrong})
    assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


def test_what_is_no_client() -> None:
    from redis.asyncio import Redis

    for wrong in (Redis(), 5, None, object()):
        with pytest.raises(TypeError, match=r"client: a redis\.Redis, or a URL"):
            RedisOutbox(wrong)


def test_an_outbox_that_is_not_open() -> None:
    outbox = RedisOutbox("redis://127.0.0.1:1/0")
    with pytest.raises(OutboxError, match="the outbox default is not open"):
        outbox.append([event()])
    outbox.close()
    assert repr(outbox) == "<RedisOutbox default>"


def test_warnings_of_a_server_that_forgets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "montra")
    with redis_server(tmp_path, appendonly="no", maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
        outbox = RedisOutbox(server.url)
        for _ in range(2):
            outbox.open(settings())
            outbox.close()
        messages = [record.getMessage() for record in caplog.records]
        assert len(messages) == 2
        assert "appendonly no: a restart loses recorded usage" in messages[0]
        assert "maxmemory-policy allkeys-lru" in messages[1]
        with server.client() as client:
            client.acl_setuser("limited", enabled=True, nopass=True, keys="*", commands=["+@all", "-config"])
        limited = RedisOutbox(server.url.replace("127.", "limited:pw@127."))
        limited.open(settings())
        limited.close()
        assert len(caplog.records) == 2
