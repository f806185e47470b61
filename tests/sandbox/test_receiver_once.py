"""An event is handled once per namespace, also through rotations, replays and failures of the store."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from montra_async.webhooks import (
    PAYWALL,
    AsyncStoreAdapter,
    Claim,
    DeduplicationStore,
    MemoryStore,
    Reply,
    WebhookEvent,
    WebhookReceiver,
    claims,
)
from montra_async.webhooks.claims import event_keys, namespaces
from montra_async.webhooks.signature import sign, signing_secrets

A, B, C = "whsec_of_tenant_a", "whsec_of_tenant_b", "whsec_of_tenant_c"
DAY = timedelta(days=1)


def delivered(secret: str, event_id: str = "evt_1", **more: Any) -> tuple[bytes, dict[str, str]]:
    now = datetime.now(timezone.utc).isoformat()
    body = json.dumps({"id": event_id, "type": "x.y", "created_at": now, "data": None, **more}).encode()
    return body, {"Montra-Signature": sign(body, secret), "X-Signature": sign(body, secret)}


def undated(secret: str) -> tuple[bytes, dict[str, str]]:
    body = b'{"id":"evt_1","type":"x.y"}'
    return body, {"Montra-Signature": sign(body, secret)}


def counting(secret: Any, store: Any, **more: Any) -> tuple[WebhookReceiver, list[str]]:
    receiver, handled = WebhookReceiver(secret, store=store, **more), []
    receiver.on("*")(lambda event: handled.append(event.id))
    return receiver, handled


def said(reply: Reply) -> str:
    words: str = json.loads(reply.body)["status"]
    return words


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RETRY_DELAYS", (0.0,) * len(claims.RETRY_DELAYS))


# Endpoints that share a store


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"secret": A}, {"secret": B}, False),
        ({"secret": A}, {"secret": A, "source": PAYWALL}, False),
        ({"secret": A, "namespace": "a"}, {"secret": A, "namespace": "b"}, False),
        ({"secret": A, "namespace": "a"}, {"secret": B, "namespace": "a"}, True),
        ({"secret": A, "namespace": "a"}, {"secret": A, "namespace": "a", "source": PAYWALL}, False),
        ({"secret": A, "namespace": "a"}, {"secret": A}, False),
        ({"secret": A}, {"secret": A}, True),
        ({"secret": A}, {"secret": [B, A]}, True),
        ({"secret": [A, B]}, {"secret": B}, True),
        ({"secret": [A, B]}, {"secret": [B, C]}, True),
        ({"secret": [A, B]}, {"secret": C}, False),
    ],
)
async def test_one_endpoint_does_not_suppress_anothers_events(
    first: dict[str, Any],
    second: dict[str, Any],
    same: bool,
    store: DeduplicationStore,
) -> None:
    receivers: list[list[str]] = []
    for more in (first, second):
        secret = more["secret"]
        receiver, handled = counting(store=store, **more)
        receivers.append(handled)
        for _ in range(2):
            signed = delivered(secret if isinstance(secret, str) else secret[0])
            assert (await receiver.handle(*signed)).status == 200
    assert [len(handled) for handled in receivers] == [1, 0 if same else 1]


FACTS = st.tuples(st.sampled_from(["montra", "paywall"]), st.none() | st.text(max_size=4), st.text(max_size=4))


@given(st.sets(FACTS, max_size=8))
def test_no_two_events_share_a_key(facts: set[tuple[str, str | None, str]]) -> None:
    secrets = signing_secrets([A, B])
    keys = [key for source, endpoint, one in facts for key in event_keys(source, namespaces(endpoint, secrets), one)]
    assert len(set(keys)) == len(keys) == sum(2 if endpoint is None else 1 for _, endpoint, _ in facts)
    assert all(len(key) == 64 for key in keys)


async def test_ids_of_any_length_and_kind_are_remembered(store: DeduplicationStore) -> None:
    receiver, handled = counting(A, store)
    for event_id in ("\ud800", "x" * 100_000, "\0", "e\nid: forged", "é"):
        assert [said(await receiver.handle(*delivered(A, event_id))) for _ in range(2)] == ["done", "duplicate"]
    assert len(handled) == 5


async def test_neither_ids_nor_secrets_are_in_a_store() -> None:
    store = MemoryStore()
    await counting(A, store)[0].handle(*delivered(A))
    assert len(store._events) == 1
    assert "evt_1" not in str(store._events)
    assert A not in str(store._events)


# Rotations and replays


@pytest.mark.parametrize("steps", [([A], [B, A], [B]), ([A, B], [B, C], [C]), ([A], [A, B], [A, B, C], [C])])
async def test_a_rotation_opens_no_replays(steps: tuple[list[str], ...], store: DeduplicationStore) -> None:
    """An event that was accepted during an overlap of secrets is recognized under every later secret."""
    receiver, handled = counting(steps[0], store)
    for secrets in steps:
        receiver.secrets = secrets
        for secret in secrets:
            assert (await receiver.handle(*delivered(secret))).status == 200
    assert handled == ["evt_1"]


async def test_a_namespace_survives_a_rotation_without_an_overlap(store: DeduplicationStore) -> None:
    receiver, handled = counting(A, store, namespace="shop")
    for secret in (A, B, C):
        receiver.secrets = secret
        assert (await receiver.handle(*delivered(secret))).status == 200
    assert handled == ["evt_1"]


class Clocked(MemoryStore):
    def __init__(self, **more: Any) -> None:
        self.now = 1e9
        super().__init__(clock=lambda: self.now, **more)


@pytest.mark.parametrize("settings", [{}, {"max_age": None}])
async def test_an_event_without_a_time_can_never_be_replayed(settings: dict[str, Any]) -> None:
    store = Clocked()
    receiver, handled = counting(A, store, **settings)
    for years in (0, 1, 1000):
        store.now = 1e9 + years * 3.2e7
        assert (await receiver.handle(*undated(A))).status == 200
    assert handled == ["evt_1"]


async def test_without_max_age_nothing_is_forgotten() -> None:
    store = Clocked()
    receiver, handled = counting(A, store, max_age=None)
    old = delivered(A, created_at="2001-01-01T00:00:00Z")
    for years in (0, 1, 1000):
        store.now = 1e9 + years * 3.2e7
        assert (await receiver.handle(*old)).status == 200
    assert handled == ["evt_1"]


async def test_an_event_without_a_time_can_be_refused() -> None:
    receiver, handled = counting(A, MemoryStore(), require_created_at=True)
    assert (await receiver.handle(*undated(A))).status == 400
    assert handled == []


@pytest.mark.parametrize(
    ("max_age", "skew", "retention", "right"),
    [
        (DAY, timedelta(hours=1), 25 * 3600, True),
        (DAY, timedelta(hours=1), 25 * 3600 - 1, False),
        (DAY, timedelta(0), 24 * 3600, True),
        (timedelta.max, timedelta.max, 3600, False),
        (timedelta.max, DAY, None, True),
        (None, DAY, 1, True),  # nothing is forgotten then
    ],
)
def test_the_retention_must_cover_max_age_and_clock_skew(
    max_age: Any, skew: timedelta, retention: Any, right: bool
) -> None:
    store = MemoryStore(retention=retention)
    with contextlib.nullcontext() if right else pytest.raises(ValueError, match="forgets events after"):
        WebhookReceiver(A, store=store, max_age=max_age, clock_skew=skew)


def test_a_custom_store_must_be_able_to_keep_events_for_ever() -> None:
    class Old:
        def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
            return Claim.ACQUIRED

        def renew(self, key: str, token: str, claim_ttl: float) -> bool:
            return True

        def done(self, key: str, token: str) -> bool:
            return True

        def release(self, key: str, token: str) -> None:
            pass

    with pytest.raises(TypeError, match="forever"):
        WebhookReceiver(A, store=Old())  # type: ignore[arg-type]

    class Any_(MemoryStore):  # noqa: N801
        def done(self, *args: Any, **more: Any) -> bool:
            return super().done(*args, **more)

    WebhookReceiver(A, store=Any_())


# A store that fails


class Shaky:
    """An async store that fails as it is told: before a call takes effect, or afterwards. `.` and `,` are pauses."""

    def __init__(self, script: Iterator[str], **more: Any) -> None:
        self.memory = MemoryStore(**more)
        self.script = script
        self.failed: list[str] = []

    async def _shake(self, what: str, work: Callable[[], Any]) -> Any:
        step = next(self.script, "")
        for _ in range(step.count(".")):
            await asyncio.sleep(0)
        if "before" in step:
            self.failed.append(what)
            raise OSError("before")
        result = work()
        for _ in range(step.count(",")):
            await asyncio.sleep(0)
        if "after" in step:
            self.failed.append(what)
            raise OSError("after")
        return result

    async def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        found: Claim = await self._shake("claim", lambda: self.memory.claim(key, token, claim_ttl))
        return found

    async def renew(self, key: str, token: str, claim_ttl: float) -> bool:
        return self.memory.renew(key, token, claim_ttl)

    async def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        found: bool = await self._shake("done", lambda: self.memory.done(key, token, forever=forever))
        return found

    async def release(self, key: str, token: str) -> None:
        await self._shake("release", lambda: self.memory.release(key, token))


class ShakyPlain(MemoryStore):
    """The same as a store with plain methods, which the caller's thread or a thread of the receiver calls."""

    blocking = True

    def __init__(self, script: Iterator[str], **more: Any) -> None:
        super().__init__(**more)
        self.script = script

    def _shake(self, work: Callable[[], Any]) -> Any:
        step = next(self.script, "")
        if "before" in step:
            raise OSError("before")
        result = work()
        if "after" in step:
            raise OSError("after")
        return result

    def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        found: Claim = self._shake(lambda: MemoryStore.claim(self, key, token, claim_ttl))
        return found

    def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        found: bool = self._shake(lambda: MemoryStore.done(self, key, token, forever=forever))
        return found

    def release(self, key: str, token: str) -> None:
        self._shake(lambda: MemoryStore.release(self, key, token))


