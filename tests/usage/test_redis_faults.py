"""`RedisOutbox` when answers are lost, and when Redis is away, restarts, is full, or refuses."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from montra_async.usage.clocks import boot_seconds
from montra_async.usage.errors import OutboxError, OutboxFullError, OutboxUncertainError
from montra_async.usage.events import Event
from montra_async.usage.redis import redis_scripts
from montra_async.usage.redis.redis_outbox import RedisOutbox

from .outbox_helpers import delivered, drain, event, refused, retry, settings, summable
from .redis_servers import LosingProxy, RedisServer, losing_proxy, needs_redis, redis_server

redis_errors = pytest.importorskip("redis.exceptions")
pytestmark = needs_redis


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[LosingProxy]:
    with losing_proxy(redis) as proxy:
        yield proxy


@pytest.fixture
def outbox(proxy: LosingProxy) -> Iterator[RedisOutbox]:
    """An outbox behind a proxy, whose calls are attempted once only."""
    outbox = RedisOutbox(proxy.url, patience=0.001, timeout=5)
    outbox.open(settings())
    outbox.append([event()])
    drain(outbox)
    yield outbox
    outbox.close()


@pytest.fixture
def patient(proxy: LosingProxy) -> Iterator[RedisOutbox]:
    """An outbox behind a proxy, whose calls are attempted again."""
    outbox = RedisOutbox(proxy.url, patience=20, timeout=5)
    outbox.open(settings())
    yield outbox
    outbox.close()


def units_left(outbox: RedisOutbox) -> int:
    return sum(int(each.units) for each in drain(outbox))


def test_a_lost_answer_doubles_nothing(patient: RedisOutbox, proxy: LosingProxy) -> None:
    for _ in range(10):
        proxy.lose()
        patient.append([summable(units=3), event(units=4)])
    assert proxy.lost == 10
    assert patient.counts().events == 20
    assert units_left(patient) == 70


def test_a_client_that_repeats_by_itself_doubles_nothing(redis: RedisServer, proxy: LosingProxy) -> None:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with Redis(port=proxy.port, retry=Retry(NoBackoff(), 3), socket_timeout=5) as client:
        outbox = RedisOutbox(client)
        outbox.open(settings())
        for _ in range(10):
            proxy.lose()
            outbox.append([summable(units=3)])
        assert proxy.lost == 10
        assert units_left(outbox) == 30
        outbox.close()


def test_appending_again_what_was_in_doubt_doubles_nothing(outbox: RedisOutbox, proxy: LosingProxy) -> None:
    first = [summable(units=1), event(units=2)]
    proxy.lose()
    with pytest.raises(OutboxUncertainError, match="no answer: it may have been done"):
        outbox.append(first)
    assert outbox.counts().events == 2
    outbox.append(first)
    assert outbox.counts().events == 2
    proxy.lose(after=1)  # that of the new writer's first call
    with pytest.raises(OutboxUncertainError):
        outbox.append([summable(units=8)])
    outbox.append([summable(units=16)])
    proxy.lose()
    with pytest.raises(OutboxUncertainError):
        outbox.append(last := [summable(units=4)])
    outbox.append([*last, summable(units=32)])
    assert units_left(outbox) == 63


@pytest.mark.parametrize("after", [1, 2], ids=["registering", "recording"])
def test_a_second_lost_answer_doubles_nothing(outbox: RedisOutbox, proxy: LosingProxy, after: int) -> None:
    """What the first one has recorded is known until an append that contains it has succeeded."""
    first, second = summable(units=100), summable(units=1)
    proxy.lose()
    with pytest.raises(OutboxUncertainError):
        outbox.append([first])
    proxy.lose(after=after)  # the first answer tells that `first` is recorded
    with pytest.raises(OutboxError):
        outbox.append([first, second])
    outbox.append([first, second])
    assert units_left(outbox) == 101


def test_what_was_recorded_is_known_while_the_outbox_is_full(redis: RedisServer) -> None:
    with losing_proxy(redis) as proxy:
        outbox = RedisOutbox(proxy.url, patience=0.001, timeout=5, max_events=1)
        outbox.open(settings())
        first = summable(units=100)
        proxy.lose(after=1)
        with pytest.raises(OutboxUncertainError):
            outbox.append([first])
        with pytest.raises(OutboxFullError):
            outbox.append([first, summable(units=1)])
        outbox.append([first])
        assert units_left(outbox) == 100
        outbox.close()


def test_a_writer_that_was_silent_for_a_week(
    outbox: RedisOutbox, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next group is told from one that was forgotten."""
    run: Any = outbox._connection.run

    def without_append(script: Any, *args: Any) -> Any:
        if script is redis_scripts.APPEND:
            raise OutboxUncertainError("no answer")
        return run(script, *args)

    redis.forget_writers()
    monkeypatch.setattr(outbox._writer, "_clock", lambda: boot_seconds() + 7 * 24 * 3600)
    with monkeypatch.context() as patched, pytest.raises(OutboxUncertainError) as caught:
        patched.setattr(outbox._connection, "run", without_append)
        outbox.append([event()])
    assert outbox.was_recorded(caught.value.group) is False


