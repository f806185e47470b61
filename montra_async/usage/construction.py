"""From the arguments of a reporter, in either package, to its engine."""

from __future__ import annotations

import os
from typing import Any, cast

from ..client import Montra
from ..core.errors import ConfigError
from ..core.redaction import Secret
from ..core.twins import is_of, name_of_class
from .engine import UsageEngine
from .outbox import Outbox
from .settings import ReporterSettings

_METHODS = (
    *("open", "append", "exchange", "renew", "drop_oldest", "counts", "list_parked", "retry_parked", "drop_parked"),
    *("before_fork", "after_fork_in_child", "close"),
)


def make_engine(montra: Any, outbox: Any, **settings: Any) -> UsageEngine:
    """Check the arguments and make the engine.

    Args:
        montra: the asynchronous client.
        outbox: the outbox; None for a file.
        settings: see `UsageReporter`.

    Raises:
        ConfigError: the client can't be used on another event loop, or the outbox is none.
        InvalidArgumentError: a setting is invalid.
    """
    checked = ReporterSettings(**settings)
    if not isinstance(montra, Montra):
        raise _no_client(montra)
    if montra.is_bound_to_loop:
        raise ConfigError(
            "montra: this client has a session or connector that belongs to one event loop; usage is sent on another: "
            "give a client without session=, or connector=<a function that makes one>"
        )
    box = _checked(outbox)
    if box.renew_after is not None and checked.request_timeout >= box.renew_after:
        raise ConfigError(
            f"request_timeout: less than half of the outbox's claim_ttl, i.e. less than {box.renew_after:g} s: "
            "a claim must not expire while its request is under way"
        )
    view = montra.with_options(max_attempts=1, timeout=checked.request_timeout)
    return UsageEngine(view, montra.base_url, box, checked)


def _no_client(montra: Any) -> ConfigError:
    name = name_of_class(montra)
    if is_of("montra_sync", montra) and hasattr(montra, "is_bound_to_loop"):
        # The synchronous reporter would have unwrapped it.
        return ConfigError(f"montra: a montra_async.Montra, not {name}; for that, use montra_sync.usage.UsageReporter")
    return ConfigError(f"montra: a Montra client, not {name}")


def _checked(outbox: Any) -> Outbox:
    if outbox is None:
        return default_outbox()
    if isinstance(outbox, (str, os.PathLike)):
        raise ConfigError("outbox: SqliteOutbox(path), RedisOutbox(url) or MemoryOutbox(), not a path or URL")
    if missing := [name for name in _METHODS if not callable(getattr(outbox, name, None))]:
        raise ConfigError(f"outbox: {type(outbox).__name__} is no outbox: it has no {missing[0]}()")
    return cast("Outbox", outbox)


def default_outbox() -> Outbox:
    """The outbox of the environment variable `MONTRA_OUTBOX`: a path or the URL of a Redis. Without it, a file.

    Raises:
        ConfigError: neither.
    """
    return outbox_at(Secret(os.environ.get("MONTRA_OUTBOX", "")))


def outbox_at(place: Secret, name: str = "default") -> Outbox:
    """An outbox in a file or in Redis.

    Args:
        place: a path, or a URL that begins with `redis://`, `rediss://` or `unix://`; empty for the user's own file.
        name: name of the outbox in Redis. Default: "default".

    Raises:
        ConfigError: neither.
    """
    if place.reveal().startswith(("redis://", "rediss://", "unix://")):
        from .redis.redis_outbox import RedisOutbox

        return RedisOutbox(place.reveal(), name=name)
    from .sqlite.sqlite_outbox import SqliteOutbox

    return SqliteOutbox(place.reveal() or None)
