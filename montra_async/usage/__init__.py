"""Reporting usage durably: `UsageReporter` stores events in an outbox, and sends them until they are counted."""

from typing import TYPE_CHECKING

__all__ = [
    "BacklogObserver",
    "Event",
    "Exchange",
    "MemoryOutbox",
    "Outbox",
    "OutboxCounts",
    "OutboxError",
    "OutboxFullError",
    "OutboxSettings",
    "OutboxUncertainError",
    "Outcome",
    "ParkedReason",
    "ParkedUsage",
    "RedisOutbox",
    "ReportResult",
    "ReportStatus",
    "ReporterClosedError",
    "Settlement",
    "SpillingOutbox",
    "SqliteOutbox",
    "SummingOutbox",
    "UsageError",
    "UsageObserver",
    "UsageReporter",
    "UsageRequest",
    "UsageStats",
    "WaitingSum",
    "WhenFull",
]

if TYPE_CHECKING:
    from ._public import *
else:
    from .._lazy import lazily

    __getattr__, __dir__ = lazily(__name__, __all__)