def test_an_interrupted_call_loses_nothing_of_the_next(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis.client() as client:
        outbox = RedisOutbox(client)
        outbox.open(settings())

        def interrupted(run: Any) -> Any:
            def interrupted(*args: Any) -> None:
                run(*args)
                raise KeyboardInterrupt

            return interrupted

        for call in (lambda: outbox.append([summable(units=1)]), lambda: outbox.exchange([], 9, flush=True)):
            outbox.append([summable(units=2)])
            with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
                for name in ("evalsha", "eval"):  # the server may know the script, or not
                    patched.setattr(client, name, interrupted(getattr(client, name)))
                call()
        outbox.append([summable(units=4)])
        found = outbox.exchange([], 9, flush=True)
        assert sum(int(each.units) for each in found.requests) == 1 + 2 + 2 + 4
        assert {each.attempts for each in found.requests} == {1}
        outbox.close()


def test_whether_a_group_was_recorded(outbox: RedisOutbox, proxy: LosingProxy, redis: RedisServer) -> None:
    other = RedisOutbox(redis.url)
    other.open(settings())
    proxy.lose()
    with pytest.raises(OutboxUncertainError) as caught:
        outbox.append([event()])
    assert [other.was_recorded(caught.value.group) for _ in range(2)] == [True, True]

    outbox.append([event()])
    never = f"{outbox._writer.name}-2"
    assert [other.was_recorded(never) for _ in range(2)] == [False, False]
    with pytest.raises(OutboxError, match="refused"):  # the group arrives after it was given up
        outbox.append([event()])
    assert outbox.counts().events == 2
    other.close()


def test_a_group_that_redis_has_forgotten(outbox: RedisOutbox, proxy: LosingProxy, redis: RedisServer) -> None:
    proxy.lose()
    with pytest.raises(OutboxUncertainError) as caught:
        outbox.append([event()])
    redis.forget_writers()
    assert [outbox.was_recorded(caught.value.group) for _ in range(2)] == [None, None]


def test_the_first_group_of_a_writer_that_never_arrived(outbox: RedisOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Any = outbox._connection.run

    def without_append(script: Any, *args: Any) -> Any:
        if script is redis_scripts.APPEND:
            raise OutboxUncertainError("no answer")
        return run(script, *args)

    outbox.after_fork_in_child()  # a new writer
    with monkeypatch.context() as patched, pytest.raises(OutboxUncertainError) as caught:
        patched.setattr(outbox._connection, "run", without_append)
        outbox.append([event()])
    assert outbox.was_recorded(caught.value.group) is False


def test_a_writer_that_can_not_be_registered_has_recorded_nothing(proxy: LosingProxy) -> None:
    outbox = RedisOutbox(proxy.url, patience=0.001, timeout=5)
    outbox.open(settings())
    proxy.lose()
    with pytest.raises(OutboxError) as caught:
        outbox.append([event()])
    assert type(caught.value) is OutboxError
    outbox.append([event()])
    assert outbox.counts().events == 1
    outbox.close()


def test_events_that_may_have_been_sent_expire(outbox: RedisOutbox, redis: RedisServer) -> None:
    outbox.append_ambiguous([(event(key="old", units=3), 0.0), (event(key="new"), time.time() + 1e6)])
    with redis.client() as client:
        first_sent = [float(state.split()[1]) for state in client.hvals("montra:usage:{default}:state")]
        assert max(first_sent) <= time.time(), "a clock that is ahead makes nothing younger"
    assert outbox.counts().events == 2
    found = outbox.exchange([], 9)
    assert [(each.key, each.ambiguous) for each in found.requests] == [("new", True)]
    assert [(each.key, each.reason, each.amount) for each in found.expired] == [("old", "ambiguous", 3)]
    outbox.exchange(delivered(*found.requests), 0)
    assert outbox.retry_parked() == 1
    assert [each.key for each in drain(outbox)] == ["old"]
    assert outbox.counts()[:4] == (0, 0, 0, 0)


def test_no_events_are_added_to_a_full_outbox_also_if_they_may_have_been_sent(redis: RedisServer) -> None:
    outbox = RedisOutbox(redis.url, max_events=1)
    outbox.open(settings())
    outbox.append_ambiguous([(event(), 0.0)])
    with pytest.raises(OutboxFullError, match="1 events"):
        outbox.append_ambiguous([(event(), 0.0)])
    outbox.close()


def test_what_a_lost_answer_has_claimed_is_claimed_by_the_next_call(outbox: RedisOutbox, proxy: LosingProxy) -> None:
    outbox.append([event() for _ in range(5)])
    proxy.lose()
    with pytest.raises(OutboxError):
        outbox.exchange([], 3)
    assert outbox.counts().claimed == 3
    requests = outbox.exchange([], 4).requests
    assert len(requests) == outbox.counts().claimed == 4
    assert {(each.attempts, each.ambiguous) for each in requests} == {(1, False)}
    proxy.lose()
    with pytest.raises(OutboxError):
        outbox.exchange(delivered(requests[0]), 1)
    nothing = outbox.exchange(delivered(requests[0]), 0)
    assert nothing.requests == []
    assert nothing.next_due == 0
    assert outbox.counts()[:3] == (4, 4, 3)


def test_settling_again_is_safe(patient: RedisOutbox, proxy: LosingProxy) -> None:
    patient.append([event() for _ in range(3)])
    first, second, third = patient.exchange([], 3).requests
    proxy.lose()
    found = patient.exchange([*delivered(first), retry(second, sent=False), refused(third)], 1)
    assert proxy.lost == 1
    assert [(each.id, each.attempts, each.ambiguous) for each in found.requests] == [(second.id, 2, False)]
    assert patient.counts()[:4] == (1, 1, 1, 1)


def test_dropping_again_drops_no_more(patient: RedisOutbox, proxy: LosingProxy) -> None:
    patient.append([event() for _ in range(10)])
    proxy.lose()
    assert patient.drop_oldest(4) == 4
    assert proxy.lost == 1
    assert patient.counts().events == 6


def test_a_large_group_whose_answers_are_lost(patient: RedisOutbox, proxy: LosingProxy) -> None:
    metadata = '{"text":"' + "x" * 60_000 + '"}'
    for after in range(3):
        proxy.lose(after=after)
        patient.append([event(metadata=metadata) for _ in range(150)])
    assert proxy.lost == 3
    assert patient.counts().events == 450


def test_a_large_group_is_not_recorded_when_a_part_is_lost(outbox: RedisOutbox, proxy: LosingProxy) -> None:
    metadata = '{"text":"' + "x" * 60_000 + '"}'
    proxy.lose()
    with pytest.raises(OutboxError, match="no answer") as caught:
        outbox.append([event(metadata=metadata) for _ in range(150)])
    assert not isinstance(caught.value, OutboxUncertainError)
    assert outbox.counts().events == 0
    outbox.append([event(metadata=metadata) for _ in range(80)])
    assert outbox.counts().events == 80


def test_redis_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outbox = RedisOutbox(f"redis://user:hunter2@127.0.0.1:{port}/3", patience=0.05)
    with pytest.raises(OutboxError, match=rf"^Redis at 127\.0\.0\.1:{port}/3: ConnectionError: ") as caught:
        outbox.open(settings())
    assert not isinstance(caught.value, OutboxUncertainError), "it was surely not sent"
    for call in (lambda: outbox.append([event()]), lambda: outbox.exchange([], 1), outbox.counts):
        with pytest.raises(OutboxError) as caught:
            call()
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "hunter2" not in "".join(shown.format())
    outbox.close()


def test_a_wrong_password_is_in_no_message(tmp_path: Path) -> None:
    with redis_server(tmp_path, requirepass="right-password") as server:
        outbox = RedisOutbox(server.url.replace("127.", ":hunter2@127."), patience=20)
        with pytest.raises(OutboxError, match="wrong password, or wrong user") as caught:  # without waiting
            outbox.open(settings())
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "hunter2" not in "".join(shown.format())


def test_the_password_of_a_client_of_the_users_is_in_no_message() -> None:
    import redis

    with redis.Redis(port=1, password="hunter2") as client:
        outbox = RedisOutbox(client, patience=0.01)
        client.execute_command = _repeat_the_password  # type: ignore[method-assign]
        with pytest.raises(OutboxError) as caught:
            outbox.open(settings())
    assert "hunter2" not in str(caught.value)


def _repeat_the_password(*_: object, **__: object) -> None:
    import redis

    raise redis.ResponseError("unknown command: AUTH hunter2")


def test_a_missing_password_is_named(tmp_path: Path) -> None:
    with redis_server(tmp_path, requirepass="right-password") as server:
        outbox = RedisOutbox(server.url, patience=20)
        with pytest.raises(OutboxError, match="no password given"):
            outbox.open(settings())


def test_a_redis_that_does_not_answer_is_waited_for_as_long_as_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outbox = RedisOutbox(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=0.1, patience=0.2)
        with pytest.raises(OutboxError, match="TimeoutError"):
            outbox.open(settings())


def test_a_restart_within_a_call(tmp_path: Path) -> None:
    with redis_server(tmp_path, appendonly="yes", appendfsync="always") as server:
        outbox = RedisOutbox(server.url, patience=20)
        outbox.open(settings())
        outbox.append([summable(units=1), event(units=2)])
        (held, _) = outbox.exchange([], 2, flush=True).requests
        server.kill()
        starting = threading.Thread(target=server.start)
        starting.start()
        outbox.append([summable(units=4)])
        starting.join(20)
        assert outbox.counts()[:3] == (3, 3, 2)
        assert outbox.renew([held]) == [held]
        outbox.close()


def failing_once(outbox: RedisOutbox, error: Exception) -> list[str]:
    """Make the next call of the client fail; the calls that were made since."""
    client: Any = outbox._connection._client
    calls: list[str] = []

    class Client:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            if len(calls) == 1:
                raise error
            return getattr(client, name)

    outbox._connection._client = Client()
    return calls


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.BusyLoadingError("Redis is loading the dataset in memory"),
        redis_errors.MasterDownError("Link with MASTER is down"),
        redis_errors.ClusterDownError("The cluster is down"),
        redis_errors.TryAgainError("Multiple keys request during rehashing of slot"),
        redis_errors.ResponseError("BUSY Redis is busy running a script."),
        redis_errors.ConnectionError("Connection closed by server."),
        redis_errors.TimeoutError("Timeout reading from socket"),
        OSError("broken pipe"),
    ],
)
def test_errors_that_pass_are_waited_for(patient: RedisOutbox, error: Exception) -> None:
    calls = failing_once(patient, error)
    patient.append([event()])
    assert calls[:2] == ["evalsha", "evalsha"]
    assert patient.counts().events == 1


