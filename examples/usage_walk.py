"""Usage against a sandbox: a crash loses nothing and counts nothing twice, and a burst does not overrun a limit.

python examples/usage_walk.py
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from walking import ended, expect, step

from montra_async import Montra
from montra_async.access import Access, LimitExceededError
from montra_async.usage import SqliteOutbox, UsageReporter
from montra_sandbox import Sandbox

EVENTS = 1_000
LIMIT = 5_000

RECORDING = f"""
import asyncio, sys
from montra_async import Montra
from montra_async.usage import SqliteOutbox, UsageReporter

async def main(api_key, base_url, outbox, customer_id):
    montra = Montra(api_key, base_url)
    async with UsageReporter(montra, SqliteOutbox(outbox), coalesce=["api-tokens"], coalesce_window=0.1) as usage:
        for _ in range({EVENTS} // 50):
            await asyncio.gather(*(usage.record(customer_id, "api-tokens", amount=3) for _ in range(50)))
            await asyncio.sleep(0.01)
        print("recorded", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


async def crash(montra: Montra, sandbox: Sandbox, customer_id: str, outbox: Path) -> tuple[int, int]:
    """Record in a process that is killed while it sends. Return how many events it left, and what was counted."""
    arguments = (sandbox.api_key, sandbox.base_url, str(outbox), customer_id)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RECORDING, *arguments), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    expect(await process.stdout.readline() == b"recorded\n", "the events could not be recorded")
    while not (counted := await used(montra, customer_id)):  # noqa: ASYNC110 - the service tells nobody
        await asyncio.sleep(0.01)
    process.kill()  # SIGKILL: the process can't do anything about it
    await process.wait()
    async with UsageReporter(montra, SqliteOutbox(outbox), send=False) as usage:
        return (await usage.stats()).waiting, counted


async def used(montra: Montra, customer_id: str) -> int:
    return int((await montra.check_entitlement(customer_id, "api-tokens")).usage or 0)


async def burst(access: Access, customer_id: str) -> tuple[int, int]:
    """Ask 100 questions at once, each for 100 tokens. Return how many were answered, and how many refused."""

    async def ask() -> bool:
        try:
            async with access.hold(customer_id, "api-tokens", estimate=100):
                await asyncio.sleep(0.01)  # your model
        except LimitExceededError:
            return False
        return True

    answered = await asyncio.gather(*(ask() for _ in range(100)))
    return sum(answered), answered.count(False)


async def walk(montra: Montra, sandbox: Sandbox, outbox: Path) -> None:
    plan = await montra.create_pricing_model(name="Free", is_default=True)
    await montra.create_meter(name="API tokens", slug="api-tokens", pricing_model_id=plan.id)
    sandbox.set_limit(pricing_model_id=plan.id, meter_slug="api-tokens", max_amount=LIMIT)
    ada = await montra.create_customer(name="Ada Lovelace", email="ada@example.com")

    sandbox.add_fault(kind="drop_after", times=2, path="/usage")
    step("bad network", "two requests with usage will be counted and not answered")
    left, counted = await crash(montra, sandbox, ada.id, outbox)
    step(f"{EVENTS:,} events recorded, then kill -9", f"{left} wait in {outbox.name}, {counted:,} tokens are counted")
    async with UsageReporter(montra, SqliteOutbox(outbox)) as usage:
        left, counted = await usage.flush(), await used(montra, ada.id)
        step("another process sends the rest", f"{left} wait, {counted:,} tokens are counted")
        expect((left, counted) == (0, 3 * EVENTS), "an event was lost or counted twice")

        answered, refused = await burst(Access(montra, usage), ada.id)
        await usage.flush()
        counted = await used(montra, ada.id)
        step("100 holds of 100 tokens at once", f"{answered} pass, {refused} don't; {counted:,} of {LIMIT:,} used")
        expect((answered, refused, counted) == (20, 80, LIMIT), "the limit was not used up exactly")


async def main() -> None:
    if sys.platform == "win32":
        step("usage in an SQLite outbox", "not on Windows: it has no byte-range locks")
        return
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox() as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
            await walk(montra, sandbox, Path(folder, "usage.db"))


if __name__ == "__main__":
    asyncio.run(main())
    ended()
