"""A process of threads that hold and record as fast as they can. Prints the units that it has recorded, one line each.

python -m tests.access.sync_fleet_worker REDIS_URL MODE
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from montra_async import Entitlement
from montra_sync.access import Access, LimitExceededError, RedisHolds

from .fleet_worker import LEASE

LIMIT = 300
THREADS = 8


class Service:
    async def check_entitlement(self, customer_id: str, meter_slug: str) -> Entitlement:
        return Entitlement(has_access=True, usage=0, limit=LIMIT)


class Usage:
    """Stands in for the reporter: what is recorded is printed, and never delivered."""

    def __init__(self) -> None:
        self.observer: Any = None
        self._printing = threading.Lock()

    def add_observer(self, observer: Any) -> None:
        self.observer = observer

    def remove_observer(self, observer: Any) -> None: ...

    def record(self, customer_id: str, meter_slug: str, *, amount: Any = 1, **_: Any) -> None:
        self.observer.recorded(customer_id, meter_slug, amount)
        with self._printing:
            print(amount, flush=True)


def use(access: Access) -> None:
    while True:
        try:
            with access.hold("c", "m", estimate=2) as hold:
                hold.amount = 1
        except LimitExceededError as error:
            if not error.remaining or error.usage == LIMIT - 1:
                return
            time.sleep(0.01)


def main(url: str, mode: str) -> None:
    service: Any = Service()
    with Access(service, Usage(), fleet=RedisHolds(url, lease=LEASE, timeout=30)) as access:
        if mode == "hold":  # until it is killed
            for _ in range(LIMIT):
                access.hold("c", "m").acquire().renews = True
            print("holding", flush=True)
            time.sleep(600)
        with ThreadPoolExecutor(THREADS) as threads:
            for done in [threads.submit(use, access) for _ in range(THREADS)]:
                done.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
