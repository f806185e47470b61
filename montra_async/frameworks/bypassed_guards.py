"""Detect guards that are bypassed, because they stand above the decorator that registers the route:

    @require_feature("sso", customer=...)   # too late
    @routes.get("/reports")                 # has registered the unguarded function
    async def reports(request): ...

Every guard records the functions that it wraps, and the integrations refuse to serve those functions themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

ADVICE = (
    "a guard stands above the decorator that registers the route, so that the route is served unguarded. Put the guard"
    " below it, next to the function; to serve an open route as well, register another function"
)

_guarded: WeakSet[Any] = WeakSet()


def mark_guarded(view: object) -> None:
    """Record that a guard wraps `view`, and the functions that `view` itself wraps."""
    seen: set[int] = set()
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        with contextlib.suppress(TypeError):  # neither hashable nor weakly referable: not a function
            _guarded.add(view)
        view = getattr(view, "__wrapped__", None)


def is_bypassed(view: object) -> bool:
    """Return whether a guard wraps `view`, so that `view` itself must not be a route."""
    try:
        return view in _guarded
    except TypeError:
        return False


def reject_bypassed(views: Iterable[object]) -> None:
    """Check the views of an application.

    Args:
        views: the functions that are served.

    Raises:
        RuntimeError: one of the views is served without the guard that wraps it.
    """
    for view in views:
        if is_bypassed(view):
            raise RuntimeError(f"{getattr(view, '__qualname__', view)}: {ADVICE}")
