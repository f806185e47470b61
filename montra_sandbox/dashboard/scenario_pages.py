"""Scenarios: whole lifecycles by name, each with the report of a run, and demo data."""

from __future__ import annotations

from aiohttp import web

from ..problems import invalid, not_found
from ..scenarios.demo.furnish import furnish
from ..scenarios.replay import run_scenario
from ..scenarios.scenario import list_scenarios
from .routing import Done, form, page
from .view import View


async def show_scenarios(view: View) -> web.StreamResponse:
    """Show the scenarios.

    Args:
        view: the request.
    """
    return view.page(
        "scenarios.html", section="scenarios", scenarios=list_scenarios(), secret=view.controls.webhook_secret
    )


async def show_report(view: View) -> web.StreamResponse:
    """Show what a run of a scenario did, step by step.

    Args:
        view: the request.

    Raises:
        Problem: 404, the report is not kept any more.
    """
    token = view.path_value("token")
    report = view.memory.get_report(token)
    if report is None:
        raise not_found("report of a scenario", token[:100])
    return view.page("report.html", section="scenarios", report=report)


async def run(view: View) -> Done:
    """Run a scenario.

    Args:
        view: the request.

    Raises:
        Problem: 404 unknown scenario, 400 invalid URL, 409 it can't happen in this sandbox.
    """
    to = view.text("to")
    if to is not None and not to.startswith(("http://", "https://")):
        raise invalid("The URL begins with http:// or https://.")
    secret = view.controls.webhook_secret
    report = await run_scenario(
        view.world, view.sender, view.path_value("name"), to=to, secret=secret, merchant_id=view.merchant_id
    )
    token = view.memory.keep_report(report)
    words = "" if report["succeeded"] else " Not every webhook was answered with success."
    return Done(f"The scenario has run.{words}", f"/dashboard/scenarios/reports/{token}")


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
    page("/dashboard/scenarios/reports/{token}", show_report),
    form("/dashboard/scenarios/{name}", run),
    form("/dashboard/demo", fill_with_demo_data),
)
