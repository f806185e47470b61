"""Where each name of `montra_async.usage` comes from."""

from .bulk import ReportResult as ReportResult, ReportStatus as ReportStatus
from .errors import (
    OutboxError as OutboxError,
    OutboxFullError as OutboxFullError,
    OutboxUncertainError as OutboxUncertainError,
    ReporterClosedError as ReporterClosedError,
    UsageError as UsageError,
)
from .events import (
    Event as Event,
    Outcome as Outcome,
    ParkedReason as ParkedReason,
    ParkedUsage as ParkedUsage,
    Settlement as Settlement,
    UsageRequest as UsageRequest,
)
from .memory_outbox import MemoryOutbox as MemoryOutbox
from .observer import BacklogObserver as BacklogObserver, UsageObserver as UsageObserver
from .outbox import (
    Exchange as Exchange,
    Outbox as Outbox,
    OutboxCounts as OutboxCounts,
    OutboxSettings as OutboxSettings,
    SummingOutbox as SummingOutbox,
    WaitingSum as WaitingSum,
)
from .redis.redis_outbox import RedisOutbox as RedisOutbox
from .reporter import UsageReporter as UsageReporter
from .settings import UsageStats as UsageStats
from .spilling_outbox import SpillingOutbox as SpillingOutbox
from .sqlite.sqlite_outbox import SqliteOutbox as SqliteOutbox
from .writer import WhenFull as WhenFull
