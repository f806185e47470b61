"""Waiting for what becomes of single requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from .events import Settlement

Settled: TypeAlias = Callable[[str, Settlement | None], None]
"""Takes a request's key and how it was settled; None when it was parked, because it may have been counted."""


class SettlementWatch:
    """Tells whoever waits for a request what became of it. Any thread may use it."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Settled]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._waiting

    def add(self, key: str, settled: Settled) -> None:
        """Wait for a request.

        Args:
            key: the request's key.
            settled: called by the writer's thread; must not raise or block.
        """
        self._waiting.setdefault(key, []).append(settled)

    def remove(self, keys: Iterable[str], settled: Settled) -> None:
        """Wait no longer.

        Args:
            keys: of the requests.
            settled: what was given to `add`.
        """
        for key in keys:
            others = [one for one in self._waiting.get(key, ()) if one != settled]
            if others:
                self._waiting[key] = others
            else:
                self._waiting.pop(key, None)

    def settled(self, key: str, settlement: Settlement | None) -> None:
        """A request was settled by this process.

        Args:
            key: its key.
            settlement: how; None when it was parked, because it may have been counted.
        """
        for tell in self._waiting.pop(key, ()):
            tell(key, settlement)
