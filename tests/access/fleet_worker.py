"""A process that holds and records as fast as it can. Prints the units that it has recorded, one line each.

python -m tests.access.fleet_worker REDIS_URL MODE
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from montra_async import Entitlement
from montra_async.access import Access, LimitExceededError, RedisHolds

LIMIT = 500
LEASE = 4
"""Seconds: a busy machine may keep the process from renewing its holds for most of them."""


class Service:
    async def check_entitlement(self, customer_id: str, meter_slug: str) -> Entitlement:
        return Entitlement(has_access=True, usage=0, limit=LIMIT)


class Usage:
    def __init__(self) -> None:
        self.observer: Any = None

    def add_observer(self, observer: Any) -> None:
        self.observer = observer

    def remove_observer(self, observer: Any) -> None: ...

    async def record(self, customer_id: str, meter_slug: str, *, amount: Any = 1, **_: Any) -> None:
        self.observer.recorded(customer_id, meter_slug, amount)
        print(amount, flush=True)


async def main(url: str, mode: str) -> None:
    service: Any = Service()
    async with Access(service, Usage(), fleet=RedisHolds(url, lease=LEASE, timeout=30)) as access:
        if mode == "hold":  # until it is killed
            for _ in range(LIMIT):
                hold = await access.hold("c", "m")
                hold.renews = True
            print("holding", flush=True)
            await asyncio.sleep(600)

        async def some() -> None:
            while True:
                try:
                    async with access.hold("c", "m", estimate=2) as hold:
                        await asyncio.sleep(0)
                        hold.amount = 1
                except LimitExceededError as error:
                    if not error.remaining or error.usage == LIMIT - 1:
                        return
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(some() for _ in range(20)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
