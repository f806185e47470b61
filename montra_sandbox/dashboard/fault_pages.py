"""Faults: what the next requests to the APIs meet."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..faults import make_fault
from .routing import Done, form, page
from .view import View

_KINDS = (
    ("status", "an error status instead of the answer"),
    ("rate_limit", "429 with Retry-After"),
    ("latency", "a late answer"),
    ("drop_before", "the connection is closed, nothing is handled"),
    ("drop_after", "handled, then the connection is closed"),
    ("drop_during_answer", "the connection is closed in the answer"),
    ("malformed", "a broken body"),
)
_BODIES = ("html", "empty", "truncated", "text")
_METHODS = (("", "any"), "GET", "POST", "PATCH", "DELETE")


async def show_faults(view: View) -> web.StreamResponse:
    """Show the active faults and the form that adds one.

    Args:
        view: the request.
    """
    return view.page(
        "faults.html",
        section="faults",
        faults=view.controls.faults(),
        kinds=[(name, f"{name}: {text}") for name, text in _KINDS],
        bodies=_BODIES,
        methods=_METHODS,
    )


async def add_fault(view: View) -> Done:
    """Add a fault.

    Args:
        view: the request.
    """
    kind = view.text("kind") or ""
    fields: dict[str, Any] = {"kind": kind, "method": view.text("method"), "path": view.text("path")}
    for name in ("times", "status"):
        number = view.number(name)
        if number is not None:
            fields[name] = int(number) if number == int(number) else number
    for name in ("share", "seconds", "retry_after"):
        number = view.number(name)
        if number is not None:
            fields[name] = float(number)
    if view.text("body"):
        fields["body"] = view.text("body")
    fault = make_fault(**fields)
    view.world.faults.add(fault)
    return Done(f"The next requests that match meet {fault.kind}.")


async def clear_faults(view: View) -> Done:
    """Remove all faults.

    Args:
        view: the request.
    """
    view.controls.clear_faults()
    return Done("All faults were removed.")


ROUTES = (
    page("/dashboard/faults", show_faults),
    form("/dashboard/faults", add_fault),
    form("/dashboard/faults/clear", clear_faults),
)
