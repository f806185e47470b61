"""`create_customers` and `report_usage_many`: one result for each item, whatever happens to the others."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, strategies as st

import montra_sync
from montra_async import (
    AuthenticationError,
    BulkProgress,
    BulkResult,
    ConflictError,
    Customer,
    InvalidArgumentError,
    Montra,
)
from montra_sync.portal import run

from ..conftest import struck
from ..contract_watch import WatchedSandbox
from .bulk_tools import collect, person, running

KEY = "sk_test_sandbox"
_numbers = itertools.count()


# One result for each item

GOOD: Callable[[], Any] = lambda: person(next(_numbers))  # noqa: E731
KINDS: dict[str, tuple[Callable[[], Any], str, type[Exception] | None]] = {
    "good": (GOOD, "ok", None),
    "own key": (lambda: {**GOOD(), "idempotency_key": f"own-{next(_numbers)}"}, "ok", None),
    "taken": (lambda: {"name": "A", "email": "taken@example.com"}, "failed", ConflictError),
    "no email": (lambda: {"name": "A"}, "failed", InvalidArgumentError),
    "misspelt": (lambda: {**GOOD(), "nmae": 1}, "failed", InvalidArgumentError),
    "empty name": (lambda: {**GOOD(), "name": ""}, "failed", InvalidArgumentError),
    "bad key": (lambda: {**GOOD(), "idempotency_key": "a b"}, "failed", InvalidArgumentError),
    "no dict": (lambda: 5, "failed", InvalidArgumentError),
}


@pytest.mark.parametrize("kind", ["async", "sync", "async source"])
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=25), concurrency=st.integers(1, 8))
def test_any_mix_has_one_result_per_item(served: str, kind: str, kinds: list[str], concurrency: int) -> None:
    items = [KINDS[one][0]() for one in kinds]
    pulled, done = 0, 0

    def source() -> Iterator[Any]:
        nonlocal pulled
        for item in items:
            pulled += 1
            assert pulled - done <= concurrency
            yield item

    async def async_source() -> AsyncIterator[Any]:
        for item in source():
            await asyncio.sleep(0)
            yield item

    def note(progress: BulkProgress) -> None:
        nonlocal done
        done += 1
        assert progress.done == done

    async def asynchronously() -> list[BulkResult[Customer]]:
        async with Montra(KEY, served) as montra:
            await taken(montra)
            given: Any = async_source() if kind == "async source" else source()
            return await collect(montra.create_customers(given, concurrency=concurrency, on_progress=note))

    if kind == "sync":
        client = montra_sync.Montra(KEY, served)
        client.create_customer(name="A", email="taken@example.com", idempotency_key="taken")
        results = sorted(client.create_customers(source(), concurrency=concurrency, on_progress=note))
        client.close()
    else:
        results = asyncio.run(asynchronously())
    assert [one.index for one in results] == list(range(len(items)))
    for one, item, name in zip(results, items, kinds, strict=True):
        _, status, error = KINDS[name]
        assert (one.item, one.status) == (item, status)
        assert type(one.error) is (type(None) if error is None else error)
        assert (one.idempotency_key is None) == (error is InvalidArgumentError)
        if status == "ok":
            assert one.unwrap().email == item["email"]
        else:
            with pytest.raises(error or Exception):
                one.unwrap()


async def taken(montra: Montra) -> None:
    await montra.create_customer(name="A", email="taken@example.com", idempotency_key="taken")


async def test_a_generator_may_use_its_dict_again(montra: Montra) -> None:
    def source() -> Iterator[Any]:
        item: dict[str, Any] = {"metadata": {}}
        for name in ("a", "b", "c"):
            item["name"], item["email"] = name, f"{name}@example.com"
            item["metadata"]["of"] = name
            yield item

    async def async_source() -> AsyncIterator[Any]:
        for item in source():
            yield {**item, "email": f"later-{item['email']}"}

    for items in (source(), async_source()):
        results = sorted(await collect(montra.create_customers(items)))
        assert [one.item["name"] for one in results] == ["a", "b", "c"]
    made = [(one.name, (one.metadata or {})["of"]) for one in await montra.list_customers()]
    assert sorted(made) == sorted([("a", "a"), ("b", "b"), ("c", "c")] * 2)


async def test_usage(montra: Montra, sandbox: WatchedSandbox) -> None:
    plan = await montra.create_pricing_model(name="Pro")
    await montra.create_meter(plan.id, name="Calls", slug="calls")
    both = await montra.create_customer_with_subscription(plan.id, name="A", email="a@x")
    usage = {"customer_id": both.customer.id, "meter_slug": "calls", "amount": 2}
    results = await collect(montra.report_usage_many([usage, {**usage, "meter_slug": "no"}, usage], batch_key="day-1"))
    assert [(one.status, one.value) for one in results] == [("ok", True), ("failed", None), ("ok", True)]
    assert [one.idempotency_key for one in results] == ["day-1-0", "day-1-1", "day-1-2"]
    again = await collect(montra.report_usage_many([usage, {**usage, "meter_slug": "no"}, usage], batch_key="day-1"))
    assert [(one.status, one.replayed) for one in again] == [("ok", True), ("failed", False), ("ok", True)]


# Sending a list again


async def test_a_list_that_was_sent_in_part_can_be_sent_again(montra: Montra, sandbox: WatchedSandbox) -> None:
    items = [person(i) for i in range(30)]
    seen = 0
    async with aclosing(montra.create_customers(items, concurrency=4, batch_key="import-7")) as results:
        async for _ in results:
            seen += 1
            if seen == 10:
                break
    assert not running()
    again = await collect(montra.create_customers(iter(items), concurrency=4, batch_key="import-7"))
    assert [one.status for one in again] == ["ok"] * 30
    assert sum(one.replayed for one in again) >= 10
    assert len(await montra.list_customers()) == 30


async def test_an_item_that_was_moved_since_is_refused_and_not_made_twice(montra: Montra) -> None:
    await collect(montra.create_customers([person(1), person(2)], batch_key="b"))
    moved = await collect(montra.create_customers([{**person(2), "name": "New"}, person(2)], batch_key="b"))
    assert [one.status for one in moved] == ["failed", "ok"]
    assert isinstance(moved[0].error, ConflictError)
    assert len(await montra.list_customers()) == 2


# Ends


async def test_a_refused_key_ends_it_at_once(sandbox: WatchedSandbox) -> None:
    before = len(sandbox.list_requests())
    async with Montra("sk_test_wrong", sandbox.base_url) as montra:
        results = await collect(montra.create_customers((person(i) for i in range(200)), concurrency=5))
    assert [one.index for one in results] == list(range(200))
    assert {one.status for one in results} == {"failed", "skipped"}
    assert sum(one.status == "failed" for one in results) <= 5
    assert all(isinstance(one.error, AuthenticationError) for one in results)
    assert len(sandbox.list_requests()) - before <= 5


async def test_cancelling_the_task_cancels_the_calls(montra: Montra, sandbox: WatchedSandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=60, times=1)

    async def work() -> None:
        async with aclosing(montra.create_customers([person(1)])) as results:
            async for _ in results:
                pass

    task = asyncio.create_task(work())
    await struck(sandbox)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running()


class _Broken(Exception):
    pass


def broken(after: int) -> Iterator[Any]:
    for i in range(after):
        yield person(i)
    raise _Broken


async def _later(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


@pytest.mark.parametrize("later", [False, True])
async def test_a_source_that_fails_ends_it_after_what_was_begun(montra: Montra, later: bool) -> None:
    seen: list[BulkResult[Customer]] = []
    items: Any = _later(broken(7)) if later else broken(7)
    with pytest.raises(_Broken):
        async for one in montra.create_customers(items, concurrency=3):
            seen.append(one)
    assert [one.status for one in seen] == ["ok"] * 7


async def test_an_asynchronous_source_may_wait_while_results_come(montra: Montra) -> None:
    more = asyncio.Event()

    async def source() -> AsyncIterator[Any]:
        yield person(1)
        await more.wait()
        yield person(2)

    found: list[int] = []
    async for one in montra.create_customers(source()):
        found.append(one.index)
        more.set()  # the first result is there although the second item is not
    assert found == [0, 1]


async def test_leaving_early_waits_for_no_item(montra: Montra) -> None:
    never = asyncio.Event()
    closed = False

    async def source() -> AsyncIterator[Any]:
        nonlocal closed
        yield person(1)
        try:
            await never.wait()
        finally:
            closed = True

    async with aclosing(montra.create_customers(source())) as results:
        async for _ in results:
            break
    assert closed


async def test_what_the_hook_raises_ends_it(montra: Montra) -> None:
    def stop(progress: BulkProgress) -> None:
        raise _Broken

    with pytest.raises(_Broken):
        await collect(montra.create_customers([person(1)], on_progress=stop))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1001}, "concurrency"),
        ({"batch_key": "a b"}, "key"),
        ({"batch_key": "x" * 201}, "batch_key: at most 200"),
        ({"items": {"name": "A"}}, "items: a list or generator of dicts, not dict"),
        ({"items": "abc"}, "not str"),
        ({"items": 5}, "not int"),
    ],
)
def test_wrong_arguments_are_refused_at_once(given: dict[str, Any], words: str) -> None:
    for client in (Montra(KEY), montra_sync.Montra(KEY)):
        call: Any = client.report_usage_many
        with pytest.raises(InvalidArgumentError, match=words):
            call(**{"items": [], **given})


def test_the_synchronous_client_takes_no_asynchronous_source() -> None:
    wrong: Any = _later(iter(()))
    with pytest.raises(InvalidArgumentError, match="not async_generator"):
        montra_sync.Montra(KEY).create_customers(wrong)


async def test_synchronous_items_are_asked_for_in_the_callers_thread(sandbox: WatchedSandbox) -> None:
    def work() -> None:
        client = montra_sync.Montra(sandbox.api_key, sandbox.base_url)

        def source() -> Iterator[Any]:
            for i in range(12):
                threads.add(threading.get_ident())
                client.list_meters()  # a source may make calls itself
                yield person(i)
            raise _Broken

        threads: set[int] = set()
        seen: list[int] = []
        with pytest.raises(_Broken):
            for one in client.create_customers(source(), concurrency=5):
                seen.append(one.index)
        assert sorted(seen) == list(range(12))
        assert threads == {threading.get_ident()}
        for one in client.create_customers(map(person, itertools.count(100)), concurrency=5):
            if one.index > 20:
                break  # an endless source
        client.close()

    await asyncio.to_thread(work)


async def test_leaving_the_synchronous_loop_early_cancels_what_is_in_flight(sandbox: WatchedSandbox) -> None:
    def work() -> None:
        client = montra_sync.Montra(sandbox.api_key, sandbox.base_url)
        sandbox.add_fault(kind="latency", seconds=60, times=1)
        for one in client.create_customers(map(person, itertools.count()), concurrency=4):
            if one.index > 5:
                break

        async def left() -> int:
            deadline = asyncio.get_running_loop().time() + 30
            while running() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - tasks of another run
                await asyncio.sleep(0.01)
            return len(running())

        assert run(left) == 0
        client.close()

    await asyncio.to_thread(work)


def test_an_exit_handler_may_make_a_bulk_call(served: str) -> None:
    code = (
        "import atexit, montra_sync\n"
        f"client = montra_sync.Montra({KEY!r}, {served!r})\n"
        "people = [{'name': 'A', 'email': f'exit-{i}@example.com'} for i in range(30)]\n"
        "@atexit.register\n"
        "def last():\n"
        "    print(sorted({one.status for one in client.create_customers(people, concurrency=4)}))\n"
        "from montra_sync import portal\n"
        "atexit.register(portal._background.end)\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("['ok']\n", "")
