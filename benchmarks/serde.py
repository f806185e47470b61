"""From JSON to typed objects: one customer, a list of 10,000, and the whole call that lists them.

    python benchmarks/serde.py --only montra

The baseline is `json.loads` and the plain dicts that it gives: nothing is checked, no moment is a datetime.
"""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from typing import Any

import aiohttp
import cattrs
from kit import options, report
from kit.contenders import taking_part
from kit.neutral_server import running
from kit.pairs import Measure, Row, Table, compare
from kit.request import KEY

from montra_async import Customer, Montra
from montra_async.core.models.json import loads
from montra_async.core.models.model import structure

LENGTH = 10_000

Read = Callable[[bytes], Any]


def customer(i: int) -> dict[str, Any]:
    """With every field that the contract names."""
    return {
        "id": f"cust_{i:010}",
        "name": "Ada Lovelace",
        "email": f"ada{i}@example.com",
        "status": "active",
        "created_at": f"2026-01-{i % 28 + 1:02}T{i % 24:02}:{i % 60:02}:00Z",
        "phone": "+358 40 1234567",
        "address": {"line1": "Aleksanterinkatu 1", "city": "Helsinki", "postal_code": "00100", "country": "FI"},
        "invoicing_emails": [f"bills{i}@example.com"],
        "metadata": {"team": "engines", "seats": 12},
    }


def plain(body: bytes) -> Any:
    return json.loads(body)["data"]


def montra(body: bytes) -> Any:
    data = loads(body)["data"]
    return structure(data, list[Customer] if isinstance(data, list) else Customer)


def plain_cattrs() -> Read:
    """The same attrs classes with cattrs as it comes; taught no more than moments and open enums."""
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook_func(
        lambda kind: "datetime" in str(kind),
        lambda value, _: value and datetime.fromisoformat(value.replace("Z", "+00:00")),
    )
    converter.register_structure_hook_func(lambda kind: "Literal" in str(kind), lambda value, _: value)

    def read(body: bytes) -> Any:
        data = json.loads(body)["data"]
        return converter.structure(data, list[Customer] if isinstance(data, list) else Customer)

    return read


def pydantic() -> Read:
    """What openai-python's models stand on: the same fields, read and checked in Rust."""
    from pydantic import BaseModel, TypeAdapter

    class Customer(BaseModel):
        id: str
        name: str
        email: str
        status: str | None = None
        created_at: datetime | None = None
        phone: str | None = None
        address: dict[str, Any] | None = None
        invoicing_emails: list[str] | None = None
        metadata: dict[str, Any] | None = None

    one, many = TypeAdapter(dict[str, Customer]), TypeAdapter(dict[str, list[Customer]])

    def read(body: bytes) -> Any:
        return (many if body.startswith(b'{"data": [') else one).validate_json(body)["data"]

    return read


def stripe() -> Read:
    from stripe import Customer as StripeCustomer

    def read(body: bytes) -> Any:
        data = json.loads(body)["data"]
        if isinstance(data, list):
            return [StripeCustomer.construct_from(one, None) for one in data]
        return StripeCustomer.construct_from(data, None)

    return read


READERS: dict[str, tuple[Callable[[], Read], str | None]] = {
    "montra (typed)": (lambda: montra, None),
    "cattrs, same classes": (plain_cattrs, None),
    "pydantic, same fields": (pydantic, "pydantic"),
    "stripe, construct_from": (stripe, "stripe"),
}


def cost(read: Read, body: bytes, times: int) -> float:
    """Microseconds of CPU per reading."""
    began = time.process_time()
    for _ in range(times):
        read(body)
    return (time.process_time() - began) / times * 1e6


def peak(read: Read, body: bytes) -> float:
    """Megabytes at the most while reading."""
    tracemalloc.start()
    try:
        kept = read(body)
        return tracemalloc.get_traced_memory()[1] / 1e6 if kept else 0.0
    finally:
        tracemalloc.stop()


def reading(title: str, body: bytes, readers: dict[str, Read], times: int, pairs: int) -> Table:
    others: dict[str, Measure] = {name: lambda read=read: cost(read, body, times) for name, read in readers.items()}
    return Table(title, "CPU us", compare(("json.loads, dicts", lambda: cost(plain, body, times)), others, pairs=pairs))


def memory(title: str, body: bytes, readers: dict[str, Read]) -> Table:
    base = peak(plain, body)
    rows = [Row("json.loads, dicts", base, 1.0, 1.0, 1.0)]
    for name, read in readers.items():
        ratio = (most := peak(read, body)) / base
        rows.append(Row(name, most, ratio, ratio, ratio))
    return Table(title, "MB", rows)


async def listing_with_montra(origin: str, times: int) -> float:
    async with Montra(KEY, origin) as client:
        await client.list_customers()
        began = time.process_time()
        for _ in range(times):
            await client.list_customers()
        return (time.process_time() - began) / times * 1e6


async def listing_with_aiohttp(origin: str, times: int) -> float:
    async with aiohttp.ClientSession() as session:

        async def call() -> Any:
            async with session.get(f"{origin}/customers") as response:
                response.raise_for_status()
                return (await response.json())["data"]

        await call()
        began = time.process_time()
        for _ in range(times):
            await call()
        return (time.process_time() - began) / times * 1e6


def listing(body: bytes, times: int, pairs: int) -> Table:
    with running(b'{"success": true, ' + body[1:]) as origin:
        rows = compare(
            ("naive aiohttp, dicts", lambda: asyncio.run(listing_with_aiohttp(origin, times))),
            {"montra (typed)": lambda: asyncio.run(listing_with_montra(origin, times))},
            pairs=pairs,
        )
    return Table(f"The call that lists {LENGTH:,} customers", "CPU us", rows)


def main() -> None:
    given = options.parse(options.parser(__doc__, pieces=5000))
    readers = {name: make() for name, make in taking_part(READERS, given.only).items()}
    one = json.dumps({"data": customer(7)}).encode()
    many = json.dumps({"data": [customer(i) for i in range(LENGTH)]}).encode()
    few = max(1, given.pieces // 2500)
    tables = [
        reading("One customer", one, readers, given.pieces, given.pairs),
        reading(f"{LENGTH:,} customers", many, readers, few, given.pairs),
        memory(f"Peak memory of {LENGTH:,} customers", many, readers),
        listing(many, few, given.pairs),
    ]
    report.write("serde", tables, given.out)


if __name__ == "__main__":
    main()
