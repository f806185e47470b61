"""Run the examples of both services against the sandbox, over real HTTP.

python examples/quickstart.py
"""

import asyncio

import montra_walk
import paywall_walk
import usage_walk
from walking import ended

if __name__ == "__main__":
    print("Montra\n")
    asyncio.run(montra_walk.main())
    print("\nUsage at scale\n")
    asyncio.run(usage_walk.main())
    print("\nThe paywall service\n")
    asyncio.run(paywall_walk.main())
    ended()
