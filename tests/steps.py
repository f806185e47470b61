"""How much work something takes, counted rather than timed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any


def steps_of(work: Callable[[], object], *, calls_into_c: bool = False) -> int:
    """Lines of Python that are executed, in whatever function, and what is called of C."""
    steps = 0

    def count(frame: Any, event: str, argument: Any) -> Any:
        nonlocal steps
        steps += event in ("line", "c_call")
        return count

    tracer, profiler = sys.gettrace(), sys.getprofile()
    gc.collect()
    gc.disable()  # what others left behind would be counted where it is finalised
    sys.settrace(count)
    if calls_into_c:
        sys.setprofile(count)
    try:
        work()
    finally:
        sys.settrace(tracer)
        sys.setprofile(profiler)
        gc.enable()
    return steps
