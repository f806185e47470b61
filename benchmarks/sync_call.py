"""One synchronous POST with a typed answer, from 1, 8 and 32 threads, beside the libraries of blocking code.

    python benchmarks/sync_call.py --threads 1 8

Wall time per call: what a caller waits. All threads share one client, as they would in an application.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from kit import options, report
from kit.contenders import taking_part
from kit.neutral_server import running
from kit.pairs import Measure, Table, compare
from kit.request import BODY, KEY, headers

from montra_sync import Montra

MOST_THREADS = 32

Call = Callable[[], object]
Make = Callable[[str, ExitStack], Call]


def requests(origin: str, stack: ExitStack) -> Call:
    import requests
    from requests.adapters import HTTPAdapter

    session = stack.enter_context(requests.Session())
    session.mount("http://", HTTPAdapter(pool_maxsize=MOST_THREADS))

    def call() -> object:
        response = session.post(f"{origin}/customers", json=BODY, headers=headers())
        response.raise_for_status()
        return response.json()["data"]

    return call


def urllib3(origin: str, stack: ExitStack) -> Call:
    import urllib3

    pool = stack.enter_context(urllib3.PoolManager(maxsize=MOST_THREADS))

    def call() -> object:
        response = pool.request(
            "POST",
            f"{origin}/customers",
            body=json.dumps(BODY).encode(),
            headers={**headers(), "Content-Type": "application/json"},
        )
        if response.status >= 400:
            raise OSError(response.status)
        return json.loads(response.data)["data"]

    return call


def httpx(origin: str, stack: ExitStack) -> Call:
    import httpx

    client = stack.enter_context(httpx.Client())

    def call() -> object:
        response = client.post(f"{origin}/customers", json=BODY, headers=headers())
        response.raise_for_status()
        return response.json()["data"]

    return call


def openai(origin: str, stack: ExitStack) -> Call:
    import openai

    client = stack.enter_context(openai.OpenAI(api_key=KEY, base_url=origin))
    return lambda: client.models.retrieve("m")


def stripe(origin: str, stack: ExitStack) -> Call:
    import stripe

    client = stripe.StripeClient(KEY, base_addresses={"api": origin})
    return lambda: client.v1.customers.create({"name": "Ada Lovelace", "email": "ada@example.com"})


def montra(origin: str, stack: ExitStack) -> Call:
    client = stack.enter_context(Montra(KEY, origin))

    def call() -> object:
        return client.create_customer(
            name="Ada Lovelace", email="ada@example.com", metadata={"team": "engines", "seats": 12}
        )

    return call


MAKERS: dict[str, tuple[Make, str | None]] = {
    "montra (typed)": (montra, None),
    "urllib3": (urllib3, "urllib3"),
    "httpx": (httpx, "httpx"),
    "openai, one typed GET": (openai, "openai"),
    "stripe, customers.create": (stripe, "stripe"),
}


def cost(make: Make, origin: str, calls: int, threads: int) -> float:
    """Microseconds of wall time per call."""
    with ExitStack() as stack:
        call = make(origin, stack)
        pool = stack.enter_context(ThreadPoolExecutor(threads))

        def share() -> None:
            for _ in range(calls // threads):
                call()

        for warm in [pool.submit(call) for _ in range(threads)]:
            warm.result()
        began = time.perf_counter()
        for done in [pool.submit(share) for _ in range(threads)]:
            done.result()
        return (time.perf_counter() - began) / (calls // threads * threads) * 1e6


def main() -> None:
    parser = options.parser(__doc__, pieces=1000)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 8, MOST_THREADS])
    given = options.parse(parser)
    makers = taking_part(MAKERS, given.only)
    tables: list[Table] = []
    with running() as origin:
        for threads in given.threads:

            def measure(make: Make, threads: int = threads) -> Measure:
                return lambda: cost(make, origin, given.pieces, threads)

            others = {name: measure(make) for name, make in makers.items()}
            rows = compare(("requests", measure(requests)), others, pairs=given.pairs)
            tables.append(Table(f"One sync call, {threads} thread{'s' * (threads > 1)}", "wall us", rows))
    report.write("sync_call", tables, given.out)


if __name__ == "__main__":
    main()
