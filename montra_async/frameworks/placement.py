"""A guard above a decorator that registers routes guards nothing: the framework has the bare function already.

    @require_feature("sso", customer=...)   # too late
    @routes.get("/reports")                 # the unguarded function is what answers
    async def reports(request): ...

So every guard remembers which functions it wraps, and the frameworks' files refuse to serve those without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

ADVICE = (
    "a guard stands above the decorator that registers the route, so that the route is served unguarded. Put the guard"
    " below it, next to the function; for a route that is meant to be open, register another function"
)

_wrapped: WeakSet[Any] = WeakSet()


def remember(view: object) -> None:
    """Note that a guard wraps `view`, and with it what `view` itself is a wrapper of."""
    seen: set[int] = set()
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        with contextlib.suppress(TypeError):  # neither hashable nor weakly referable: no function, no route of its own
            _wrapped.add(view)
        view = getattr(view, "__wrapped__", None)


def is_bypassed(view: object) -> bool:
    """Whether somebody has put a guard around `view`, so that `view` itself must not be a route."""
    try:
        return view in _wrapped
    except TypeError:
        return False


def refuse_bypassed(views: Iterable[object]) -> None:
    """Refuse to start.

    Raises:
        RuntimeError: one of the views is served without the guard that is wrapped around it.
    """
    for view in views:
        if is_bypassed(view):
            raise RuntimeError(f"{getattr(view, '__qualname__', view)}: {ADVICE}")
