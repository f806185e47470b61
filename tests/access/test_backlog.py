"""What waits in the outbox when a process starts counts against limits."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from montra_async import Montra
from montra_async.access import Access, LimitExceededError
from montra_async.usage import (
    Event,
    MemoryOutbox,
    OutboxError,
    OutboxSettings,
    SpillingOutbox,
    SqliteOutbox,
    UsageReporter,
    WaitingSum,
)
from montra_async.usage.events import units_of

from .conftest import Service

BASE_URL = "http://127.0.0.1:9"
MONTRA = Montra("sk_test_sandbox", BASE_URL)


def reporter(path: Path) -> UsageReporter:
    """One that sends nothing, as if the service were down."""
    return UsageReporter(MONTRA, SqliteOutbox(path), send=False)


def make(service: Service, usage: UsageReporter) -> Access:
    montra: Any = service
    return Access(montra, usage)


async def assert_free(access: Access, units: int) -> None:
    with pytest.raises(LimitExceededError):
        await access.hold("c", "m", estimate=units + 1)
    hold = await access.hold("c", "m", estimate=units)
    await hold.release()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """An outbox in which 60 units wait from an earlier run."""
    path = tmp_path / "usage.db"
    async with reporter(path) as usage:
        await usage.record("c", "m", amount=20)
        await usage.record("c", "m", amount=Decimal("39.5"), metadata={"a": 1})
        await usage.record("c", "m", amount=Decimal("0.5"))
        await usage.record("d", "m", amount=1000)
    return path


async def test_with_the_start_of_the_reporter(path: Path, service: Service) -> None:
    service.limit = 100
    usage = reporter(path)
    access = make(service, usage)
    async with usage, access:
        await assert_free(access, 40)


async def test_with_the_first_event(path: Path, service: Service) -> None:
    service.limit = 100
    usage = reporter(path)
    async with make(service, usage) as access:
        await usage.record("c", "m", amount=10)  # not counted twice
        await assert_free(access, 30)
        await usage.aclose()
        await usage.record("c", "m", amount=10)  # the outbox is opened again
        await assert_free(access, 20)
        await usage.aclose()


async def test_an_access_that_is_made_later(path: Path, service: Service) -> None:
    service.limit = 100
    async with reporter(path) as usage:
        await usage.record("c", "m", amount=10)
        async with make(service, usage) as access:
            await usage.record("c", "m", amount=5)
            await usage.record("e", "m")  # by now, the writer has told what waits
            with pytest.raises(LimitExceededError):
                await access.hold("c", "m", estimate=26)


async def test_an_outbox_that_can_not_say(service: Service) -> None:
    service.limit = 100
    usage = UsageReporter(MONTRA, MemoryOutbox(), send=False)
    async with usage, make(service, usage) as access:
        await assert_free(access, 100)


class Unusable(SqliteOutbox):
    def waiting_sums(self, limit: int) -> list[WaitingSum]:
        raise OutboxError("broken")


async def test_recording_goes_on_without_it(path: Path, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.limit = 100
    usage = UsageReporter(MONTRA, Unusable(path), send=False)
    access = make(service, usage)
    async with usage, access:
        await usage.record("c", "m", amount=1)
        await assert_free(access, 99)
    assert "what waits in the outbox is not counted" in caplog.text


EXACT = st.one_of(st.integers(0, 2**53), st.integers(0, 10**30), st.decimals(0, 10**6, places=4))
RECORDED = st.lists(st.tuples(st.sampled_from("cd"), st.sampled_from("mn"), EXACT), max_size=30)


def append(outbox: SqliteOutbox, recorded: Sequence[tuple[str, str, int | Decimal]]) -> None:
    events = []
    for number, (customer_id, meter_slug, amount) in enumerate(recorded):
        units, scale = units_of(amount)
        events.append(
            Event(
                key=f"key{number}",
                customer_id=customer_id,
                meter_slug=meter_slug,
                units=units,
                scale=scale,
                metadata=None,
                recorded_at=1.7e9,
                coalescable=bool(number % 2),
            )
        )
    if events:
        outbox.append(events)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recorded=RECORDED, claimed=st.integers(0, 10))
def test_sums_are_exact(
    tmp_path_factory: pytest.TempPathFactory, recorded: list[tuple[str, str, int | Decimal]], claimed: int
) -> None:
    outbox = SqliteOutbox(tmp_path_factory.mktemp("sums") / "usage.db")
    outbox.open(OutboxSettings(base_url=BASE_URL))
    try:
        append(outbox, recorded)
        outbox.exchange([], claimed)
        expected: Counter[tuple[str, str]] = Counter()
        for customer_id, meter_slug, amount in recorded:
            expected[customer_id, meter_slug] += int(Fraction(amount) * 10**4)
        found: Counter[tuple[str, str]] = Counter()
        for one in outbox.waiting_sums(1000):
            found[one.customer_id, one.meter_slug] += int(Fraction(one.amount) * 10**4)
        assert +found == +expected
        assert len(outbox.waiting_sums(1)) <= 1
    finally:
        outbox.close()


def test_sums_beyond_what_sqlite_adds(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "usage.db")
    outbox.open(OutboxSettings(base_url=BASE_URL))
    append(outbox, [("c", "m", 2**53 - 1)])
    outbox.close()
    with closing(sqlite3.connect(tmp_path / "usage.db")) as db, db:
        db.execute("UPDATE event SET units = ?", (2**62,))
        for _ in range(3):
            columns = (
                "key, customer_id, meter_slug, units, scale, metadata, recorded_at, coalescable,"
                " recorded_boot, boot_number"
            )
            db.execute(f"INSERT INTO event ({columns}) SELECT {columns} FROM event LIMIT 1")
    outbox.open(OutboxSettings(base_url=BASE_URL))
    assert outbox.waiting_sums(10) == [WaitingSum("c", "m", 2**64)]
    outbox.close()


def test_a_spilling_outbox_adds_both(tmp_path: Path) -> None:
    spill = SqliteOutbox(tmp_path / "spill.db")
    outbox = SpillingOutbox(SqliteOutbox(tmp_path / "usage.db"), spill)
    outbox.open(OutboxSettings(base_url=BASE_URL))
    append(outbox.primary, [("c", "m", 5)])  # type: ignore[arg-type]
    append(spill, [("c", "m", 6)])
    assert sum(one.amount for one in outbox.waiting_sums(10)) == 11
    outbox.close()
