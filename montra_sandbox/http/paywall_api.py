"""How the paywall service speaks: owner's key or user's session, answers without an envelope."""

from __future__ import annotations

from typing import Any

import attrs
from aiohttp import web

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


class PaywallApi(Api[PaywallContext]):
    def __init__(self, world: World, prefix: str) -> None:
        super().__init__(world, read_contract("paywall"), HANDLERS, prefix)

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
            said_email=request.headers.get("X-User-Email"),
            path={} if incoming is None else incoming.path,
            query={} if incoming is None else incoming.query,
            body={} if incoming is None else incoming.body,
            parts=() if incoming is None else incoming.parts,
            page=request.headers.get("Origin"),
        )
        return self._with_session(request, context)

    def scope(self, context: PaywallContext) -> str:
        """Whoever acts: a session's user, also with the owner's key beside it; the owner; or an address."""
        if context.session_user is not None:
            return f"paywall {context.paywall_id} {context.session_user['id']}"
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

    async def answer(self, request: web.Request, path: str) -> web.StreamResponse:
        if path.startswith(_GATEWAY):
            return await self._gateway(request, path.removeprefix(_GATEWAY))
        return await super().answer(request, path)

    async def _gateway(self, request: web.Request, rest: str) -> web.StreamResponse:
        self.admit(request)
        paywall_id = request.query.get("paywall_id")
        if not paywall_id:
            raise invalid("paywall_id: required in the query")
        if request.method not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            raise Problem(
                405,
                "method_not_allowed",
                "here: DELETE, GET, PATCH, POST, PUT",
                {"allowed": "DELETE, GET, PATCH, POST, PUT"},
            )
        return await serve_provider(request, rest, self._world, lambda: self.at_paywall(request, paywall_id))

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
