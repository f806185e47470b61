"""The paywall API: authentication with the owner's key or a user's session, and responses without an envelope."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import attrs
from aiohttp import web

from .. import idempotency
from ..json import is_object
from ..paywall import OPERATIONS
from ..paywall.paywall_context import PaywallContext
from ..paywall.user_sessions import get_by_access_token
from ..paywall.users import get_user, normalize_email
from ..problems import Problem, invalid
from ..world import World
from .api import Api, ParsedRequest
from .provider_responses import provider_response
from .request_recording import BODY_KEY

_GATEWAY_PREFIX = "/v1/api-gateway/"
_METHODS = "DELETE, GET, PATCH, POST, PUT"
_OWN_IDEMPOTENCY = frozenset({"start_checkout"})
"""Operations that handle the idempotency key themselves, because the key decides there and not the body."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")

_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Query-Type, X-Request-Id, Retry-After, Idempotent-Replayed",
}
_FORBIDDEN_IN_BROWSERS = frozenset({"x-api-key"})
"""The owner's key must not be in a browser; the sandbox's default key is known to every page."""


class PaywallApi(Api[PaywallContext]):
    """The routes of the paywall API and of its gateway.

    Args:
        world: the state.
        prefix: the path before the contract's paths.
    """

    def __init__(self, world: World, prefix: str) -> None:
        super().__init__(world, "paywall", OPERATIONS, prefix)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The aiohttp handler. The API is made for browsers: pages of any origin may call it, without cookies.

        Args:
            request: the request.
        """
        if request.method == "OPTIONS":
            return _preflight_response(request)
        response = await super().handle(request)
        if not response.prepared:
            response.headers.update(_CORS_HEADERS)
        return response

    def authenticate(self, request: web.Request) -> None:
        """A key is optional, but one that is sent must be known."""
        self._key_owner(request)

    def make_context(self, request: web.Request, parsed: ParsedRequest) -> PaywallContext:
        body = parsed.body
        paywall_id = parsed.path.get("paywall_id") or body.get("paywallId") or body.get("paywall_id")
        context = self._context_at(request, str(paywall_id))
        return attrs.evolve(context, path=parsed.path, query=parsed.query, body=body, parts=parsed.parts)

    def _context_at(self, request: web.Request, paywall_id: str) -> PaywallContext:
        """The context of a request without its parameters.

        Raises:
            Problem: 404 unknown paywall, 403 another owner's key, 401 invalid session.
        """
        paywall = self._world.db.one("SELECT * FROM paywalls WHERE id = ?", paywall_id)
        if paywall is None:
            raise Problem(404, "paywall_not_found", f"there is no paywall {paywall_id[:100]!r}")
        owner_id = self._key_owner(request)
        if owner_id is not None and owner_id != paywall["merchant_id"]:
            raise Problem(403, "not_your_paywall", "this key belongs to another owner")
        context = PaywallContext(
            db=self._world.db,
            now=self._world.clock.now(),
            origin=self._world.origin,
            paywall=paywall,
            is_owner=owner_id is not None,
            header_email=_text_header(request, "X-User-Email"),
            header_user_id=_text_header(request, "X-User-ID"),
            visitor_id=_text_header(request, "X-Visitor-Id"),
            idempotency_key=_text_header(request, idempotency.KEY_HEADER),
            page_origin=request.headers.get("Origin"),
        )
        return self._with_session(request, context)

    def idempotency_scope(self, context: PaywallContext) -> str:
        """The session's user, with or without the owner's key; else the owner; else an email address."""
        if context.session_user is not None:
            suffix = " with the owner's key" if context.is_owner else ""
            return f"paywall {context.paywall_id} {context.session_user['id']}{suffix}"
        body = context.body
        email = normalize_email(body.get("email") or body.get("customer_email") or context.header_email or "anybody")
        return f"paywall {context.paywall_id} {'owner' if context.is_owner else email}"

    def success_body(self, result: Any) -> Any:
        return result

    def problem_body(self, problem: Problem) -> Any:
        body = {"code": problem.code, "error": problem.code, "message": problem.message}
        if is_object(problem.details):
            return {**body, **problem.details}
        return body if problem.details is None else {**body, "details": problem.details}

    async def _parse(self, request: web.Request, path: str) -> ParsedRequest:
        if request.content_type == "text/plain" and path.endswith("/events"):
            # navigator.sendBeacon, which pages use while they are left, can't set a content type.
            request = request.clone(headers={**request.headers, "Content-Type": "application/json"})
        parsed = await super()._parse(request, path)
        return attrs.evolve(parsed, idempotency_key=None) if parsed.operation.id in _OWN_IDEMPOTENCY else parsed

    async def _handle(self, request: web.Request, path: str) -> web.StreamResponse:
        if path.startswith(_GATEWAY_PREFIX):
            return await self._handle_gateway(request, path.removeprefix(_GATEWAY_PREFIX))
        return await super()._handle(request, path)

    async def _handle_gateway(self, request: web.Request, path: str) -> web.StreamResponse:
        """Charge a call, then send the provider's response. `path` is the provider's id and the path behind it."""
        self.authenticate(request)
        paywall_id = request.query.get("paywall_id")
        if not paywall_id:
            raise invalid("paywall_id: required in the query")
        if request.method not in _METHODS.split(", "):
            raise Problem(405, "method_not_allowed", f"allowed here: {_METHODS}", {"allowed": _METHODS})
        content = await request.read()
        request[BODY_KEY] = content
        provider_id, _, provider_path = path.partition("/")
        self._world.run_due()
        with self._world.db.transaction():
            context = attrs.evolve(self._context_at(request, paywall_id), path={"provider_id": unquote(provider_id)})
            provider = self._operations[f"gateway_{request.method.lower()}"](context)
        return await provider_response(request, provider, unquote(provider_path), content, _CORS_HEADERS, self._world)

    def _key_owner(self, request: web.Request) -> str | None:
        key = request.headers.get("X-Api-Key")
        if key is None:
            return None
        owner_id = self._world.find_merchant(key.strip())
        if owner_id is None:
            raise Problem(401, "invalid_api_key", "the sandbox does not know this API key")
        return owner_id

    def _with_session(self, request: web.Request, context: PaywallContext) -> PaywallContext:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return context
        session = get_by_access_token(context, token.strip())
        return attrs.evolve(context, session=session, session_user=get_user(context, session["user_id"]))


def _text_header(request: web.Request, name: str) -> str | None:
    """A header that is stored or compared.

    Raises:
        Problem: 400, it is not UTF-8.
    """
    value = request.headers.get(name)
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise invalid(f"{name}: must be UTF-8") from None
    return value


def _preflight_response(request: web.Request) -> web.Response:
    """The response to a CORS preflight request."""
    requested = _HEADER_NAME.findall(request.headers.get("Access-Control-Request-Headers", ""))
    allowed = [name for name in requested if name.lower() not in _FORBIDDEN_IN_BROWSERS]
    headers = {
        **_CORS_HEADERS,
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": ", ".join(allowed),
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=headers)
