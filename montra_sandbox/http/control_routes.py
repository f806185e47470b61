"""`/_sandbox/`: the controls over HTTP.

GET    /_sandbox/                         time, active faults and counts
POST   /_sandbox/reset                    delete everything except the API keys
POST   /_sandbox/clock/advance            {"days": 31} or {"to": "2026-01-01T00:00:00Z"}
POST   /_sandbox/limits                   {"pricing_model_id", "meter_slug", "max_amount", "period"?, "aggregation"?}
POST   /_sandbox/products/{id}/tiers      {"tiers": [{"up_to": 1000, "unit_amount": 0.01}, {"up_to": null, ...}]}
POST   /_sandbox/subscriptions/{id}       {"status"?, "cancel_at_period_end"?}
GET    /_sandbox/faults                   active faults; POST adds one, DELETE removes all
GET    /_sandbox/deliveries               webhook deliveries
POST   /_sandbox/deliveries/{id}/replay   send one again
GET    /_sandbox/transactions             attempted payments

POST   /_sandbox/paywalls                 create a paywall; GET and POST /_sandbox/paywalls/{id} show and change one
POST   /_sandbox/paywalls/{id}/providers/{provider}   {"query_type"?, "mode"?, "enabled"?, "events"?, "pause"?, ...}
GET    /_sandbox/paywalls/{id}/users      with balances and purchases
GET    /_sandbox/paywalls/{id}/events     events of the public client's user interface
POST   /_sandbox/purchases/{id}/refund    refund a purchase
GET    /_sandbox/mails                    codes that would have been mailed
GET    /_sandbox/tickets                  support tickets
GET    /_sandbox/streams                  progress of the gateway's streams

A body is a JSON object with the keyword arguments of the control, sent as `application/json`. Pages of other origins
are refused. If other machines may connect, the header `X-Sandbox-Token` is required.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from ..controls import Controls
from ..datetimes import format_datetime, parse_datetime
from ..json import dumps, is_object
from ..problems import invalid
from .browser_protection import check_json_content_type
from .json_response import json_response
from .request_parsing import MAX_JSON_SIZE, parse_json, read_limited

CONTROL_PREFIX: str = "/_sandbox"

_Body: TypeAlias = dict[str, Any]
_Control: TypeAlias = Callable[..., Any]


def control_routes(controls: Controls) -> list[web.RouteDef]:
    """The routes below `/_sandbox`.

    Args:
        controls: the controls that they call.
    """

    def advance(
        *, to: Any = None, seconds: Any = 0, minutes: Any = 0, hours: Any = 0, days: Any = 0, weeks: Any = 0
    ) -> Any:
        until = None if to is None else _parse_to(to)
        now = controls.advance(to=until, seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)
        return {"now": format_datetime(now)}

    routes: list[tuple[str, str, _Control]] = [
        ("GET", "/", controls.overview),
        ("POST", "/reset", controls.reset),
        ("POST", "/clock/advance", advance),
        ("POST", "/limits", controls.set_limit),
        ("POST", "/products/{id}/tiers", controls.set_tiers),
        ("POST", "/subscriptions/{id}", controls.set_subscription),
        ("GET", "/faults", controls.faults),
        ("POST", "/faults", controls.add_fault),
        ("DELETE", "/faults", controls.clear_faults),
        ("GET", "/deliveries", controls.deliveries),
        ("POST", "/deliveries/{id}/replay", controls.replay),
        ("GET", "/transactions", controls.transactions),
        ("POST", "/paywalls", controls.add_paywall),
        ("GET", "/paywalls/{id}", controls.paywall),
        ("POST", "/paywalls/{id}", controls.set_paywall),
        ("POST", "/paywalls/{id}/providers/{provider}", controls.set_provider),
        ("GET", "/paywalls/{id}/users", controls.paywall_users),
        ("GET", "/paywalls/{id}/events", controls.tracked_events),
        ("POST", "/purchases/{id}/refund", controls.refund_purchase),
        ("GET", "/mails", controls.mails),
        ("GET", "/tickets", controls.tickets),
        ("GET", "/streams", controls.streams),
    ]
    return [web.route(method, CONTROL_PREFIX + path, _handler(control)) for method, path, control in routes]


def _handler(control: _Control) -> Handler:
    """A handler that calls a control with the path parameters as positional and the body as keyword arguments."""
    parameters = list(inspect.signature(control).parameters.values())

    async def handle(request: web.Request) -> web.StreamResponse:
        path_values = list(request.match_info.values())
        body = await _read_body(request)
        _check_fields(body, parameters[len(path_values) :])
        result = control(*path_values, **body)
        return json_response(200, dumps({"success": True, "data": result}).encode())

    return handle


def _check_fields(body: _Body, parameters: list[inspect.Parameter]) -> None:
    """Refuse fields that a control does not have, and a body without its required ones."""
    names = [parameter.name for parameter in parameters]
    unknown = sorted(body.keys() - set(names))
    if unknown:
        raise invalid(f"unknown: {', '.join(unknown)[:200]}; the fields are: {', '.join(names) or 'none'}")
    missing = [one.name for one in parameters if one.default is inspect.Parameter.empty and one.name not in body]
    if missing:
        raise invalid(f"required: {', '.join(missing)}")


def _parse_to(text: Any) -> Any:
    try:
        if isinstance(text, str):
            return parse_datetime(text)
    except ValueError:
        pass
    raise invalid("to: an ISO 8601 datetime")


async def _read_body(request: web.Request) -> _Body:
    raw = await read_limited(request, MAX_JSON_SIZE)
    if request.method != "GET":
        check_json_content_type(request, bool(raw))
    if not raw:
        return {}
    body = parse_json(request, raw)
    if not is_object(body):
        raise invalid("the body is a JSON object")
    return body