@pytest.mark.parametrize(
    ("error", "uncertain"),
    [
        (redis_errors.ResponseError("ERR unknown command"), False),
        (redis_errors.NoPermissionError("this user has no permissions to run the 'evalsha' command"), False),
        (redis_errors.AuthenticationError("invalid username-password pair"), False),
        (ZeroDivisionError("a mistake of the client"), True),
    ],
)
def test_errors_that_stay_are_raised_at_once(patient: RedisOutbox, error: Exception, uncertain: bool) -> None:
    patient.append([event()])
    calls = failing_once(patient, error)
    with pytest.raises(OutboxError, match=f"{type(error).__name__}: ") as caught:
        patient.append([event()])
    assert isinstance(caught.value, OutboxUncertainError) == uncertain
    assert calls == ["evalsha"]
    patient.append([event()])
    assert patient.counts().events == 2


def test_redis_is_needed_for_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install 'montra\[redis\]'"):
        RedisOutbox("redis://127.0.0.1:1/0")


def test_scripts_that_were_forgotten(redis: RedisServer, outbox: RedisOutbox) -> None:
    with redis.client() as client:
        client.script_flush()
        outbox.append([summable()])
        client.script_flush()
        assert len(outbox.exchange([], 10, flush=True).requests) == 1


def test_a_replica_that_becomes_the_master(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, server.client() as client:
        quick, patient = RedisOutbox(server.url, patience=0.001), RedisOutbox(server.url, patience=20)
        for one in (quick, patient):
            one.open(settings())
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(OutboxError, match="ReadOnlyError"):
            quick.append([event()])
        promoting = threading.Timer(0.1, client.replicaof, ("NO", "ONE"))
        promoting.start()
        patient.append([event()])
        promoting.join()
        assert patient.counts().events == 1
        for one in (quick, patient):
            one.close()


def test_redis_without_memory_can_be_emptied(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, server.client() as client:
        outbox = RedisOutbox(server.url, patience=20)
        outbox.open(settings(coalesce_window=0.001))
        outbox.append([event() for _ in range(10)])
        outbox.append([summable()])
        client.config_set("maxmemory", "1")
        with pytest.raises(OutboxError, match="OutOfMemoryError") as caught:  # without waiting
            outbox.append([event()])
        assert not isinstance(caught.value, (OutboxUncertainError, OutboxFullError))
        assert outbox.drop_oldest(1) == 1
        first, second, *rest = outbox.exchange([], 100, flush=True).requests
        assert outbox.renew([first]) == [first]
        outbox.exchange([*delivered(*rest), retry(first, sent=True), refused(second)], 0)
        assert outbox.counts()[:4] == (1, 1, 0, 1)
        assert outbox.drop_parked() == 1
        outbox.close()


def test_a_key_of_another_kind_is_an_error_of_ours(redis: RedisServer, outbox: RedisOutbox) -> None:
    with redis.client() as client:
        client.delete("montra:usage:{default}:requests")
        client.set("montra:usage:{default}:requests", "something else")
    with pytest.raises(OutboxError, match="WRONGTYPE"):
        outbox.exchange([], 1)


def test_claims_that_can_not_be_handed_back_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with redis_server(tmp_path, appendonly="yes") as server:
        outbox = RedisOutbox(server.url, patience=0.001)
        outbox.open(settings())
        server.kill()
        with caplog.at_level(logging.WARNING, "montra"):
            outbox.close()
        assert "were not handed back, and will expire: Redis at" in caplog.text


def in_child(work: Any) -> None:
    """Run something in a forked child, which must end well."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_its_own_claims_and_numbers(redis: RedisServer, own: bool) -> None:
    with redis.client() as client:
        outbox = RedisOutbox(redis.url if own else client)
        outbox.open(settings())
        outbox.append([event(), event()])
        (held,) = outbox.exchange([], 1).requests

        def child() -> None:
            outbox.after_fork_in_child()
            outbox.append([event("cust_child")])
            assert outbox.renew([held]) == []
            requests = outbox.exchange([], 10).requests
            assert len(requests) == 2
            outbox.exchange(delivered(*requests), 0)
            outbox.close()

        outbox.before_fork()
        in_child(child)
        outbox.append([event("cust_parent")])
        assert outbox.renew([held]) == [held]
        (request,) = outbox.exchange(delivered(held), 10).requests
        assert request.customer_id == "cust_parent"
        outbox.close()


def test_random_lost_answers(redis: RedisServer, proxy: LosingProxy) -> None:
    """Two outboxes, one of which loses every third answer or so."""
    losing, sending = RedisOutbox(proxy.url, patience=20), RedisOutbox(redis.url)
    for one in (losing, sending):
        one.open(settings(coalesce_window=0.01))
    units, got = 0, 0
    keys: set[str] = set()
    for number in range(100):
        events: list[Event] = [summable(f"cust_{number % 3}", number), event(units=1)]
        proxy.lose(after=number % 3)
        losing.append(events)
        units += number + 1
        requests = (losing if number % 2 else sending).exchange([], number % 7).requests
        assert not keys & {each.key for each in requests}, "claimed by two"
        keys |= {each.key for each in requests}
        got += sum(int(each.units) for each in requests)
        (losing if number % 2 else sending).exchange(delivered(*requests), 0)
    proxy.lose(0)
    got += units_left(sending)
    assert proxy.lost > 30
    assert got == units
    for one in (losing, sending):
        one.close()


def test_time_is_redis_time(redis: RedisServer) -> None:
    """Without the tests' clock: windows, delays and claims end by themselves."""
    outbox = RedisOutbox(redis.url, claim_ttl=0.05)
    outbox.open(settings(coalesce_window=0.05))
    outbox.append([summable(recorded_at=time.time())])
    assert outbox.exchange([], 1).requests == []
    for attempt in (1, 2):
        while not (requests := outbox.exchange([], 1).requests):
            time.sleep(0.005)
        assert requests[0].attempts == attempt
    assert 0 <= outbox.counts().oldest_age < 600
    outbox.close()
