"""All routes of the dashboard, and what is around each of them: access, the form's fields, errors as pages."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from ..controls import Controls
from ..montra.charges import exact_decimals
from ..problems import OUT_OF_RANGE, Problem, out_of_range
from ..webhook_sender import WebhookSender
from ..world import World
from . import (
    clock_pages,
    customer_pages,
    event_pages,
    fault_pages,
    live,
    money_pages,
    overview_page,
    paywall_admin_pages,
    plan_pages,
    request_pages,
    scenario_pages,
    webhook_pages,
)
from .dashboard_access import DashboardAccess
from .memory import Memory
from .rendering import render
from .routing import Route
from .view import View, own_page

_PAGES = (
    *(overview_page, customer_pages, plan_pages, money_pages, paywall_admin_pages, request_pages),
    *(webhook_pages, event_pages, scenario_pages, fault_pages, clock_pages, live),
)
TITLES: Mapping[int, str] = {
    401: "This sandbox asks for its token",
    403: "Refused",
    404: "Not found",
    410: "No longer available",
    500: "The sandbox failed",
}
"""Headings of error pages by status."""


class Dashboard:
    """The dashboard of one sandbox.

    Args:
        controls: the sandbox's controls.
        world: the state.
        sender: sends the webhooks of scenarios.
        control_token: the token that opens it; None when everybody may see it.
    """

    def __init__(self, controls: Controls, world: World, sender: WebhookSender, *, control_token: str | None) -> None:
        self._controls = controls
        self._world = world
        self._sender = sender
        self._access = DashboardAccess(control_token)
        self._memory = Memory()

    def routes(self) -> list[web.RouteDef]:
        """The routes; the last one answers all other paths below `/dashboard`."""
        found = [route for pages in _PAGES for route in pages.ROUTES]
        return [
            *(web.route(route.method, route.path, self._handler(route)) for route in found),
            web.get("/dashboard", self._to_front_page),
            web.get("/dashboard/{rest:(?s:.*)}", self._handler(Route("GET", "", page=_unknown_page))),
        ]

    async def _to_front_page(self, _: web.Request) -> web.Response:
        return web.Response(status=303, headers={"Location": "/"})

    def _handler(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            admitted = self._access.admit(request)
            if admitted is not None:
                return admitted
            with exact_decimals():
                return await (self._show(route, request) if route.page else self._submit(route, request))

        return handle

    async def _show(self, route: Route, request: web.Request) -> web.StreamResponse:
        assert route.page is not None
        view = View(request, self._controls, self._world, self._sender, self._memory)
        try:
            return await route.page(view)
        except Problem as problem:
            if "text/html" not in request.headers.get("Accept", ""):
                raise
            return _problem_page(view, problem)

    async def _submit(self, route: Route, request: web.Request) -> web.StreamResponse:
        assert route.form is not None
        fields = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        view = View(request, self._controls, self._world, self._sender, self._memory, fields)
        page = own_page(fields.get("_page", "/"))
        try:
            done = await route.form(view)
        except Problem as problem:
            return view.leave_for(page, problem.message, status=problem.status, succeeded=False)
        except OUT_OF_RANGE as error:
            return view.leave_for(page, out_of_range(error).message, status=400, succeeded=False)
        response = view.leave_for(done.path or page, done.message)
        for name, value in done.cookies.items():
            response.set_cookie(name, value, httponly=True, samesite="Strict", path="/")
        return response


async def _unknown_page(_: View) -> web.StreamResponse:
    raise Problem(404, "unknown_route", "There is no such page.")


def _problem_page(view: View, problem: Problem) -> web.Response:
    title = TITLES.get(problem.status, "That did not work")
    return render(view, "problem.html", status=problem.status, title=title, message=problem.message)