Way: TypeAlias = "Callable[[WebhookReceiver, tuple[bytes, dict[str, str]]], Awaitable[Reply]]"


async def _handled(receiver: WebhookReceiver, signed: tuple[bytes, dict[str, str]]) -> Reply:
    return await receiver.handle(*signed)


async def _handled_blocking(receiver: WebhookReceiver, signed: tuple[bytes, dict[str, str]]) -> Reply:
    return receiver.handle_blocking(*signed)


def _shaky(script: Iterator[str], **more: Any) -> AsyncStoreAdapter:
    return AsyncStoreAdapter(Shaky(script, **more))


every_way = pytest.mark.parametrize(
    ("shaky", "way"),
    [(_shaky, _handled), (ShakyPlain, _handled), (ShakyPlain, _handled_blocking)],
    ids=["async store", "plain store", "blocking"],
)


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("times", [1, len(claims.RETRY_DELAYS)])
@every_way
async def test_marking_an_event_is_retried(
    how: str, times: int, shaky: Any, way: Way, no_pauses: None, caplog: pytest.LogCaptureFixture
) -> None:
    receiver, handled = counting(A, shaky(iter(["", *[how] * times])))
    assert [said(await way(receiver, delivered(A))) for _ in range(2)] == ["done", "duplicate"]
    assert handled == ["evt_1"]
    assert "trying again" in caplog.text
    assert "twice" not in caplog.text


