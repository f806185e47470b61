"""One client through many loops, threads, forks, cancellations and ends: no leak, no hang, no warning."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from montra_async import ConfigError, Montra, NetworkError, NotFoundError, PoolTimeoutError, Timeout
from montra_sandbox import Sandbox

from ..conftest import struck
from ..processes import run_program

PRELUDE = """
import asyncio, gc, os, sys
from montra_async import Montra
client = Montra()  # at import time, before any loop

def sockets():
    gc.collect()
    links = []
    for fd in os.listdir('/proc/self/fd'):
        try:
            links.append(os.readlink(f'/proc/self/fd/{fd}'))
        except OSError:
            pass
    return sum(link.startswith('socket:') for link in links)
"""

linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the open sockets in /proc")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@linux
def test_several_runs_one_after_the_other_leave_no_socket(served: str) -> None:
    code = (
        PRELUDE
        + """
for _ in range(5):
    asyncio.run(client.list_meters())
    asyncio.run(client.list_meters())
print(sockets())
"""
    )
    assert run_program(code, served) == "0"


@linux
def test_loops_that_are_closed_without_a_shutdown(served: str) -> None:
    code = (
        PRELUDE
        + """
before = sockets()
for _ in range(5):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.list_meters())
    loop.close()
    client._transport._sessions  # still the same client
asyncio.run(client.list_meters())
print(sockets() - before)
"""
    )
    assert run_program(code, served) == "0"


@linux
def test_a_client_that_is_forgotten_takes_its_sockets_along(served: str) -> None:
    code = (
        PRELUDE
        + """
async def forget():
    before = sockets()
    for _ in range(3):
        await Montra().list_meters()
        gc.collect()
    await asyncio.sleep(0.05)
    return sockets() - before
print(asyncio.run(forget()))
"""
    )
    assert run_program(code, served) == "0"


def test_a_process_that_ends_without_closing_anything(served: str) -> None:
    code = (
        PRELUDE
        + """
loop = asyncio.new_event_loop()
loop.run_until_complete(client.list_meters())
print('done')
"""
    )
    # asyncio itself complains of the loop that the program never closed; nobody may complain of a session.
    code += "import warnings; warnings.simplefilter('ignore', ResourceWarning)\n"
    assert run_program(code, served) == "done"


def test_ending_with_sys_exit_inside_a_call(served: str) -> None:
    code = (
        PRELUDE
        + """
async def main():
    await client.list_meters()
    sys.exit(0)
asyncio.run(main())
"""
    )
    assert run_program(code, served) == ""


@forks
def test_after_a_fork_parent_and_child_both_work(served: str) -> None:
    code = (
        PRELUDE
        + """
asyncio.run(client.list_meters())

async def use_then_fork():
    await client.list_meters()          # an open connection, pooled
    before = sockets()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if sockets() < before else 3   # the parent's connection is not the child's
            def child():
                asyncio.run(client.list_meters())
                asyncio.run(client.list_meters())
            import threading
            thread = threading.Thread(target=child); thread.start(); thread.join(20)
            if thread.is_alive():
                status = 4
        finally:
            os._exit(status)
    _, result = os.waitpid(pid, 0)
    for _ in range(3):
        await client.list_meters()      # the parent's pooled connection still works
    return os.waitstatus_to_exitcode(result)
print(asyncio.run(use_then_fork()))
"""
    )
    assert run_program(code, served) == "0"


@forks
def test_a_prefork_server(served: str) -> None:
    code = (
        PRELUDE
        + """
asyncio.run(client.list_meters())       # the master warms up
pids = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(client.list_meters())
            os._exit(0)
        except BaseException:
            os._exit(1)
    pids.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
