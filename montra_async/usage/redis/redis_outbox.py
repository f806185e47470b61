"""An outbox in Redis, for the machines of a fleet. Needs the extra `montra[redis]`."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any

from ...core.errors import ConfigError
from ...core.redaction import SecretText
from ..errors import OutboxError, OutboxFullError
from ..events import Event, ParkedUsage, Settlement, UsageRequest
from ..outbox import Exchange, OutboxCounts, OutboxSettings
from . import redis_claim_scripts as claims, redis_scripts as scripts
from .redis_codec import claimed_requests, parked_requests, request_text, settlement_lines, text_of
from .redis_connection import RedisConnection
from .redis_scripts import Script
from .redis_writer import RedisWriter

MAX_SIZE = 1024**3
"""Bytes that an outbox may take in Redis, by default."""

_BACKLOG_WINDOWS = 10
"""A sum stays open behind a backlog for this many coalesce windows at most."""

_PAGE = 500
_CALL_MEMORY = 3600
_LONGEST_IDLE = 24 * 3600
_UNBOUNDED = 2**53
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")

log: logging.Logger = logging.getLogger("montra")


class RedisOutbox:
    """An outbox in Redis. Any process with the same name may send what any other has recorded.

    What it keeps is as durable as Redis is: with `appendonly yes` and `appendfsync always` everything that was recorded
    survives a power cut, with `everysec` the last second may be lost. Redis must not evict keys (`noeviction`).

    All keys have the hash tag `{name}`, so an outbox is on one node of a cluster. Several outboxes use several nodes.

    Args:
        client: a `redis.Redis`, a `redis.RedisCluster`, or a URL. Give a client of your own a `socket_timeout` and a
            `socket_connect_timeout`: without them, a call may wait for Redis for ever.
        name: name of the outbox, the same for all processes that share it: up to 100 letters, digits, ".", "_" and "-".
            Default: "default".
        max_size: maximum size in Redis, in bytes, estimated; parked requests count, too. Default: 1 GiB.
        max_events: maximum number of events, parked ones included. None: no limit. Default: None.
        claim_ttl: seconds after which a claim of a silent process expires, and another process may send its requests.
            It must be larger than twice the time-out of one request to the service. Default: 60 s.
        timeout: with a URL: seconds that one attempt waits for Redis. Default: 2 s.
        patience: seconds for which a call is attempted again while Redis is away, starts, or fails over. Default: 5 s.

    Raises:
        ConfigError: an argument is not valid.
        ImportError: a URL was given, and redis is not installed.
        TypeError: `client` is none of these.
    """

    durable: bool = True

    def __init__(
        self,
        client: Any | SecretText,
        *,
        name: str = "default",
        max_size: int = MAX_SIZE,
        max_events: int | None = None,
        claim_ttl: float = 60.0,
        timeout: float = 2.0,
        patience: float = 5.0,
    ) -> None:
        connection = RedisConnection(client, timeout=timeout, patience=patience)
        del client  # a URL may contain a password, which a traceback with local variables must not show
        if not _NAME.fullmatch(name):
            raise ConfigError('name: up to 100 letters, digits, ".", "_" and "-"')
        for parameter, value in (("claim_ttl", claim_ttl), ("timeout", timeout), ("patience", patience)):
            if not 0 < value < 24 * 3600:
                raise ConfigError(f"{parameter}: seconds, more than 0 and less than a day")
        if max_size < 1 or (max_events is not None and max_events < 1):
            raise ConfigError("max_size and max_events: at least 1")
        self.name: str = name
        """Name of the outbox."""
        self.claim_ttl: float = claim_ttl
        """Seconds after which a claim expires."""
        self.renew_after: float | None = claim_ttl / 2
        """Seconds after which a claimed request that is not on the wire yet must be renewed."""
        self._max_size, self._max_events = max_size, _UNBOUNDED if max_events is None else max_events
        self._connection = connection
        self._prefix = f"montra:usage:{{{name}}}:"
        self._keys = [self._prefix + key for key in scripts.KEYS]
        self._settings: OutboxSettings | None = None
        self._clock: Callable[[], float] | None = None  # replaces Redis's clock in tests
        self._warned = False
        self._new_identity()

    def _new_identity(self) -> None:
        """Make the names of this process in Redis. A forked child has names of its own."""
        host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:100]
        self._owner = f"{host}-{os.getpid()}-{os.urandom(8).hex()}"
        self._exchange_number = self._drop_number = 1
        self._held: dict[str, int] = {}
        self._writer = RedisWriter(self._run)

    def open(self, settings: OutboxSettings) -> None:
        """Prepare the outbox in Redis.

        Args:
            settings: what the reporter wants.

        Raises:
            ConfigError: the outbox of this name belongs to another API.
            OutboxError: Redis can't be reached or refuses. A later call tries again.
        """
        self._settings = settings
        reply = self._reply(scripts.OPEN, self._owner, _LONGEST_IDLE * 1000)
        if reply[0] == "other":
            raise ConfigError(self._other_api(reply))
        self._warn_of_settings()

    def append(self, events: Sequence[Event]) -> None:
        """Store events in one transaction of Redis.

        Args:
            events: at least one.

        Raises:
            OutboxFullError: `max_size` or `max_events` is reached.
            OutboxUncertainError: Redis has not answered, so that the events may be recorded. Appending the same events
                again, with others or without, records none of them twice.
            OutboxError: Redis can't be reached or refuses. Nothing was recorded.
        """
        reply = self._writer.append(events, self._opened().coalesce_window, self._max_events, self._max_size)
        self._refuse_when_full(reply)
        if reply[0] != "ok":
            raise OutboxError(f"Redis at {self._connection.place}: it has lost a part of the events ({reply[0]})")

    def _refuse_when_full(self, reply: list[Any]) -> None:
        if reply[0] == "full":
            raise OutboxFullError(
                f"Redis at {self._connection.place}: the outbox {self.name} is full: "
                f"{text_of(reply[1])} events, {text_of(reply[2])} bytes"
            )

    def was_recorded(self, group: str) -> bool | None:
        """Find out whether a group of events was recorded whose answer was lost. If not, it never will be.

        Args:
            group: `OutboxUncertainError.group`, of any process.

        Returns:
            None: Redis does not remember. It forgets a writer after a week, or when it loses its data.

        Raises:
            OutboxError: Redis can't be reached or refuses.
        """
        return self._writer.was_recorded(group)

    def append_ambiguous(self, events: Sequence[tuple[Event, float]]) -> None:
        """Store events that may have been sent before. They are not added to others.

        Storing one of them twice is safe: both have the same key, and both expire.

        Args:
            events: each with the first time at which it may have been sent, in seconds since 1970. When that was longer
                than `expires_after` ago, the event is parked instead of claimed.

        Raises:
            OutboxFullError: `max_size` or `max_events` is reached.
            OutboxError: Redis can't be reached or refuses.
        """
        for at in range(0, len(events), _PAGE):
            items: list[Any] = []
            for event, sent_at in events[at : at + _PAGE]:
                body = event.customer_id, event.meter_slug, event.units, event.scale, event.metadata
                text = request_text(event.key, body, 1, event.recorded_at)
                items += (text, repr(float(event.recorded_at)), f"{max(sent_at, 0.0):.6f}")
            self._refuse_when_full(self._run(scripts.APPEND_AMBIGUOUS, self._max_events, self._max_size, *items))

    def exchange(self, settlements: Sequence[Settlement], limit: int, *, flush: bool = False) -> Exchange:
        """Settle what was claimed before, and claim what is due, in one transaction of Redis.

        Args:
            settlements: what became of requests.
            limit: maximum number of requests to claim; 0 to settle only. No more than 1,000 are claimed at once.
            flush: claim sums whose window is still open, too.

        Raises:
            OutboxError: Redis can't be reached or refuses. Settling again is safe.
        """
        most = claims.MAX_CLAIMS
        while len(settlements) > most:
            self._exchange(settlements[:most], 0, flush=False)
            settlements = settlements[most:]
        return self._exchange(settlements, min(limit, most), flush=flush)

    def _exchange(self, settlements: Sequence[Settlement], limit: int, *, flush: bool) -> Exchange:
        settings = self._opened()
        lines = "".join(map(settlement_lines, settlements))
        patience = settings.coalesce_window * _BACKLOG_WINDOWS
        spans = (self.claim_ttl, settings.expires_after, patience)
        head = (self._owner, self._exchange_number, limit, int(flush), *spans)
        _, next_due, claimed, expired = self._run(claims.EXCHANGE, *head, lines)
        self._exchange_number += 1
        for settlement in settlements:
            self._held.pop(str(settlement.request.id), None)
        requests = claimed_requests(text_of(claimed))
        self._held.update((str(request.id), request.attempts) for request in requests)
        due = text_of(next_due)
        return Exchange(requests, float(due) if due else None, parked_requests(expired))

    def renew(self, requests: Sequence[UsageRequest]) -> list[UsageRequest]:
        """Renew claims.

        Args:
            requests: claimed requests that are not on the wire.

        Returns:
            Those that are still claimed by this process.

        Raises:
            OutboxError: Redis can't be reached or refuses.
        """
        kept: set[str] = set()
        for at in range(0, len(requests), _PAGE):
            items = [item for request in requests[at : at + _PAGE] for item in (request.id, request.attempts)]
            kept.update(map(text_of, self._run(claims.RENEW, self._owner, self.claim_ttl, *items)[1]))
        for request in requests:
            if request.id not in kept:
                self._held.pop(str(request.id), None)
        return [request for request in requests if request.id in kept]

    def drop_oldest(self, events: int) -> int:
        """Delete the oldest events that are neither claimed nor parked. Sums are deleted as a whole.

        Args:
            events: minimum number to delete, if there are so many.

        Returns:
            The number of deleted events.

        Raises:
            OutboxError: Redis can't be reached or refuses.
        """
        dropped, start = 0, "-"
        while dropped < events:
            args = (events - dropped, start, self._drop_number, _CALL_MEMORY)
            _, count, following, sums = self._run(scripts.DROP_OLDEST, *args, writer=self._owner)
            self._drop_number += 1
            dropped += int(count)
            start = text_of(following)
            if not start and not sums:
                break
        return dropped

    def counts(self) -> OutboxCounts:
        """Count what is in the outbox.

        Raises:
            OutboxError: Redis can't be reached or refuses.
        """
        _, events, requests, claimed, parked, oldest, age, size = self._run(scripts.COUNTS)
        recorded_at = float(oldest) if text_of(oldest) else None
        return OutboxCounts(
            events=int(events),
            requests=int(requests),
            claimed=int(claimed),
            parked=int(parked),
            oldest_recorded_at=recorded_at,
            oldest_age=0.0 if recorded_at is None else max(0.0, float(age)),
            size=max(0, int(size)),
        )

    def list_parked(self, limit: int, after: str | None = None) -> list[ParkedUsage]:
        """List parked requests, the oldest first.

        Args:
            limit: maximum number.
            after: the id of the last one of the page before. None: begin with the oldest.

        Raises:
            OutboxError: Redis can't be reached or refuses.
        """
        found: list[ParkedUsage] = []
        start = after or ""
        while len(found) < limit:
            _, reply = self._run(scripts.LIST_PARKED, start, min(_PAGE, limit - len(found)))
            if not reply:
                break
            found += parked_requests(reply[at : at + 3] for at in range(0, len(reply), 3))
            start = text_of(reply[-3])
        return found

    def retry_parked(self, ids: Sequence[str] | None = None) -> int:
        """Send parked requests again, each under the key that it had.

        Args:
            ids: their ids. None: all.

        Returns:
            The number of requests.

        Raises:
            OutboxError: Redis can't be reached or refuses.
        """
        return self._unpark("retry", ids)

    def drop_parked(self, ids: Sequence[str] | None = None) -> int:
        """Delete parked requests.

        Args:
            ids: their ids. None: all.

        Returns:
            The number of requests.

        Raises:
            OutboxError: Redis can't be reached or refuses.
        """
        return self._unpark("drop", ids)

    def _unpark(self, what: str, ids: Sequence[str] | None) -> int:
        chosen = list(self._parked_ids() if ids is None else ids)
        pages = (chosen[at : at + _PAGE] for at in range(0, len(chosen), _PAGE))
        return sum(int(self._run(scripts.UNPARK, what, *page)[1]) for page in pages)

    def _parked_ids(self) -> list[str]:
        """The ids of what is parked now: a request that is parked again meanwhile has a new id."""
        return [text_of(one) for one in self._run(scripts.PARKED_IDS)[1]]

    def before_fork(self) -> None:
        """Close the connections that were made here."""
        self._connection.close()

    def after_fork_in_child(self) -> None:
        """Begin as a new owner and writer, with new connections."""
        self._connection.forget()
        self._new_identity()

    def close(self) -> None:
        """Hand back what is still claimed, as what may have been counted, and close the connections.

        When Redis can't be reached, the claims expire.
        """
        held = list(self._held.items())
        self._held.clear()
        try:
            if self._settings is not None:
                for at in range(0, max(1, len(held)), _PAGE):
                    self._run(claims.RELEASE, self._owner, *(part for one in held[at : at + _PAGE] for part in one))
        except OutboxError as error:
            log.warning("claims of usage were not handed back, and will expire: %s", error)
        finally:
            self._connection.close()

    def _opened(self) -> OutboxSettings:
        if self._settings is None:
            raise OutboxError(f"the outbox {self.name} is not open")
        return self._settings

    def _reply(self, script: Script, *args: Any, writer: str | None = None) -> list[Any]:
        """Run a script; its reply, which begins with a word."""
        now = "" if self._clock is None else repr(self._clock())
        writer = writer or self._writer.name
        own = [f"{self._prefix}writer:{writer}", f"{self._prefix}stage:{writer}"]
        reply = self._connection.run(script, [*self._keys, *own], [now, self._opened().base_url, *args])
        return [text_of(reply[0]), *reply[1:]]

    def _run(self, script: Script, *args: Any, writer: str | None = None) -> list[Any]:
        reply = self._reply(script, *args, writer=writer)
        if reply[0] == "other":
            raise OutboxError(self._other_api(reply))
        return reply

    def _other_api(self, reply: list[Any]) -> str:
        return (
            f"Redis at {self._connection.place}: the outbox {self.name} belongs to {text_of(reply[1])}, "
            f"not to {self._opened().base_url}: give each API an outbox of its own (name=...)"
        )

    def _warn_of_settings(self) -> None:
        """Warn, once, of settings of the server with which it forgets what it has acknowledged."""
        if self._warned:
            return
        self._warned = True
        found = self._connection.settings("appendonly", "maxmemory", "maxmemory-policy")
        if found.get("appendonly") == "no":
            log.warning("Redis at %s has appendonly no: a restart loses recorded usage", self._connection.place)
        if found.get("maxmemory", "0") != "0" and found.get("maxmemory-policy", "noeviction") != "noeviction":
            log.warning(
                "Redis at %s has maxmemory-policy %s: it deletes usage when its memory is full; use noeviction",
                self._connection.place,
                found["maxmemory-policy"],
            )

    def __repr__(self) -> str:
        return f"<RedisOutbox {getattr(self, 'name', '')}>"
