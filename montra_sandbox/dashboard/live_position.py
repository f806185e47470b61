"""How much of what happens a page has seen."""

from __future__ import annotations

import re

from .. import event_log
from ..world import World

_POSITION = re.compile(r"([0-9]{1,15})-([0-9]{1,15})", re.ASCII)


def live_position(world: World) -> str:
    """Up to where a page that is rendered now has seen everything.

    Args:
        world: the state.
    """
    return f"{world.live.last_number}-{event_log.last_position(world.db)}"


def parse_position(text: str, world: World) -> tuple[int, int]:
    """The number of the last message and the position of the last event that a page has seen.

    Args:
        text: what `live_position` returned; by other text the page has seen everything.
        world: the state.
    """
    match = _POSITION.fullmatch(text) or _POSITION.fullmatch(live_position(world))
    assert match is not None
    number, position = int(match[1]), int(match[2])
    if number > world.live.last_number:  # the page is of an earlier run of the sandbox
        return 0, 0
    return number, position
