"""The application of `losses.py`: records events with one SDK, and ends in one way.

python benchmarks/kit/loss_program.py SDK CASE ORIGIN FOLDER EVENTS SECONDS
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from kit.usage_sdks import Sdk, make


def markers(who: str, count: int) -> list[str]:
    return [f"mk-{who}-{number}" for number in range(count)]


def cost(sdk: Sdk, events: int) -> None:
    """Print the CPU time of the calling thread per event, in microseconds."""
    sdk.record_all(markers("warm", 200))
    chosen = markers("p", events)
    began = time.thread_time()
    sdk.record_all(chosen)
    print((time.thread_time() - began) / events * 1e6, flush=True)
    os._exit(0)


def end_by(number: int) -> None:
    """Send a signal to this process, and wait for the end."""
    os.kill(os.getpid(), number)
    time.sleep(3600)


def fork(sdk: Sdk, events: int, seconds: float) -> None:
    """The parent records half of them before it forks, the child the other half."""
    sdk.record_all(markers("p", events // 2))
    child = os.fork()
    if child == 0:
        signal.alarm(max(1, int(seconds / 2)))  # a flush of a child may never return
        sdk.record_all(markers("c", events - events // 2))
        sdk.flush(seconds / 2)
        return
    os.waitpid(child, 0)
    sdk.flush(seconds / 2)


def main() -> None:
    name, case, origin, folder, events, seconds = sys.argv[1:]
    sdk, count, limit = make(name, origin, Path(folder)), int(events), float(seconds)
    if case == "cost":
        return cost(sdk, count)
    if case == "fork":
        return fork(sdk, count, limit)
    if case != "next start":
        sdk.record_all(markers("p", count))
    if case in ("burst", "next start"):
        sdk.flush(limit)
    elif case == "SIGTERM":
        end_by(signal.SIGTERM)
    elif case == "SIGKILL":
        end_by(signal.SIGKILL)
    return None


if __name__ == "__main__":
    main()
