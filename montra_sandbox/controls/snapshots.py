"""Snapshots: the whole state under a name, and back to it within milliseconds."""

from __future__ import annotations

import re

import attrs

from ..database import DatabaseCopy
from ..faults import Fault
from ..ids import IdState
from ..problems import invalid, not_found
from ..world import World

MAX_SNAPSHOTS: int = 50
MAX_SIZE: int = 1024**3
"""Most bytes of all snapshots together: they are in memory."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


@attrs.frozen
class _Snapshot:
    database: DatabaseCopy
    faults: list[Fault]
    ids: IdState


class Snapshots:
    """The snapshots of one sandbox, in memory.

    Args:
        world: the state.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._kept: dict[str, _Snapshot] = {}

    def names(self) -> list[str]:
        """The names, oldest first."""
        return list(self._kept)

    def take(self, name: str | None) -> str:
        """Keep the state under a name, instead of an earlier one of that name; returns the name.

        Args:
            name: letters, digits and `._-`; None for the next free number.

        Raises:
            Problem: 400, an invalid name, or too many snapshots.
        """
        if name is None:
            name = next(str(n) for n in range(1, MAX_SNAPSHOTS + 2) if str(n) not in self._kept)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise invalid("name: up to 100 letters, digits and ._-")
        if name not in self._kept and len(self._kept) >= MAX_SNAPSHOTS:
            raise invalid(f"there are {MAX_SNAPSHOTS} snapshots already; delete one first")
        world = self._world
        others = sum(one.database.size for known, one in self._kept.items() if known != name)
        if others + world.db.size > MAX_SIZE:
            raise invalid(f"all snapshots together have at most {MAX_SIZE:,} bytes in memory; delete one first")
        self._drop(name)
        self._kept[name] = _Snapshot(world.db.copy(), world.faults.state(), world.ids.state())
        return name

    def restore(self, name: str) -> None:
        """Go back to a snapshot, which stays. The clock goes back, too; requests in the log stay.

        Args:
            name: the name.

        Raises:
            Problem: 404.
        """
        kept = self._kept.get(name)
        if kept is None:
            raise not_found("snapshot", str(name))
        world = self._world
        world.db.replace(kept.database)
        world.clock.load()
        world.faults.restore(kept.faults)
        world.ids.restore(kept.ids)
        world.announce_reset()

    def delete(self, name: str) -> None:
        """Forget a snapshot.

        Args:
            name: the name.

        Raises:
            Problem: 404.
        """
        if not self._drop(name):
            raise not_found("snapshot", str(name))

    def close(self) -> None:
        """Forget all of them."""
        for name in self.names():
            self._drop(name)

    def _drop(self, name: str) -> bool:
        """Forget a snapshot; returns whether there was one."""
        dropped = self._kept.pop(name, None)
        if dropped is not None:
            dropped.database.close()
        return dropped is not None
