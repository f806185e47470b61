"""`/_sandbox/`: the controls over HTTP.

GET    /_sandbox/                         time, active faults and counts
POST   /_sandbox/reset                    delete everything except the API keys
GET    /_sandbox/clock                    {"now", "frozen"}
POST   /_sandbox/clock/advance            {"days": 31} or {"to": "2026-01-01T00:00:00Z"}
POST   /_sandbox/clock/freeze             {"at"?}; /_sandbox/clock/unfreeze
GET    /_sandbox/snapshots                names; POST {"name"?} takes one, DELETE /{name} forgets it
POST   /_sandbox/snapshots/{name}/restore
GET    /_sandbox/requests                 ?after=&limit=&failed=1&method=&path=&operation=; DELETE forgets
GET    /_sandbox/live                     server-sent events: requests, events, deliveries, clock, resets
GET    /_sandbox/metrics                  counters and gauges for Prometheus
GET    /_sandbox/limits                   of all plans
POST   /_sandbox/limits                   {"pricing_model_id", "meter_slug", "max_amount", "period"?, "aggregation"?}
POST   /_sandbox/products/{id}/tiers      {"tiers": [{"up_to": 1000, "unit_amount": 0.01}, {"up_to": null, ...}]}
POST   /_sandbox/subscriptions/{id}       {"status"?, "cancel_at_period_end"?}
POST   /_sandbox/pay                      {"target": url or id of a checkout, "card"?, "email"?, "name"?, "code"?}
GET    /_sandbox/faults                   active faults; POST adds one, DELETE removes all
GET    /_sandbox/events                   ?type=&limit=&before=; /_sandbox/events/{id}; POST .../{id}/replay
GET    /_sandbox/webhooks                 endpoints; POST {"url", "service"?, "events"?, "secret"?}, DELETE /{id}
GET    /_sandbox/deliveries               ?limit=; POST /_sandbox/deliveries/{id}/replay
GET    /_sandbox/transactions             attempted payments

POST   /_sandbox/paywalls                 create a paywall; GET and POST /_sandbox/paywalls/{id} show and change one
POST   /_sandbox/paywalls/{id}/providers/{provider}   {"query_type"?, "mode"?, "enabled"?, "events"?, "pause"?, ...}
GET    /_sandbox/paywalls/{id}/users      with balances and purchases
GET    /_sandbox/paywalls/{id}/events     events of the public client's user interface
POST   /_sandbox/purchases/{id}/refund    refund a purchase
GET    /_sandbox/mails                    codes that would have been mailed
GET    /_sandbox/tickets                  support tickets
GET    /_sandbox/streams                  progress of the gateway's streams

GET    /_sandbox/scenarios                names and steps; POST /_sandbox/scenarios/{name} {"to"?, "secret"?} runs one
GET    /_sandbox/triggers                 what can be triggered; POST /_sandbox/trigger {"event", "service"?, "fields"?}
POST   /_sandbox/seed                     {"data": {...}}: plans, discounts, customers, webhooks
POST   /_sandbox/demo                     {"customers"?, "months"?, "seed"?}: believable data

A body is a JSON object with the keyword arguments of the control, sent as `application/json`. Pages of other origins
are refused. If other machines may connect, the header `X-Sandbox-Token` is required.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from ..controls import Controls
from ..controls.scenarios import scenario_routes
from ..datetimes import format_datetime, parse_datetime
from ..json import dumps, is_object
from ..problems import invalid
from ..request_log import MAX_REQUESTS
from .browser_protection import check_json_content_type
from .json_response import json_response
from .request_parsing import MAX_JSON_SIZE, parse_json, read_limited

CONTROL_PREFIX: str = "/_sandbox"
_INTEGER = re.compile(r"-?[0-9]{1,15}", re.ASCII)

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
        until = None if to is None else _parse_datetime("to", to)
        controls.advance(to=until, seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)
        return clock()

    def freeze(*, at: Any = None) -> Any:
        controls.freeze(None if at is None else _parse_datetime("at", at))
        return clock()

    def unfreeze() -> Any:
        controls.unfreeze()
        return clock()

    def clock() -> Any:
        return {"now": format_datetime(controls.now()), "frozen": controls.is_frozen()}

    def pay(*, target: Any, card: Any = None, email: Any = None, name: Any = None, code: Any = None) -> Any:
        given = {key: value for key, value in {"email": email, "name": name}.items() if value is not None}
        return controls.pay(target, card=card, code=code, **given).to_dict()

    def list_requests(
        *,
        after: int = 0,
        limit: int = MAX_REQUESTS,
        failed: bool = False,
        method: str = "",
        path: str = "",
        operation: str = "",
    ) -> Any:
        found = controls.list_requests(
            after=after,
            limit=limit,
            failed=failed,
            method=method or None,
            path=path or None,
            operation=operation or None,
        )
        return [one.to_dict() for one in found]

    def list_events(*, type: str = "", limit: int = 100, before: str = "") -> Any:
        return controls.events(type=type or None, limit=limit, before=before or None)

    def list_deliveries(*, limit: int = 1_000) -> Any:
        return controls.deliveries(limit=limit)

    def take_snapshot(*, name: Any = None) -> Any:
        return {"name": controls.snapshot(name)}

    routes: list[tuple[str, str, _Control]] = [
        ("GET", "/", controls.overview),
        ("POST", "/reset", controls.reset),
        ("GET", "/clock", clock),
        ("POST", "/clock/advance", advance),
        ("POST", "/clock/freeze", freeze),
        ("POST", "/clock/unfreeze", unfreeze),
        ("GET", "/snapshots", controls.snapshots),
        ("POST", "/snapshots", take_snapshot),
        ("POST", "/snapshots/{name}/restore", controls.restore),
        ("DELETE", "/snapshots/{name}", controls.delete_snapshot),
        ("GET", "/requests", list_requests),
        ("DELETE", "/requests", controls.clear_requests),
        ("GET", "/limits", controls.limits),
        ("POST", "/limits", controls.set_limit),
        ("POST", "/products/{id}/tiers", controls.set_tiers),
        ("POST", "/subscriptions/{id}", controls.set_subscription),
        ("POST", "/pay", pay),
        ("GET", "/faults", controls.faults),
        ("POST", "/faults", controls.add_fault),
        ("DELETE", "/faults", controls.clear_faults),
        ("GET", "/events", list_events),
        ("GET", "/events/{id}", controls.event),
        ("POST", "/events/{id}/replay", controls.replay_event),
        ("GET", "/webhooks", controls.webhook_endpoints),
        ("POST", "/webhooks", controls.add_webhook_endpoint),
        ("DELETE", "/webhooks/{id}", controls.remove_webhook_endpoint),
        ("GET", "/deliveries", list_deliveries),
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
        *scenario_routes(controls),
    ]
    return [web.route(method, CONTROL_PREFIX + path, _handler(control)) for method, path, control in routes]


def _handler(control: _Control) -> Handler:
    """A handler that calls a control with the path parameters as positional and the body as keyword arguments."""

    async def handle(request: web.Request) -> web.StreamResponse:
        path_values = list(request.match_info.values())
        own = list(inspect.signature(control).parameters.values())[len(path_values) :]
        body = _read_query(request, own) if request.method == "GET" else await _read_body(request)
        _check_fields(body, own)
        result = control(*path_values, **body)
        if inspect.isawaitable(result):
            result = await result
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


def _read_query(request: web.Request, parameters: list[inspect.Parameter]) -> _Body:
    """The query of a GET, as the types of the parameters' defaults. Names that there are not are left to the check."""
    defaults = {parameter.name: parameter.default for parameter in parameters}
    return {name: _parse_query_value(name, text, defaults.get(name)) for name, text in request.query.items()}


def _parse_query_value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("1", "0", "true", "false"):
            raise invalid(f"{name}: 1 or 0")
        return text.lower() in ("1", "true")
    if isinstance(default, int):
        if not _INTEGER.fullmatch(text):
            raise invalid(f"{name}: a whole number")
        return int(text)
    return text


def _parse_datetime(name: str, text: Any) -> Any:
    try:
        if isinstance(text, str):
            return parse_datetime(text)
    except ValueError:
        pass
    raise invalid(f"{name}: an ISO 8601 datetime")


async def _read_body(request: web.Request) -> _Body:
    raw = await read_limited(request, MAX_JSON_SIZE)
    check_json_content_type(request, bool(raw))
    if not raw:
        return {}
    body = parse_json(request, raw)
    if not is_object(body):
        raise invalid("the body is a JSON object")
    return body
