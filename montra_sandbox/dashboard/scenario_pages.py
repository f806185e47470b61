"""Scenarios: whole lifecycles by name, step by step, and demo data."""

from __future__ import annotations

from aiohttp import web

from ..scenarios.demo.furnish import furnish
from .routing import Done, form, page
from .view import View


async def show_scenarios(view: View) -> web.StreamResponse:
    """Show the scenarios.

    Args:
        view: the request.
    """
    return view.page("scenarios.html", section="scenarios", scenarios=[])


async def fill_with_demo_data(view: View) -> Done:
    """Fill an empty sandbox with demo data.

    Args:
        view: the request.
    """
    counts = furnish(view.world)
    words = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
    return Done(f"The sandbox was filled with {words}.", "/")


ROUTES = (
    page("/dashboard/scenarios", show_scenarios),
    form("/dashboard/demo", fill_with_demo_data),
)
