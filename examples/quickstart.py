"""Run the examples of both services against the sandbox, over real HTTP.

python examples/quickstart.py           every step with what came back
python examples/quickstart.py --stay    then a sandbox with demo data, to look at in a browser, until Ctrl-C
"""

import argparse
import asyncio

import montra_walk
import paywall_walk
import usage_walk
from walking import ended

from montra_sandbox import Sandbox
from montra_sandbox.foreground import run_in_foreground


def furnish(sandbox: Sandbox) -> str:
    """A year of an invented company."""
    return f"The dashboard shows {sandbox.demo()['customers']} invented customers."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The examples of both services against the sandbox, over real HTTP.")
    parser.add_argument("--stay", action="store_true", help="then run a sandbox with demo data until Ctrl-C")
    parser.add_argument("--port", type=int, default=4242, help="its port; 0 for a free one (default: 4242)")
    options = parser.parse_args()
    print("Montra\n")
    asyncio.run(montra_walk.main())
    print("\nUsage at scale\n")
    asyncio.run(usage_walk.main())
    print("\nThe paywall service\n")
    asyncio.run(paywall_walk.main())
    ended()
    if options.stay:
        print()
        run_in_foreground(Sandbox(port=options.port), furnish)
