"""What is inside a sandbox, for tests that look at it or damage it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from montra_sandbox import Sandbox
from montra_sandbox.world import World

T = TypeVar("T")


def in_server(sandbox: Sandbox, function: Callable[[World], T]) -> T:
    """What a function of the sandbox's state returns, run in its thread."""
    return sandbox.call_in_server(lambda: function(sandbox._world))
