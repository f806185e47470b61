"""An asyncio worker that shuts down gracefully: on SIGTERM it takes no more jobs, finishes the running ones, and exits.

MONTRA_BASE_URL=... MONTRA_API_KEY=... python worker.py < jobs     # one job per line: <id> <customer id> <tokens>
"""

import asyncio
import signal
import sys
import threading

from montra_async import Montra, MontraError

AT_ONCE = 10
SECONDS_TO_DRAIN = 20


async def work(montra: Montra, job: str) -> None:
    job_id, customer_id, amount = job.split()
    try:
        # The job's id is the idempotency key: a job that is delivered again after a crash is counted once.
        await montra.report_usage(
            customer_id=customer_id, meter_slug="api-tokens", amount=int(amount), idempotency_key=f"job-{job_id}"
        )
        print("done", job_id, flush=True)
    except MontraError as error:
        print("failed", job_id, error, flush=True)  # your queue delivers it again


def read_jobs(queue: asyncio.Queue[str | None]) -> None:
    """Read jobs into the queue. Here they are lines of standard input, read in a daemon thread. None is the end."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()
        asyncio.run_coroutine_threadsafe(queue.put(None), loop).result()

    threading.Thread(target=read, daemon=True).start()


async def next_job(queue: asyncio.Queue[str | None], stop: asyncio.Event) -> str | None:
    """Return the next job; None at the end of the queue, or when `stop` is set."""
    job, stopping = asyncio.ensure_future(queue.get()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({job, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if job.done():
        return job.result()
    job.cancel()
    return None


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    under_way: set[asyncio.Task[None]] = set()
    queue: asyncio.Queue[str | None] = asyncio.Queue(AT_ONCE)
    read_jobs(queue)
    async with Montra() as montra:
        print("ready", flush=True)
        while not stop.is_set() and (job := await next_job(queue, stop)) is not None:
            task = asyncio.create_task(work(montra, job))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            if len(under_way) >= AT_ONCE:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        if under_way:
            print(f"draining {len(under_way)}", flush=True)
            await asyncio.wait(under_way, timeout=SECONDS_TO_DRAIN)
    print("stopped", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