asyncio.run(client.list_meters())
"""
    )
    assert run_program(code, served) == "[0, 0, 0]"


def test_loops_in_many_threads_share_one_client(served: str) -> None:
    client = Montra("sk_test_sandbox", served)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(3):
                asyncio.run(client.list_meters())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert client._transport._sessions._by_loop == {}


async def test_aclose_reaches_the_loops_of_other_threads(served: str) -> None:
    client = Montra("sk_test_sandbox", served)
    ready = threading.Event()
    theirs: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def there() -> None:
        await client.list_meters()
        stop = asyncio.Event()
        theirs.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(there()))
    thread.start()
    await asyncio.to_thread(ready.wait, 20)
    await client.list_meters()
    assert len(client._transport._sessions._by_loop) == 2
    await client.aclose()
    for _ in range(500):
        if not client._transport._sessions._by_loop:
            break
        await asyncio.sleep(0.01)
    assert client._transport._sessions._by_loop == {}
    loop, stop = theirs[0]
    loop.call_soon_threadsafe(stop.set)
    await asyncio.to_thread(thread.join, 20)


async def test_closing_is_not_the_end(sandbox: Sandbox) -> None:
    client = Montra(sandbox.api_key, sandbox.base_url)
    for _ in range(3):
        async with client:
            await client.list_meters()
    await client.aclose()
    await client.aclose()
    assert await client.list_meters() == []
    await client.aclose()


async def test_closing_during_a_call_fails_it_clearly(sandbox: Sandbox) -> None:
    client = Montra(sandbox.api_key, sandbox.base_url)
    await client.list_meters()
    sandbox.add_fault(kind="latency", seconds=30)
    call = asyncio.create_task(client.list_meters())
    await asyncio.wait_for(struck(sandbox), 30)
    await client.aclose()
    with pytest.raises(NetworkError, match="closed during the call") as caught:
        await call
    assert caught.value.attempts == 1


async def test_no_task_is_left_behind(sandbox: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with Montra(sandbox.api_key, sandbox.base_url) as client:
        await asyncio.gather(*(client.list_meters() for _ in range(20)))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_two_hundred_calls_on_a_pool_of_ten(sandbox: Sandbox) -> None:
    peers: set[Any] = set()
    config = aiohttp.TraceConfig()

    async def created(*_: Any) -> None:
        peers.add(len(peers))

    config.on_connection_create_end.append(created)
    async with Montra(sandbox.api_key, sandbox.base_url, pool_size=10, trace_configs=[config]) as client:
        answers = await asyncio.gather(
            *(client.create_customer(name="n", email=f"{i}@example.com") for i in range(200))
        )
        assert len({customer.id for customer in answers}) == 200
        assert len(await client.list_customers()) == 200
    assert 1 <= len(peers) <= 10


async def test_an_exhausted_pool_says_so(sandbox: Sandbox) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url, pool_size=2, timeout=Timeout(pool=0.05)) as client:
        sandbox.add_fault(kind="latency", seconds=1.5, times=2)
        slow = [asyncio.create_task(client.list_meters()) for _ in range(2)]
        await asyncio.wait_for(struck(sandbox), 30)
        with pytest.raises(PoolTimeoutError, match="all 2 of the pool") as caught:
            await client.list_features()
        assert (caught.value.phase, caught.value.sent) == ("pool", False)
        await asyncio.gather(*slow)
        assert await client.list_features() == []


async def test_a_call_cancelled_at_any_moment_leaves_the_client_usable(sandbox: Sandbox) -> None:
    """Cancel after 0, 1, 2, ... steps of the loop until a call gets through. The pool has one place: a leak hangs."""
    async with Montra(sandbox.api_key, sandbox.base_url, pool_size=1) as client:
        steps = cancelled = 0
        while True:
            fresh = steps % 2 == 0  # every other time on a new connection
            if fresh:
                await client.aclose()
            call = asyncio.create_task(client.create_pricing_model(name="n"))
            for _ in range(steps):
                await asyncio.sleep(0)
            if call.done():
                break
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            cancelled += 1
            assert isinstance(await asyncio.wait_for(client.list_meters(), 5), list)
            steps += 1
        assert cancelled > 3
        home = await client._transport._sessions.get_or_open()
        assert not home.deadlines.open


async def test_a_call_cancelled_while_waiting_for_the_pool_gives_its_place_up(sandbox: Sandbox) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url, pool_size=1) as client:
        sandbox.add_fault(kind="latency", seconds=1)
        first = asyncio.create_task(client.list_meters())
        await asyncio.wait_for(struck(sandbox), 30)
        waiting = [asyncio.create_task(client.list_meters()) for _ in range(3)]
        await asyncio.sleep(0.02)
        for call in waiting[:2]:
            call.cancel()
        results = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [type(one) for one in results] == [list, asyncio.CancelledError, asyncio.CancelledError, list]


async def test_time_outs_within_anyio_and_asyncio_scopes(sandbox: Sandbox) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url) as client:
        sandbox.add_fault(kind="latency", seconds=30, times=2)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.list_meters(), 0.05)
        import anyio

        with anyio.move_on_after(0.05) as scope:
            await client.list_meters()
        assert scope.cancelled_caught
        assert await client.list_meters() == []


class TestOwnParts:
    async def test_a_session(self, sandbox: Sandbox) -> None:
        defaults = {"Authorization": "Bearer sk_of_somebody_else", "X-Own": "1"}
        async with aiohttp.ClientSession(headers=defaults, raise_for_status=True) as session:
            async with Montra(sandbox.api_key, sandbox.base_url, session=session) as client:
                assert await client.list_meters() == []
                with pytest.raises(NotFoundError):
                    await client.get_customer("cust_none")
            assert not session.closed, "what the user brings, the user closes"
        with pytest.raises(ConfigError, match="closed"):
            await client.list_meters()

    def test_a_session_of_another_loop(self, served: str) -> None:
        loop = asyncio.new_event_loop()

        async def make() -> Montra:
            client = Montra("sk_test_sandbox", served, session=aiohttp.ClientSession())
            await client.list_meters()
            return client

        client = loop.run_until_complete(make())
        with pytest.raises(ConfigError, match="another event loop"):
            asyncio.run(client.list_meters())
        session = client._transport._connection.session
        assert session is not None
        loop.run_until_complete(session.close())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    async def test_a_connector(self, sandbox: Sandbox) -> None:
        connector = aiohttp.TCPConnector(limit=1)
        async with Montra(sandbox.api_key, sandbox.base_url, connector=connector) as client:
            assert await client.list_meters() == []
        assert not connector.closed
        await connector.close()

    def test_a_connector_for_each_loop(self, served: str) -> None:
        made: list[aiohttp.TCPConnector] = []

        def make() -> aiohttp.TCPConnector:
            made.append(aiohttp.TCPConnector())
            return made[-1]

        client = Montra("sk_test_sandbox", served, connector=make)
        asyncio.run(client.list_meters())
        asyncio.run(client.list_meters())
        assert len(made) == 2
        assert all(connector.closed for connector in made)

    def test_a_connector_of_another_loop(self, served: str) -> None:
        async def make() -> aiohttp.TCPConnector:
            return aiohttp.TCPConnector()

        loop = asyncio.new_event_loop()
        connector = loop.run_until_complete(make())
        client = Montra("sk_test_sandbox", served, connector=connector)
        with pytest.raises(ConfigError, match="a function that makes one"):
            asyncio.run(client.list_meters())
        loop.run_until_complete(connector.close())
        loop.close()

    async def test_a_proxy(self, sandbox: Sandbox) -> None:
        """A proxy gets the whole address; this one is an ordinary server that notes it."""
        seen: list[str] = []

        async def proxy(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
            seen.append(str(request.raw_path if hasattr(request, "raw_path") else request.path_qs))
            return aiohttp.web.json_response({"success": True, "data": []})

        server = aiohttp.web.ServerRunner(aiohttp.web.Server(proxy))
        await server.setup()
        await aiohttp.web.TCPSite(server, "127.0.0.1", 0).start()
        address = f"http://user:hunter2@127.0.0.1:{server.addresses[0][1]}"
        async with Montra(sandbox.api_key, sandbox.base_url, proxy=address) as client:
            assert await client.list_meters() == []
            assert "hunter2" not in repr(vars(client._transport))
        await server.cleanup()
        assert len(seen) == 1


def test_abandoned_loops_do_not_pile_up(served: str) -> None:
    client = Montra("sk_test_sandbox", served)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(client.list_meters())
        loop.close()
    asyncio.run(client.list_meters())
    assert client._transport._sessions._by_loop == {}
    gc.collect()
    assert sys.exc_info() == (None, None, None)
