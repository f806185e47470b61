"""What a fleet needs for a million events per second: Redis streams, workers, cores, and requests to the service.

    python benchmarks/fleet.py --events 1000000 --customers 200000
    python benchmarks/fleet.py --window 10 --service-rate 20000 --outage 60

A calculation from measured figures, which are the options (`benchmarks/usage.py` measures them; take your own), and a
simulation of sums, their windows and a service with a limit. It measures nothing here.

Customers are not equally busy: the activity of the n-th is 1/n**SKEW. A sum is opened by an event of a customer and
meter, and is due when its window is over; events that come while it waits to be claimed are added to it, for
`--open-windows` windows at most. So coalescing grows when the service is slow, and the delay has a limit of its own:
about customers / service rate.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit import report
from kit.pairs import Row, Table

_LARGEST = 20_000
"""Customers that are simulated; of a larger fleet, every n-th is, with an n-th of the service."""


@dataclass
class Figures:
    """What was measured, and what is asked for. Events and requests per second, CPU in microseconds."""

    events: float
    customers: int
    skew: float
    redis_rate: float
    redis_plain_rate: float
    record_cpu: float
    send_cpu: float
    latency: float
    concurrency: int
    service_rate: float
    open_windows: float


@dataclass
class Outcome:
    """What a simulation has shown."""

    requests: float
    """Requests per second, after the start."""
    delay_p50: float
    delay_p99: float
    """Seconds from the first event of a sum to its answer."""
    waiting: int
    """Requests that wait at the end, in the whole fleet."""
    caught_up: float | None
    """Seconds after the outage until no more waits than before; None if that did not happen."""


def activity(figures: Figures) -> list[float]:
    """Events per second of each customer."""
    weights = [1 / number**figures.skew for number in range(1, figures.customers + 1)]
    whole = sum(weights)
    return [figures.events * weight / whole for weight in weights]


def requests_per_second(rates: Sequence[float], window: float) -> float:
    """Sums that are begun per second: the next one begins with the first event after the window of the last."""
    return sum(rates) if window <= 0 else sum(rate / (1 + rate * window) for rate in rates)


class Simulation:
    """Sums of customers, and a service that accepts so many requests per second.

    Args:
        rates: events per second of each customer.
        window: seconds for which a sum is open.
        capacity: requests per second that are sent at most.
        latency: seconds of a request.
        open_windows: number of windows for which a sum that waits stays open for more events.
        seed: of the random numbers.
    """

    def __init__(
        self, rates: Sequence[float], window: float, capacity: float, latency: float, open_windows: float, seed: int = 7
    ) -> None:
        self._rates, self._window, self._capacity, self._latency = rates, window, capacity, latency
        self._longest = window * open_windows
        self._random = random.Random(seed)
        self._due: list[tuple[float, float, int]] = []  # (due, first event, customer)
        self._closing: deque[tuple[float, float, int]] = deque()
        self.waiting: deque[tuple[float, int]] = deque()
        self._open: dict[tuple[float, int], bool] = {}
        self.delays: list[float] = []
        self._left = 0.0
        for customer in range(len(rates)):
            self._begin(customer, -self._random.random() * window)

    def _begin(self, customer: int, now: float) -> None:
        first = now + self._random.expovariate(self._rates[customer])
        heapq.heappush(self._due, (first + self._window, first, customer))

    def step(self, now: float, seconds: float, available: bool) -> None:
        """Go on to `now`, `seconds` after the last step."""
        while self._due and self._due[0][0] <= now:
            _, first, customer = heapq.heappop(self._due)
            self.waiting.append((first, customer))
            self._open[first, customer] = True
            self._closing.append((first + self._longest, first, customer))
        while self._closing and self._closing[0][0] <= now:
            _, first, customer = self._closing.popleft()
            if self._open.get((first, customer)):  # it is full: the next event opens another one
                self._open[first, customer] = False
                self._begin(customer, now)
        room = self._capacity * seconds if available else 0.0
        self._left = min(self._left + room, max(room, 1.0))
        while self.waiting and self._left >= 1:
            self._left -= 1
            first, customer = self.waiting.popleft()
            self.delays.append(now - first + self._latency)
            if self._open.pop((first, customer)):
                self._begin(customer, now)


def simulate(figures: Figures, window: float, *, seconds: float, outage: float) -> Outcome:
    """Run for some seconds, then through an outage if there is one, and until what waited is sent."""
    share = max(1, math.ceil(figures.customers / _LARGEST))
    rates = activity(figures)[::share]
    scale = figures.events / sum(rates)  # the chosen ones do their share of all events
    rates = [rate * scale / share for rate in rates]
    capacity = figures.service_rate / share
    world = Simulation(rates, window, capacity, figures.latency, figures.open_windows)
    tick = max(0.005, min(0.05, 5 / capacity))
    now, start = 0.0, 3 * window
    usual, caught_up, counted_at = 0, None, start
    end = start + seconds + (outage and outage + 10 * seconds)
    while now < end:
        now += tick
        down = start + seconds <= now < start + seconds + outage
        if now < start:
            world.delays.clear()
        if now < start + seconds:
            usual, counted_at = max(usual, len(world.waiting)), now
        world.step(now, tick, not down)
        if outage and now >= start + seconds + outage and len(world.waiting) <= usual:
            caught_up = now - (start + seconds + outage)
            break
        if outage and now < start + seconds:
            sent = len(world.delays)
    if not outage:
        sent = len(world.delays)
    delays = sorted(world.delays) or [0.0]
    return Outcome(
        requests=share * sent / max(tick, counted_at - start),
        delay_p50=delays[len(delays) // 2],
        delay_p99=delays[int(0.99 * (len(delays) - 1))],
        waiting=share * len(world.waiting),
        caught_up=caught_up,
    )


def needs(figures: Figures, rates: Sequence[float], window: float) -> dict[str, float]:
    """What is needed of each, when the service keeps up."""
    requests = requests_per_second(rates, window)
    redis_rate = figures.redis_rate if window > 0 else figures.redis_plain_rate
    by_latency = requests * figures.latency / figures.concurrency
    by_cpu = requests * figures.send_cpu / 1e6
    return {
        "requests to the service per second": requests,
        "events per request": figures.events / requests,
        "Redis outboxes (streams, shards)": math.ceil(figures.events / redis_rate),
        "cores for recording, in the applications": figures.events * figures.record_cpu / 1e6,
        "workers: processes of `montra-usage`": math.ceil(max(by_latency, by_cpu / 0.7)),
        "cores for sending": by_cpu,
    }


def _name(window: float) -> str:
    return f"coalesced, window {window:g} s" if window > 0 else "one by one"


def calculated(figures: Figures, windows: Sequence[float]) -> list[Table]:
    rates = activity(figures)
    found = {window: needs(figures, rates, window) for window in windows}
    return [
        Table(quantity, "number", [Row(_name(window), found[window][quantity]) for window in windows])
        for quantity in found[windows[0]]
    ]


def simulated(figures: Figures, windows: Sequence[float], seconds: float, outage: float) -> list[Table]:
    usual = {window: simulate(figures, window, seconds=seconds, outage=0.0) for window in windows}
    limit = f"simulated, the service accepts {figures.service_rate:,.0f}/s"
    tables = [
        Table(f"requests per second, {limit}", "number", [Row(_name(one), usual[one].requests) for one in windows]),
        Table("seconds from a sum's first event to its answer, p50", "s", _rows(usual, "delay_p50")),
        Table("seconds from a sum's first event to its answer, p99", "s", _rows(usual, "delay_p99")),
    ]
    if outage:
        after = {window: simulate(figures, window, seconds=seconds, outage=outage) for window in windows}
        rows = [Row(_name(window), one.caught_up) for window, one in after.items() if one.caught_up is not None]
        tables.append(Table(f"seconds until it has caught up after an outage of {outage:g} s", "s", rows))
    return [table for table in tables if table.rows]


def _rows(outcomes: Mapping[float, Outcome], quantity: str) -> list[Row]:
    return [Row(_name(window), getattr(outcome, quantity)) for window, outcome in outcomes.items()]


def matrix(figures: Figures, windows: Sequence[float], tables: Sequence[Table]) -> str:
    """One line per quantity, one column per window."""
    names = [_name(window) for window in windows]
    lines = [
        f"### {figures.events:,.0f} events/s of {figures.customers:,} customers",
        "",
        f"| | {' | '.join(names)} |",
        "|---|" + "---:|" * len(names),
    ]
    for table in tables:
        costs = {row.name: _text(row.cost) for row in table.rows}
        lines.append(f"| {table.title} | {' | '.join(costs.get(name, '') for name in names)} |")
    return "\n".join(lines)


def _text(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:,.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def option(name: str, kind: type, default: object, text: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=f"{text} (default: {default})")

    option("--events", float, 1_000_000, "events per second of the fleet")
    option("--customers", int, 100_000, "active pairs of customer and meter")
    option("--skew", float, 1.0, "0: all are equally busy; 1: the n-th does 1/n of the first")
    option("--redis-rate", float, 80_000, "measured: events per second that one Redis outbox takes, coalesced")
    option("--redis-plain-rate", float, 40_000, "measured: the same, each event on its own")
    option("--record-cpu", float, 5.0, "measured: microseconds of an application's CPU per recorded event")
    option("--send-cpu", float, 200.0, "measured: microseconds of a worker's CPU per request")
    option("--latency", float, 0.05, "seconds of a request to the service")
    option("--concurrency", int, 32, "requests under way at once per worker")
    option("--service-rate", float, 50_000, "requests per second that the service accepts")
    option("--open-windows", float, 10, "windows for which a sum that waits stays open")
    option("--seconds", float, 10, "length of the simulation")
    option("--outage", float, 30, "seconds for which the service is down in the second simulation; 0: none")
    parser.add_argument("--window", type=float, nargs="*", default=[0, 1, 10, 60], help="coalesce windows, in seconds")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder for JSON, tables and chart")
    given = parser.parse_args()
    if min(given.events, given.customers, given.service_rate, given.redis_rate, given.concurrency) <= 0:
        parser.error("events, customers, rates and concurrency: more than 0")
    figures = Figures(**{name: getattr(given, name) for name in Figures.__dataclass_fields__})
    tables = calculated(figures, given.window)
    coalesced = [window for window in given.window if window > 0]  # one by one, the calculation says it all
    tables += simulated(figures, coalesced, given.seconds, given.outage)
    report.write("fleet", tables, given.out, text=matrix(figures, given.window, tables))


if __name__ == "__main__":
    main()
