"""`/_sandbox/`: the controls over HTTP.

GET    /_sandbox/                         clock, faults and counts
POST   /_sandbox/reset                    forget everything but the keys
POST   /_sandbox/clock/advance            {"days": 31} or {"to": "2026-01-01T00:00:00Z"}
POST   /_sandbox/limits                   {"pricing_model_id", "meter_slug", "max_amount", "period"?, "aggregation"?}
POST   /_sandbox/products/{id}/tiers      {"tiers": [{"up_to": 1000, "unit_amount": 0.01}, {"up_to": null, ...}]}
POST   /_sandbox/subscriptions/{id}       {"status"?, "cancel_at_period_end"?}
GET    /_sandbox/faults                   what is waiting; POST adds one, DELETE removes all
GET    /_sandbox/deliveries               webhooks and what became of them
POST   /_sandbox/deliveries/{id}/replay   send one again
GET    /_sandbox/transactions             payments that were tried

POST   /_sandbox/paywalls                 a further paywall; GET and POST /_sandbox/paywalls/{id} show and change one
POST   /_sandbox/paywalls/{id}/providers/{provider}   {"query_type"?, "mode"?, "enabled"?, "events"?, "pause"?, ...}
GET    /_sandbox/paywalls/{id}/users      with balances and purchases
GET    /_sandbox/paywalls/{id}/events     what the public client told of its user interface
POST   /_sandbox/purchases/{id}/refund    give the money back
GET    /_sandbox/mails                    codes that would have been mailed
GET    /_sandbox/tickets                  support tickets
GET    /_sandbox/streams                  how far the gateway's streams have come

Bodies are JSON and say so in `Content-Type`; pages of other origins are refused, and so is everybody without the header
`X-Sandbox-Token` when other machines can connect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeAlias

from aiohttp import web

from ..clock import to_text
from ..controls import Controls, moment_of
from ..problems import invalid
from ..wire import dumps, is_object
from .answers import respond
from .guard import check_json
from .reading import MOST_JSON, parse_json, read_limited

PREFIX = "/_sandbox"

_Route: TypeAlias = Callable[[web.Request, dict[str, Any]], Any]
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def control_routes(controls: Controls) -> list[web.RouteDef]:
    def advance(_: web.Request, body: dict[str, Any]) -> Any:
        to = moment_of(body.pop("to")) if "to" in body else None
        spans = {name: float(span) if isinstance(span, Decimal) else span for name, span in body.items()}
        return {"now": to_text(_call(controls.advance, to=to, **spans))}

    def add_fault(_: web.Request, body: dict[str, Any]) -> Any:
        return _call(controls.add_fault, **body)

    def replay(request: web.Request, _: dict[str, Any]) -> Any:
        return controls.replay(request.match_info["id"])

    def set_limit(_: web.Request, body: dict[str, Any]) -> Any:
        return _call(controls.set_limit, **body)

    def set_tiers(request: web.Request, body: dict[str, Any]) -> Any:
        return _call(controls.set_tiers, request.match_info["id"], **body)

    def set_subscription(request: web.Request, body: dict[str, Any]) -> Any:
        return _call(controls.set_subscription, request.match_info["id"], **body)

    def set_paywall(request: web.Request, body: dict[str, Any]) -> Any:
        return _call(controls.set_paywall, request.match_info["id"], **body)

    def set_provider(request: web.Request, body: dict[str, Any]) -> Any:
        return _call(controls.set_provider, request.match_info["id"], request.match_info["provider"], **body)

    routes: list[tuple[str, str, _Route]] = [
        ("GET", "/", lambda _, __: controls.overview()),
        ("POST", "/reset", lambda _, __: controls.reset()),
        ("POST", "/clock/advance", advance),
        ("POST", "/limits", set_limit),
        ("POST", "/products/{id}/tiers", set_tiers),
        ("POST", "/subscriptions/{id}", set_subscription),
        ("GET", "/faults", lambda _, __: controls.faults()),
        ("POST", "/faults", add_fault),
        ("DELETE", "/faults", lambda _, __: controls.clear_faults()),
        ("GET", "/deliveries", lambda _, __: controls.deliveries()),
        ("POST", "/deliveries/{id}/replay", replay),
        ("GET", "/transactions", lambda _, __: controls.transactions()),
        ("POST", "/paywalls", lambda _, body: _call(controls.add_paywall, **body)),
        ("GET", "/paywalls/{id}", lambda request, _: controls.paywall(request.match_info["id"])),
        ("POST", "/paywalls/{id}", set_paywall),
        ("POST", "/paywalls/{id}/providers/{provider}", set_provider),
        ("GET", "/paywalls/{id}/users", lambda request, _: controls.paywall_users(request.match_info["id"])),
        ("GET", "/paywalls/{id}/events", lambda request, _: controls.tracked_events(request.match_info["id"])),
        ("POST", "/purchases/{id}/refund", lambda request, _: controls.refund_purchase(request.match_info["id"])),
        ("GET", "/mails", lambda _, __: controls.mails()),
        ("GET", "/tickets", lambda _, __: controls.tickets()),
        ("GET", "/streams", lambda _, __: controls.streams()),
    ]
    return [web.route(method, PREFIX + path, _handler(route)) for method, path, route in routes]


def _call(control: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """A control with fields from outside: a missing, unknown or ill-typed one is the caller's mistake."""
    try:
        return control(*args, **fields)
    except TypeError as error:
        raise invalid((str(error).partition("() ")[2] or str(error))[:300]) from None


def _handler(route: _Route) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        result = route(request, await _body(request))
        return respond(200, dumps({"success": True, "data": result}).encode())

    return handle


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await read_limited(request, MOST_JSON)
    if request.method != "GET":
        check_json(request, bool(raw))
    if not raw:
        return {}
    body = parse_json(request, raw)
    if not is_object(body):
        raise invalid("the body is a JSON object")
    return body
