"""Counts executed lines, which vary less than times."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any


def steps_of(work: Callable[[], object], *, calls_into_c: bool = False) -> int:
    """The number of lines of Python that `work` executes, in all functions.

    Args:
        work: called once.
        calls_into_c: count calls of functions written in C, too.
    """
    steps = 0

    def count(frame: Any, event: str, argument: Any) -> Any:
        nonlocal steps
        steps += event in ("line", "c_call")
        return count

    tracer, profiler = sys.gettrace(), sys.getprofile()
    gc.disable()  # finalizers of other objects would be counted; a collection before would take most of the time
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
