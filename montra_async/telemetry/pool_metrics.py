"""`PoolMetrics`: how many connections are in use, and how many calls wait for one."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.util.types import AttributeValue

from ..core.http.transport import Transport

Labels = tuple[tuple[str, AttributeValue], ...]


class PoolMetrics:
    """Observes the pools of clients, which it does not keep alive. Those of one server are added up.

    Args:
        meter: of OpenTelemetry.
    """

    def __init__(self, meter: Meter) -> None:
        self._labels: weakref.WeakKeyDictionary[Transport, Labels] = weakref.WeakKeyDictionary()
        self._create(meter, "in_use", "{connection}", "Connections of the pool that are in use.")
        self._create(meter, "waiting", "{call}", "Calls that wait for a connection of the pool.")
        self._create(meter, "size", "{connection}", "Connections that the pool may have.")

    def _create(self, meter: Meter, name: str, unit: str, description: str) -> None:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            sums: dict[Labels, int] = defaultdict(int)
            for reference in self._labels.keyrefs():  # a copy: other threads add clients meanwhile
                transport = reference()
                labels = None if transport is None else self._labels.get(transport)
                if transport is not None and labels is not None:
                    sums[labels] += sum(getattr(state, name) for state in transport.pool_states())
            return [Observation(value, dict(labels)) for labels, value in sums.items()]

        meter.create_observable_up_down_counter(f"montra.client.pool.{name}", [observe], unit, description)

    def add(self, transport: Transport, labels: dict[str, AttributeValue]) -> None:
        """Observe a client's connections.

        Args:
            transport: of the client.
            labels: attributes of the metrics.
        """
        self._labels[transport] = tuple(labels.items())

    def remove(self, transport: Transport) -> None:
        """Observe a client's connections no longer.

        Args:
            transport: of the client.
        """
        self._labels.pop(transport, None)
