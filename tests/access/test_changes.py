"""Access with the sandbox: our own writes, webhooks, the reporter, and answers on disk."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from montra_async import ApiError, ConfigError, Customer, Montra, NetworkError, NotFoundError, PricingModel
from montra_async.access import Access, LimitExceededError, watching
from montra_async.usage import MemoryOutbox, UsageReporter
from montra_async.webhooks import MemoryStore, WebhookReceiver, sign
from montra_sandbox import Sandbox

from .conftest import CALL, Clock, Service

SECRET = "whsec_0123456789abcdef0123456789abcdef"


@attrs.frozen
class Shop:
    free: PricingModel
    pro: PricingModel
    ada: Customer


@pytest.fixture
async def shop(montra: Montra) -> Shop:
    free = await montra.create_pricing_model(name="Free", is_default=True)
    pro = await montra.create_pricing_model(name="Pro")
    for model in (free, pro):
        await montra.create_meter(name="T", slug="tokens", pricing_model_id=model.id)
    return Shop(free, pro, await montra.create_customer(name="Ada", email="ada@example.com"))


@pytest.fixture
async def access(montra: Montra) -> AsyncIterator[Access]:
    async with Access(montra, ttl=1000, deny_ttl=1000) as made:
        yield made


class TestOwnWrites:
    async def test_subscriptions(self, access: Access, montra: Montra, shop: Shop) -> None:
        await montra.create_feature(shop.pro.id, name="SSO", slug="sso")
        own = access.watch(montra).with_options(max_attempts=1)

        async def has_sso() -> bool:
            return (await access.check(shop.ada.id, feature="sso")).allowed

        assert not await has_sso()
        subscription = await own.create_subscription(shop.ada.id, shop.free.id)
        assert access.peek(shop.ada.id, feature="sso").source == "stale"
        assert not await has_sso()
        await own.upgrade_subscription(subscription.id, shop.pro.id)
        assert await has_sso()
        await montra.pause_subscription(subscription.id)
        assert access.peek(shop.ada.id, feature="sso").source == "cached"  # the client itself is not watched
        await own.resume_subscription(subscription.id)
        assert access.peek(shop.ada.id, feature="sso").source == "stale"

    async def test_features_are_for_everybody(self, access: Access, montra: Montra, shop: Shop) -> None:
        own = access.watch(montra)
        assert not await access.check(shop.ada.id, feature="sso")
        feature = await own.create_feature(shop.free.id, name="SSO", slug="sso")
        assert await access.check(shop.ada.id, feature="sso")
        await own.update_feature(feature.id, status="Archived")
        assert not await access.check(shop.ada.id, feature="sso")
        await own.list_features()
        await own.report_usage(shop.ada.id, "tokens")
        await own.update_customer(shop.ada.id, name="Ada L.")
        assert access.peek(shop.ada.id, feature="sso").source == "stale"

    async def test_reads_and_usage_change_nothing(self, access: Access, montra: Montra, shop: Shop) -> None:
        own = access.watch(montra)
        await access.check(shop.ada.id, meter="tokens")
        await own.list_features()
        await own.report_usage(shop.ada.id, "tokens")
        with pytest.raises(NotFoundError):
            await own.pause_subscription("sub_none")
        assert access.peek(shop.ada.id, meter="tokens").source == "cached"

    async def test_a_write_that_may_have_happened(
        self, access: Access, unwatched: Montra, sandbox: Sandbox, shop: Shop
    ) -> None:
        own = access.watch(unwatched).with_options(max_attempts=1)
        await access.check(shop.ada.id, meter="tokens")
        sandbox.add_fault(kind="status", path="/subscriptions", status=500, times=1)
        with pytest.raises(ApiError):
            await own.create_subscription(shop.ada.id, shop.free.id)
        assert access.peek(shop.ada.id, meter="tokens").source == "stale"

    def test_what_may_have_happened(self) -> None:
        assert watching.may_have_written(NetworkError("reset", CALL))
        assert not watching.may_have_written(NetworkError("refused", CALL, sent=False))
        assert watching.may_have_written(asyncio.CancelledError())
        assert not watching.may_have_written(ConfigError("no key"))


class TestWebhooks:
    @pytest.mark.parametrize(("kind", "data"), [
        ("subscription.updated", {"id": "sub_1", "customer_id": "c", "status": "active"}),
        ("customer.updated", {"id": "c", "email": "c@example.com"}),
        ("usage.limit_reached", {"customer_id": "c", "meter_slug": "m", "usage": 5, "limit": 5}),
        ("checkout.completed", {"customer_id": "c"}),
        ("checkout.completed", {}),
    ])  # fmt: skip
    @pytest.mark.parametrize("blocking", [False, True])
    async def test_events_invalidate(
        self, make: Callable[..., Access], service: Service, kind: str, data: Any, blocking: bool
    ) -> None:
        access = make()
        receiver = WebhookReceiver(SECRET, store=MemoryStore(), max_age=None)
        access.connect(receiver)
        await access.check("c", meter="m")
        await access.check("d", meter="m")
        event = {"id": "evt_1", "type": kind, "created_at": "2026-01-01T00:00:00Z", "data": data}
        body = json.dumps(event).encode()
        headers = {"Montra-Signature": sign(body, SECRET)}
        reply = (
            await asyncio.to_thread(receiver.handle_blocking, body, headers)
            if blocking
            else await receiver.handle(body, headers)
        )
        assert reply.status == 200, reply
        assert access.peek("c", meter="m").source == "stale"
        assert access.peek("d", meter="m").source == ("cached" if data else "stale")

    async def test_other_events_change_nothing(self, make: Callable[..., Access], service: Service) -> None:
        from montra_async.webhooks import InvoiceCreated

        access = make()
        await access.check("c", meter="m")
        event = object.__new__(InvoiceCreated)
        object.__setattr__(event, "type", "invoice.created")
        await access.webhook_handler(event)
        assert access.peek("c", meter="m").source == "cached"


class TestWithTheReporter:
    async def test_a_limit_is_used_up_exactly(self, montra: Montra, sandbox: Sandbox, shop: Shop) -> None:
        sandbox.set_limit(pricing_model_id=shop.free.id, meter_slug="tokens", max_amount=300)
        async with UsageReporter(montra, MemoryOutbox()) as usage, Access(montra, usage, deny_ttl=0.2) as access:
            passed = 0

            async def one(number: int) -> None:
                nonlocal passed
                try:
                    async with access.hold(shop.ada.id, "tokens", estimate=2) as hold:
                        await asyncio.sleep(0)
                        hold.amount = 1 + number % 2
                    passed += hold.amount
                except LimitExceededError:
                    pass

            await asyncio.gather(*(one(number) for number in range(0, 600, 2)))
            assert 150 <= passed <= 300
            for _ in range(200):
                await one(0)
            assert passed == 299  # an estimate of 2 does not fit when 1 is left
            assert await usage.flush(20) == 0
            found = await montra.check_entitlement(shop.ada.id, "tokens")
            assert found.usage == passed
            access.invalidate(shop.ada.id)
            assert (await access.check(shop.ada.id, meter="tokens")).usage == passed

    async def test_cancelled_while_it_is_recorded(self, montra: Montra, shop: Shop) -> None:
        async with UsageReporter(montra, MemoryOutbox()) as usage, Access(montra, usage) as access:
            for number in range(50):
                hold = await access.hold(shop.ada.id, "tokens", estimate=5)
                task = asyncio.create_task(hold.settle(1))
                for _ in range(number % 4 + 1):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            assert await usage.flush(20) == 0
            assert (await montra.check_entitlement(shop.ada.id, "tokens")).usage == 50
            assert (await access.check(shop.ada.id, meter="tokens")).usage == 50
            assert access._ledger.counters[shop.ada.id, "meter", "tokens"].held == 0


class TestWarmStart:
    async def test_answers_come_back_as_stale(
        self, make: Callable[..., Access], service: Service, tmp_path: Path, clock: Clock
    ) -> None:
        service.features.add("sso")
        service.limit, service.usage["c", "m"] = 100.5, 7
        first = make()
        await first.check("c", feature="sso")
        await first.check("c", feature="no")
        await first.check("c", meter="m")
        async with first.hold("c", "m", estimate=5):  # what is held here says nothing about the next start
            pass
        file = tmp_path / "access.json"
        assert first.save(file) == 3
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert os.listdir(tmp_path) == ["access.json"]
        second = make()
        assert second.load(file) == 3
        assert [second.peek("c", feature=one).allowed for one in ("sso", "no")] == [True, False]
        found = second.peek("c", meter="m")
        assert (found.source, found.usage, found.limit, found.remaining) == (
            "stale",
            7,
            Decimal("100.5"),
            Decimal("93.5"),
        )
        asked = service.asked.total()
        await second.hold("c", "m", estimate=90)
        assert service.asked.total() > asked

    @pytest.mark.parametrize("content", [
        b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"format": "montra-access-1", "service": "x", "entries": []}',
        "no-date", "future", "entries", "kind", "number", "huge", "age", "allowed", "reason",
    ])  # fmt: skip
    async def test_a_wrong_file_is_not_used(
        self, make: Callable[..., Access], tmp_path: Path, content: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "access.json"
        access = make()
        if isinstance(content, str):
            await access.check("c", meter="m")
            access.save(file)
            written = json.loads(file.read_text())
            entry = written["entries"][0]
            if content in ("no-date", "future"):
                written["saved_at"] = None if content == "no-date" else 10.0**12
            elif content == "entries":
                written["entries"] = {"a": 1}
            else:
                place, value = {
                    "kind": (1, "x"), "number": (5, "x"), "huge": (5, "1e999999999"), "age": (7, -1), "allowed": (3, 1),
                    "reason": (4, 5),
                }[content]  # fmt: skip
                entry[place] = value
            content = json.dumps(written).encode()
        file.write_bytes(content)
        assert make().load(file) == 0
        assert "saved answers of access are not used" in caplog.text

    async def test_a_file_of_another_user_is_not_read(
        self,
        make: Callable[..., Access],
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        file = tmp_path / "access.json"
        access = make()
        await access.check("c", meter="m")
        access.save(file)
        assert make().load(file) == 1
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)  # only root can give a file to somebody else
        assert make().load(file) == 0
        assert "it belongs to another user" in caplog.text

    async def test_a_missing_or_endless_file(
        self, make: Callable[..., Access], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert make().load(tmp_path / "none") == 0
        (tmp_path / "large").write_bytes(b" " * 10_000)
        assert make(max_entries=1).load(tmp_path / "large") == 0
        assert "more than 4096 bytes" in caplog.text

    async def test_old_answers_are_left_out(
        self, make: Callable[..., Access], service: Service, tmp_path: Path, clock: Clock
    ) -> None:
        access = make()
        await access.check("c", meter="m")
        clock.go(3000)
        await access.check("d", meter="m")
        clock.go(1000)
        access.save(tmp_path / "a")
        assert make().load(tmp_path / "a") == 1

    async def test_where_nothing_can_be_written(self, make: Callable[..., Access], tmp_path: Path) -> None:
        (tmp_path / "directory").mkdir()
        for path in (tmp_path / "none" / "a", tmp_path / "directory"):
            with pytest.raises(ConfigError, match="can't be saved"):
                make().save(path)
        assert os.listdir(tmp_path) == ["directory"]
