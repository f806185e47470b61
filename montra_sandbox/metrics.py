"""What a sandbox has counted since it was started, and its text form for Prometheus. Resets don't reset it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

CONTENT_TYPE: str = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of Prometheus's text format."""
BUCKETS: tuple[float, ...] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the durations, in seconds."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metrics:
    """Counters of one sandbox, used in the server's thread. Their labels have a small number of values.

    Attributes:
        requests: requests by service, operation and status.
        faults: requests that met an injected fault, by its kind.
        deliveries: attempts to deliver webhooks, by their result.
    """

    def __init__(self) -> None:
        self.requests: Counter[Labels] = Counter()
        self.faults: Counter[Labels] = Counter()
        self.deliveries: Counter[Labels] = Counter()
        self._durations: dict[Labels, list[int]] = {}
        self._seconds: dict[Labels, float] = {}

    def count_request(self, service: str, operation: str | None, status: int | None, seconds: float) -> None:
        """Count a request.

        Args:
            service: `montra` or `paywall`.
            operation: the operation of the contract; None for a path that does not exist.
            status: the response's status; None when a fault closed the connection.
            seconds: how long it took.
        """
        labels = (("service", service), ("operation", operation or "unknown"))
        whole = (*labels, ("status", "none" if status is None else str(status)))
        self.requests[whole] += 1
        counts = self._durations.setdefault(labels, [0] * (len(BUCKETS) + 1))
        counts[sum(seconds > bound for bound in BUCKETS)] += 1
        self._seconds[labels] = self._seconds.get(labels, 0.0) + seconds

    def count_fault(self, kind: str) -> None:
        """Count a request that met a fault.

        Args:
            kind: the fault's kind.
        """
        self.faults[(("kind", kind),)] += 1

    def count_delivery(self, result: str) -> None:
        """Count an attempt to deliver a webhook.

        Args:
            result: `succeeded`, `retried` or `failed`.
        """
        self.deliveries[(("result", result),)] += 1

    def families(self) -> Iterator[str]:
        """The text of all metrics that are counted here."""
        yield family("montra_sandbox_requests_total", "counter", "Requests to both APIs.", self.requests)
        yield self._histogram("montra_sandbox_request_duration_seconds", "Duration of the requests to both APIs.")
        yield family("montra_sandbox_faults_total", "counter", "Requests that met an injected fault.", self.faults)
        yield family(
            "montra_sandbox_webhook_attempts_total", "counter", "Attempts to deliver webhooks.", self.deliveries
        )

    def _histogram(self, name: str, help: str) -> str:
        lines = [_head(name, "histogram", help)]
        for labels, counts in self._durations.items():
            below = 0
            for bound, count in zip([*map(_number, BUCKETS), "+Inf"], counts, strict=True):
                below += count
                lines.append(_sample(f"{name}_bucket", (*labels, ("le", bound)), below))
            lines.append(_sample(f"{name}_sum", labels, self._seconds[labels]))
            lines.append(_sample(f"{name}_count", labels, below))
        return "".join(lines)


def family(name: str, kind: Kind, help: str, values: Mapping[Labels, float]) -> str:
    """The text of one metric.

    Args:
        name: its name.
        kind: its type.
        help: what it is.
        values: its value for each set of labels.
    """
    return _head(name, kind, help) + "".join(_sample(name, labels, value) for labels, value in values.items())


def _head(name: str, kind: Kind, help: str) -> str:
    return f"# HELP {name} {help}\n# TYPE {name} {kind}\n"


def _sample(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels)
    return f"{name}{{{shown}}} {_number(value)}\n" if shown else f"{name} {_number(value)}\n"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