@every_way
async def test_an_event_that_can_not_be_marked(
    shaky: Any, way: Way, no_pauses: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The sender is told that the event was handled; when it comes again after the claim's TTL, it is handled again."""
    script = ["", *["before"] * (len(claims.RETRY_DELAYS) + 1)]
    now = [0.0]
    receiver, handled = counting(A, shaky(iter(script), clock=lambda: now[0]))
    reply = await way(receiver, delivered(A))
    assert (reply.status, "could not be recorded" in reply.body.decode()) == (200, True)
    assert "the store failed: if it comes again" in caplog.text
    assert (await way(receiver, delivered(A))).status == 503
    now[0] += 61
    assert [said(await way(receiver, delivered(A))) for _ in range(2)] == ["done", "duplicate"]
    assert len(handled) == 2


@every_way
async def test_releasing_an_event_is_retried(shaky: Any, way: Way, no_pauses: None) -> None:
    receiver = WebhookReceiver(A, store=shaky(iter(["", "before", "after"])))
    outcomes = [ValueError("no"), None]

    @receiver.on("*")
    async def handler(_: WebhookEvent) -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    assert [(await way(receiver, delivered(A))).status for _ in range(2)] == [500, 200]


async def test_an_event_whose_claim_expired_unnoticed_is_marked(caplog: pytest.LogCaptureFixture) -> None:
    """Redis has forgotten the claim, and nobody has taken the event since: it was handled, and that is remembered."""
    store = MemoryStore()
    receiver = WebhookReceiver(A, store=store)
    handled: list[str] = []

    @receiver.on("*")
    def handler(event: WebhookEvent) -> None:
        handled.append(event.id)
        store._events.clear()

    assert [said(await receiver.handle(*delivered(A))) for _ in range(2)] == ["done", "duplicate"]
    assert len(handled) == 1
    assert caplog.text == ""


async def test_a_handler_that_raises_cancelled_error_has_failed(store: DeduplicationStore) -> None:
    """The task was not cancelled: the sender gets a response, and the next delivery is handled."""
    if not hasattr(asyncio.Task, "cancelling"):
        pytest.skip("Python 3.10 can't tell whose cancellation it is")
    receiver = WebhookReceiver(A, store=store)
    outcomes: list[Any] = [asyncio.CancelledError(), None]

    @receiver.on("*")
    async def handler(_: WebhookEvent) -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    assert [(await receiver.handle(*delivered(A))).status for _ in range(2)] == [500, 200]


@pytest.mark.parametrize("at", ["handler", "done"])
async def test_a_cancellation_is_raised_although_the_store_fails(at: str) -> None:
    """Not the store's error."""
    begun = asyncio.Event()

    class Broken(Shaky):
        async def release(self, key: str, token: str) -> None:
            raise OSError("away")

        async def done(self, key: str, token: str, *, forever: bool = False) -> bool:
            begun.set()
            await asyncio.sleep(60 if at == "done" and not begun.is_set() else 0)
            raise OSError("away")

    receiver = WebhookReceiver(A, store=AsyncStoreAdapter(Broken(iter(()))))

    @receiver.on("*")
    async def handler(_: WebhookEvent) -> None:
        if at == "handler":
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(receiver._handle(*delivered(A)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_event_that_was_handled_as_the_loop_ended_is_marked() -> None:
    class Slow(Shaky):
        first = True

        async def done(self, key: str, token: str, *, forever: bool = False) -> bool:
            if self.first:
                self.first = False
                begun.set()
                await asyncio.sleep(60)
            return await super().done(key, token, forever=forever)

    begun, slow = asyncio.Event(), AsyncStoreAdapter(Slow(iter(())))
    receiver, handled = counting(A, slow)
    task = asyncio.create_task(receiver._handle(*delivered(A)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said(await receiver.handle(*delivered(A))) == "duplicate"
    assert handled == ["evt_1"]


# Any interleaving

PACE, FAILURE = st.sampled_from(["", ".", "..", ",", ",,", ".,"]), st.sampled_from(["", "", "", "before", "after"])
STEPS = st.lists(st.builds(str.__add__, PACE, FAILURE), max_size=25)
DELIVERIES = st.lists(st.tuples(st.sampled_from([0, 0, 1]), st.integers(0, 6)), min_size=1, max_size=5)
HANDLERS = st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6)


class Handler:
    """Counts how many handle the event at once, and fails as the script says."""

    def __init__(self, script: list[tuple[int, bool]]) -> None:
        self.script = iter(script)
        self.running = self.most = self.succeeded = 0

    async def __call__(self, _: WebhookEvent) -> None:
        pauses, fails = next(self.script, (1, False))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(pauses):
                await asyncio.sleep(0)
            if fails:
                raise ValueError("as told")
            self.succeeded += 1
        finally:
            self.running -= 1


async def interleave(steps: list[str], deliveries: list[tuple[int, int]], script: list[tuple[int, bool]]) -> None:
    """Deliveries to two processes in the middle of a rotation, [B, A] and [A], that share a store which fails."""
    now = [1e9]
    shaky = Shaky(iter(steps), clock=lambda: now[0])
    handler = Handler(script)
    receivers = [WebhookReceiver(secrets, store=AsyncStoreAdapter(shaky)) for secrets in ([B, A], A)]
    for receiver in receivers:
        receiver.on("*")(handler)
    answers: list[Reply] = []

    async def deliver(to: int, delay: int) -> None:
        for _ in range(delay):
            await asyncio.sleep(0)
        reply = await receivers[to].handle(*delivered(A))
        assert reply.status != 200 or handler.succeeded
        answers.append(reply)

    await asyncio.gather(*(deliver(*one) for one in deliveries))
    shaky.script = iter(())  # the store is well again
    for _ in range(20):  # and the sender goes on until it is answered with 2xx
        if any(one.status == 200 for one in answers):
            break
        now[0] += 61
        await deliver(0, 0)
    assert handler.succeeded >= 1
    assert handler.most == 1
    if shaky.failed.count("done") < len(claims.RETRY_DELAYS):
        now[0] += 61
        await deliver(1, 0)
        assert handler.succeeded == 1


@given(STEPS, DELIVERIES, HANDLERS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_handled_at_most_once_at_a_time_and_never_lost(
    no_pauses: None, steps: list[str], deliveries: list[tuple[int, int]], script: list[tuple[int, bool]]
) -> None:
    asyncio.run(interleave(steps, deliveries, script))


@pytest.mark.hostile
@given(STEPS, DELIVERIES, HANDLERS)
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_interleavings_at_length(
    no_pauses: None, steps: list[str], deliveries: list[tuple[int, int]], script: list[tuple[int, bool]]
) -> None:
    asyncio.run(interleave(steps, deliveries, script))
