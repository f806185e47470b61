"""One asynchronous POST with a typed answer, against what a careful developer would write by hand, and against peers.

    python benchmarks/async_call.py --pairs 15 --in-flight 1 32

CPU time of this process per request, by the process's own clock; the server is another process. `naive` is aiohttp as
people write it: `json=`, headers per call, `await response.json()`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import aiohttp
from kit import options, report
from kit.contenders import taking_part
from kit.neutral_server import running
from kit.pairs import Measure, Table, compare
from kit.request import BODY, KEY, headers

from montra_async import Montra

Call = Callable[[], Awaitable[object]]
Make = Callable[[str, AsyncExitStack], Awaitable[Call]]


async def naive(origin: str, stack: AsyncExitStack) -> Call:
    session = await stack.enter_async_context(aiohttp.ClientSession())

    async def call() -> object:
        async with session.post(f"{origin}/customers", json=BODY, headers=headers()) as response:
            response.raise_for_status()
            return (await response.json())["data"]

    return call


async def bare(origin: str, stack: AsyncExitStack) -> Call:
    session = await stack.enter_async_context(aiohttp.ClientSession(headers={"Content-Type": "application/json"}))
    content = json.dumps(BODY).encode()

    async def call() -> object:
        async with session.post(f"{origin}/customers", data=content) as response:
            return await response.read()

    return call


async def raw(origin: str, stack: AsyncExitStack) -> Call:
    """The limit: prebuilt bytes over connections of asyncio's own, nothing parsed."""
    parts = urlsplit(origin)
    content = json.dumps(BODY).encode()
    head = f"POST /customers HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(content)}\r\n\r\n"
    request = head.encode() + content
    idle: list[_Connection] = []
    stack.callback(lambda: [one.close() for one in idle])

    async def call() -> object:
        if idle:
            one = idle.pop()
        else:
            _, one = await asyncio.get_running_loop().create_connection(_Connection, parts.hostname, parts.port)
        answer = await one.ask(request)
        idle.append(one)
        return answer

    return call


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._answer: asyncio.Future[bytes] | None = None

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(data)

    def close(self) -> None:
        self._transport.close()


async def montra(origin: str, stack: AsyncExitStack) -> Call:
    client = await stack.enter_async_context(Montra(KEY, origin, pool_size=512))

    async def call() -> object:
        return await client.create_customer(
            name="Ada Lovelace", email="ada@example.com", metadata={"team": "engines", "seats": 12}
        )

    return call


async def httpx(origin: str, stack: AsyncExitStack) -> Call:
    import httpx

    client = await stack.enter_async_context(httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}))

    async def call() -> object:
        response = await client.post(f"{origin}/customers", json=BODY)
        response.raise_for_status()
        return response.json()["data"]

    return call


async def openai(origin: str, stack: AsyncExitStack) -> Call:
    import openai

    client = await stack.enter_async_context(openai.AsyncOpenAI(api_key=KEY, base_url=origin))
    return lambda: client.models.retrieve("m")


async def stripe(origin: str, stack: AsyncExitStack) -> Call:
    import stripe

    client = stripe.StripeClient(
        KEY, base_addresses={"api": origin}, http_client=stripe.HTTPXClient(allow_sync_methods=True)
    )
    return lambda: client.v1.customers.create_async({"name": "Ada Lovelace", "email": "ada@example.com"})


MAKERS: dict[str, tuple[Make, str | None]] = {
    "montra (typed)": (montra, None),
    "raw protocol, prebuilt": (raw, None),
    "aiohttp, bytes in and out": (bare, None),
    "httpx": (httpx, "httpx"),
    "openai, one typed GET": (openai, "openai"),
    "stripe, customers.create": (stripe, "stripe"),
}


async def cost(make: Make, origin: str, requests: int, in_flight: int) -> float:
    """Microseconds of CPU per call."""
    async with AsyncExitStack() as stack:
        call = await make(origin, stack)
        await asyncio.gather(*(call() for _ in range(in_flight)))  # connections are opened before the clock starts
        left = requests

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await call()

        began = time.process_time()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        return (time.process_time() - began) / requests * 1e6


def main() -> None:
    parser = options.parser(__doc__, pieces=2000)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[1, 32, 256])
    given = options.parse(parser)
    makers = taking_part(MAKERS, given.only)
    tables: list[Table] = []
    with running() as origin:
        for in_flight in given.in_flight:

            def measure(make: Make, in_flight: int = in_flight) -> Measure:
                return lambda: asyncio.run(cost(make, origin, given.pieces, in_flight))

            others = {name: measure(make) for name, make in makers.items()}
            rows = compare(("naive aiohttp", measure(naive)), others, pairs=given.pairs)
            tables.append(Table(f"One async call, {in_flight} in flight", "CPU us", rows))
    report.write("async_call", tables, given.out)


if __name__ == "__main__":
    main()
