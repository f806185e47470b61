"""How the paywall service speaks: owner's key or user's session, answers without an envelope."""

from __future__ import annotations

import re
from typing import Any

import attrs
from aiohttp import web

from .. import idempotency
from ..contract import read_contract
from ..paywall import HANDLERS, sessions as user_sessions
from ..paywall.context import PaywallContext
from ..paywall.users import by_id, normal
from ..problems import Problem, invalid
from ..wire import is_object
from ..world import World
from .api import Api, Incoming
from .gateway import serve_provider

_GATEWAY = "/v1/api-gateway/"
_METHODS = "DELETE, GET, PATCH, POST, PUT"
_KEPT_BY_HANDLER = frozenset({"start_checkout"})
"""Operations whose handler looks after the idempotency key itself: the key decides there, not the body."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Query-Type, X-Request-Id, Retry-After, Idempotent-Replayed",
}
_NEVER_FROM_A_PAGE = frozenset({"x-api-key"})
"""The owner's key has no place in a browser, least of all the sandbox's, which everybody knows."""


class PaywallApi(Api[PaywallContext]):
    def __init__(self, world: World, prefix: str) -> None:
        super().__init__(world, read_contract("paywall"), HANDLERS, prefix)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Browsers are this service's users: any page may ask, without cookies."""
        if request.method == "OPTIONS":
            return _preflight(request)
        response = await super().handle(request)
        if not response.prepared:
            response.headers.update(_CORS)
        return response

    def admit(self, request: web.Request) -> None:
        """Anybody may ask; a key that is sent must be known."""
        self._key_owner(request)

    def context(self, request: web.Request, incoming: Incoming) -> PaywallContext:
        body, path = incoming.body, incoming.path
        paywall_id = path.get("paywall_id") or body.get("paywallId") or body.get("paywall_id")
        return self.at_paywall(request, str(paywall_id), incoming)

    def at_paywall(self, request: web.Request, paywall_id: str, incoming: Incoming | None = None) -> PaywallContext:
        """Who asks, at which paywall.

        Raises:
            Problem: 404 no such paywall; 403 the key is another owner's; 401 the session is worth nothing.
        """
        paywall = self.store.one("SELECT * FROM paywalls WHERE id = ?", paywall_id)
        if paywall is None:
            raise Problem(404, "paywall_not_found", f"there is no paywall {paywall_id[:100]!r}")
        owner = self._key_owner(request)
        if owner is not None and owner != paywall["merchant_id"]:
            raise Problem(403, "not_your_paywall", "this key belongs to another owner")
        context = PaywallContext(
            store=self.store,
            now=self._world.clock.now(),
            origin=self._world.origin,
            paywall=paywall,
            owner=owner is not None,
            said_email=_said(request, "X-User-Email"),
            said_id=_said(request, "X-User-ID"),
            visitor_id=_said(request, "X-Visitor-Id"),
            key=_said(request, idempotency.HEADER),
            path={} if incoming is None else incoming.path,
            query={} if incoming is None else incoming.query,
            body={} if incoming is None else incoming.body,
            parts=() if incoming is None else incoming.parts,
            page=request.headers.get("Origin"),
        )
        return self._with_session(request, context)

    def scope(self, context: PaywallContext) -> str:
        """Whoever acts: a session's user, with the owner's key beside it or without; the owner; or an address."""
        if context.session_user is not None:
            key = " with the owner's key" if context.owner else ""
            return f"paywall {context.paywall_id} {context.session_user['id']}{key}"
        body = context.body
        said = normal(body.get("email") or body.get("customer_email") or context.said_email or "anybody")
        return f"paywall {context.paywall_id} {'owner' if context.owner else said}"

    def success(self, result: Any) -> Any:
        return result

    def refusal(self, problem: Problem) -> Any:
        said = {"code": problem.code, "error": problem.code, "message": problem.message}
        if is_object(problem.details):
            return {**said, **problem.details}
        return said if problem.details is None else {**said, "details": problem.details}

    async def _read(self, request: web.Request, path: str) -> Incoming:
        if request.content_type == "text/plain" and path.endswith("/events"):
            # What a page sends as it is left can't name its type: navigator.sendBeacon.
            request = request.clone(headers={**request.headers, "Content-Type": "application/json"})
        incoming = await super()._read(request, path)
        if incoming.operation.id in _KEPT_BY_HANDLER:
            return attrs.evolve(incoming, key=None)
        return incoming

    async def answer(self, request: web.Request, path: str) -> web.StreamResponse:
        if path.startswith(_GATEWAY):
            return await self._gateway(request, path.removeprefix(_GATEWAY))
        return await super().answer(request, path)

    async def _gateway(self, request: web.Request, rest: str) -> web.StreamResponse:
        self.admit(request)
        paywall_id = request.query.get("paywall_id")
        if not paywall_id:
            raise invalid("paywall_id: required in the query")
        if request.method not in _METHODS.split(", "):
            raise Problem(405, "method_not_allowed", f"here: {_METHODS}", {"allowed": _METHODS})
        return await serve_provider(request, rest, self._world, lambda: self.at_paywall(request, paywall_id), _CORS)

    def _key_owner(self, request: web.Request) -> str | None:
        key = request.headers.get("X-Api-Key")
        if key is None:
            return None
        owner = self._world.merchant_of(key.strip())
        if owner is None:
            raise Problem(401, "invalid_api_key", "the sandbox does not know this API key")
        return owner

    def _with_session(self, request: web.Request, context: PaywallContext) -> PaywallContext:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return context
        session = user_sessions.of_access_token(context, token.strip())
        return attrs.evolve(context, session=session, session_user=by_id(context, session["user_id"]))


def _said(request: web.Request, name: str) -> str | None:
    """A header as text.

    Raises:
        Problem: 400, it holds bytes that are none.
    """
    value = request.headers.get(name)
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise invalid(f"{name}: not text") from None
    return value


def _preflight(request: web.Request) -> web.Response:
    """What a browser asks before it sends a page's request."""
    asked = _NAME.findall(request.headers.get("Access-Control-Request-Headers", ""))
    allowed = [name for name in asked if name.lower() not in _NEVER_FROM_A_PAGE]
    headers = {
        **_CORS,
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": ", ".join(allowed),
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=headers)
