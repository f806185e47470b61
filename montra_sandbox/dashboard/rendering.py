"""Templates of the dashboard. Values are escaped; pages run our own script only, and load nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

import jinja2
import simplejson
from aiohttp import web

from ..datetimes import format_datetime
from ..live_position import LivePosition
from ..pages.assets import asset_path
from ..pages.formatting import FILTERS
from . import charts

if TYPE_CHECKING:
    from .view import View

HEADERS: dict[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The headers of every page."""
NAVIGATION: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Billing",
        (
            ("overview", "/", "Overview"),
            ("customers", "/dashboard/customers", "Customers"),
            ("plans", "/dashboard/plans", "Plans"),
            ("payments", "/dashboard/payments", "Payments"),
            ("invoices", "/dashboard/invoices", "Invoices"),
            ("paywall", "/dashboard/paywalls", "Paywall"),
        ),
    ),
    (
        "Development",
        (
            ("requests", "/dashboard/requests", "Requests"),
            ("webhooks", "/dashboard/webhooks", "Webhooks"),
            ("scenarios", "/dashboard/scenarios", "Scenarios"),
            ("faults", "/dashboard/faults", "Faults"),
            ("clock", "/dashboard/clock", "Clock"),
        ),
    ),
)
"""The links beside every page: section, then name, path and text of each."""


def render(view: View, template: str, *, status: int = 200, section: str = "", **values: Any) -> web.Response:
    """Render a page.

    Args:
        view: the request.
        template: the file in `templates/`.
        status: the HTTP status; when it is 200, that of the form before this page wins.
        section: the link beside the page that leads to it.
        values: the template's variables.
    """
    notice = view.notice
    text = (
        _templates()
        .get_template(template)
        .render(
            view=view,
            section=section,
            notice=notice,
            now=view.now,
            position=LivePosition.now(view.world),
            frozen=view.world.clock.is_frozen,
            kept=_kept_values(view),
            **values,
        )
    )
    if status == 200:
        status = notice.status
    return web.Response(status=status, text=text, content_type="text/html", headers=HEADERS)


def _kept_values(view: View) -> Any:
    """A function of templates: what was entered in a field of a form that failed; else a default."""
    fields = view.notice.fields

    def kept(form: str, name: str, default: Any = "") -> Any:
        """A checkbox or field that is not in the form is empty."""
        return fields.get(name, "") if fields.get("_form") == form else default

    return kept


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.filters.update(pretty=pretty_json, iso=format_datetime)
    names = {"asset": asset_path, "navigation": NAVIGATION, "charts": charts, "tone": status_tone}
    cast("dict[str, Any]", environment.globals).update(names)
    return environment


def pretty_json(value: Any) -> str:
    """Indented JSON; text that is not JSON stays as it is.

    Args:
        value: a value, or JSON text.
    """
    try:
        parsed = simplejson.loads(value, use_decimal=True) if isinstance(value, str) else value
        return simplejson.dumps(parsed, use_decimal=True, indent=2, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return str(value)


_TONES = {
    "good": ("active", "succeeded", "paid", "completed", "enabled", "trialing", "open", "default"),
    "bad": ("failed", "declined", "uncollectible", "unpaid", "blocked", "error"),
    "warn": ("past_due", "pending", "paused", "incomplete", "draft", "canceled", "cancelled", "inactive"),
}


def status_tone(status: Any) -> str:
    """The colour of a status: `good`, `warn`, `bad` or `plain`. An HTTP status works, too; None is a lost response.

    Args:
        status: the status.
    """
    if status is None:
        return "bad"
    if isinstance(status, int):
        return "good" if status < 300 else "plain" if status < 400 else "warn" if status < 500 else "bad"
    return next((tone for tone, statuses in _TONES.items() if str(status).lower() in statuses), "plain")
