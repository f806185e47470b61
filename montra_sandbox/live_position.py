"""How much of what happens a reader has seen: a program that follows the live stream, or a page."""

from __future__ import annotations

import re

import attrs

from . import event_log
from .world import World

_POSITION = re.compile(r"([0-9]{1,15})-([0-9]{1,15})", re.ASCII)


@attrs.define
class LivePosition:
    """A position, as text `message-event`.

    Attributes:
        message: the number of the last message of the live feed.
        event: the position of the last stored event.
    """

    message: int
    event: int

    def __str__(self) -> str:
        return f"{self.message}-{self.event}"

    @classmethod
    def now(cls, world: World) -> LivePosition:
        """The position of a reader who has seen everything.

        Args:
            world: the state.
        """
        return cls(world.live.last_number, event_log.last_position(world.db))

    @classmethod
    def parse(cls, text: str) -> LivePosition | None:
        """The position in a text; None for other text.

        Args:
            text: the text.
        """
        match = _POSITION.fullmatch(text)
        return None if match is None else cls(int(match[1]), int(match[2]))

    def is_of_this_run(self, world: World) -> bool:
        """Whether this run of the sandbox can have given it; numbers of messages begin anew with each.

        Args:
            world: the state.
        """
        return self.message <= world.live.last_number
