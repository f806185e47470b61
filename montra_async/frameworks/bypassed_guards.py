"""Detect guards that are bypassed, because they stand above the decorator that registers the route:

    @require_feature("sso", customer=...)   # too late
    @routes.get("/reports")                 # has registered the unguarded function
    async def reports(request): ...

Every guard records the functions that it wraps, and the integrations refuse to serve those functions themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from types import FrameType
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


def reject_registered(endpoint: object, frame: FrameType | None, latest: Callable[[Any], Iterable[object]]) -> None:
    """Refuse a function that the decorator below a guard has registered just now.

    Applications that don't use the integration's own lifespan are not looked at when they start. So the applications
    and routers that the module, or the function around, knows are looked at when the guard is applied.

    Args:
        endpoint: the function that the guard wraps.
        frame: of the guard, whose caller applies it.
        latest: the functions that an application or a router has registered last; none for other objects.

    Raises:
        RuntimeError: it was registered.
    """
    spaces: list[dict[str, Any]] = [getattr(endpoint, "__globals__", {})]
    caller = None if frame is None else frame.f_back
    if caller is not None:
        spaces += [caller.f_locals, caller.f_globals]
    if any(one is endpoint for space in spaces for value in list(space.values()) for one in latest(value)):
        reject_bypassed([endpoint])


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
