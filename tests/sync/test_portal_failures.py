"""The background thread survives errors of hooks and tasks on its loop, and callers get a correct error."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from montra_async import MontraError, RequestTimeoutError
from montra_sandbox import Sandbox
from montra_sync import CallEvent, ConfigError, Montra, Timeout, portal
from montra_sync.paywall import BillingClient, PaywallError


class Whim(BaseException):
    """A BaseException as frameworks raise it: gevent's GreenletExit, pytest's Exit, trio's Cancelled."""


KINDS = [SystemExit, KeyboardInterrupt, Whim, GeneratorExit]


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "montra-sync"]


@pytest.fixture
def quiet() -> Iterator[list[dict[str, Any]]]:
    """The errors that the loop reports."""
    complaints: list[dict[str, Any]] = []

    async def listen(handler: Any) -> None:
        asyncio.get_running_loop().set_exception_handler(handler)

    portal.run(listen, lambda _, context: complaints.append(context))
    yield complaints
    portal.run(listen, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hook", ["on_request", "on_response"])
def test_what_a_hook_raises_reaches_its_own_caller(served: str, hook: str, kind: type[BaseException]) -> None:
    def raising(_: CallEvent) -> None:
        raise kind("of the hook")

    client = Montra("sk_test_sandbox", served)
    client.list_meters()
    before = _threads()
    for _ in range(3):
        with pytest.raises(kind, match="of the hook"):
            Montra("sk_test_sandbox", served, **{hook: raising}).list_meters()  # type: ignore[arg-type]
    assert client.list_meters() is not None
    assert _threads() == before
    assert len(before) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_other_threads_go_on(served: str, kind: type[BaseException]) -> None:
    def raising(_: CallEvent) -> None:
        raise kind

    good = Montra("sk_test_sandbox", served)
    bad = Montra("sk_test_sandbox", served, on_request=raising)

    def call(n: int) -> bool:
        if n % 4:
            return isinstance(good.list_meters(), list)
        with pytest.raises(kind):
            bad.list_meters()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(call, range(64)))
    good.close()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_asyncio_lets_out_of_a_loop_does_not_end_it(
    served: str, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """In a callback and in a task: both leave `run_forever`."""

    async def poison() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        async def task() -> None:
            raise kind

        def callback() -> None:
            loop.call_soon(ended.set_result, None)
            raise kind

        one = loop.create_task(task())
        loop.call_soon(callback)
        await ended
        assert isinstance(one.exception(), kind)

    client = Montra("sk_test_sandbox", served)
    client.list_meters()
    before = _threads()
    for _ in range(10):
        portal.run(poison)
    assert isinstance(client.list_meters(), list)
    assert _threads() == before
    assert caplog.text.count("it goes on") == 20


def test_a_loop_that_can_not_go_on_is_replaced(served: str, caplog: pytest.LogCaptureFixture) -> None:
    """E.g. because all files of the process were closed, the selector's among them."""

    async def break_it() -> None:
        loop: Any = asyncio.get_running_loop()

        def broken(*_: Any) -> None:
            raise OSError(9, "Bad file descriptor")

        loop._selector.select = broken
        await asyncio.sleep(60)

    client = Montra("sk_test_sandbox", served)
    client.list_meters()
    before = _threads()
    with pytest.raises(MontraError, match=r"thread of synchronous calls ended.*may have been carried out"):
        portal.run(break_it)
    assert isinstance(client.list_meters(), list)
    assert len(_threads()) == 1
    assert _threads() != before


@pytest.mark.parametrize("cancel", ["task", "raise"])
def test_a_call_that_other_code_cancels_says_so(served: str, cancel: str, quiet: list[dict[str, Any]]) -> None:
    def cancelling(_: CallEvent) -> None:
        if cancel == "raise":
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    client = Montra("sk_test_sandbox", served, on_request=cancelling)
    with pytest.raises(MontraError, match="cancelled by other code") as caught:
        client.list_meters()
    assert "shutting down" not in str(caught.value)
    assert Montra("sk_test_sandbox", served).list_meters() is not None
    assert quiet == []


async def test_a_trace_that_cancels(sandbox: Sandbox) -> None:
    async def cancel(*_: object) -> None:
        raise asyncio.CancelledError

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(cancel)
    client = Montra(sandbox.api_key, sandbox.base_url, trace_configs=[trace])
    with pytest.raises(MontraError, match="cancelled by other code"):
        await asyncio.to_thread(client.list_meters)


def test_a_call_inside_a_hook_is_an_error_of_ours(served: str) -> None:
    caught: list[Exception] = []
    good = Montra("sk_test_sandbox", served)

    def calling(_: CallEvent) -> None:
        try:
            good.list_meters()
        except Exception as error:
            caught.append(error)

    Montra("sk_test_sandbox", served, on_request=calling).list_meters()
    assert [type(error) for error in caught] == [ConfigError]


# A loop that somebody blocks


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object], None]]:
    """A hook that returns at the end of the test."""
    monkeypatch.setattr(portal, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(portal, "_GRACE", 0.1)
    over = threading.Event()

    def hook_that_waits(_: object) -> None:
        over.wait(30)

    yield hook_that_waits
    over.set()


def test_the_total_holds_although_a_hook_blocks_the_loop(served: str, blocked: Any) -> None:
    client = Montra("sk_test_sandbox", served, on_request=blocked, timeout=0.2)
    with pytest.raises(RequestTimeoutError, match=r"blocked at .*hooks, traces and storages must not wait") as caught:
        client.list_meters()
    assert "MetersApi.list_meters" in str(caught.value)
    assert caught.value.phase == "total"
    with pytest.raises(RequestTimeoutError, match="blocked at"):
        Montra("sk_test_sandbox", served, timeout=Timeout(total=0.2)).list_meters()


def test_a_blocked_loop_is_a_paywall_error(served: str, blocked: Any) -> None:
    billing = BillingClient("p", served.removesuffix("/api/v1"), on_request=blocked, timeout=0.2)
    with pytest.raises(PaywallError, match="blocked at") as caught:
        billing.bootstrap()
    assert (caught.value.code, caught.value.sent) == ("timeout", True)


def test_a_call_without_a_total_waits_longer(served: str, blocked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Montra("sk_test_sandbox", served, on_request=blocked, timeout=Timeout(total=None))
    monkeypatch.setattr(portal, "_BLOCKED_AT_MOST", 0.3)
    with pytest.raises(RequestTimeoutError, match="blocked at"):
        client.list_meters()


def test_a_slow_server_is_no_blocked_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop runs, so the caller waits as long as the call takes."""
    monkeypatch.setattr(portal, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(portal, "_BLOCKED_AT_MOST", 0.0)
    monkeypatch.setattr(portal, "_GRACE", 0.0)
    options = SimpleNamespace(timeout=SimpleNamespace(total=0.01))

    class Slow:
        _options = options

        async def answer(self) -> str:
            await asyncio.sleep(1.5)
            return "at last"

    assert portal.run(Slow().answer) == "at last"


def test_a_call_ends_although_its_loop_is_released_late(served: str, blocked: Any) -> None:
    """Many threads wait for one blocked loop: each gets an error, and the loop runs calls again once it is released."""
    clients = [Montra("sk_test_sandbox", served, timeout=0.2) for _ in range(8)]
    stuck = Montra("sk_test_sandbox", served, on_request=blocked, timeout=0.2)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(stuck.list_meters)
        time.sleep(0.05)
        results = [threads.submit(client.list_meters) for client in clients]
        for result in (first, *results):
            assert isinstance(result.exception(timeout=30), RequestTimeoutError)
