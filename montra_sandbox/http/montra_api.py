"""The Montra API: authentication with an API key, and responses in an envelope."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..montra import OPERATIONS
from ..montra.merchant_context import NO_DATA, BareResponse, MerchantContext, Page
from ..problems import Problem
from ..world import World
from .api import Api, ParsedRequest


class MontraApi(Api[MerchantContext]):
    """The routes of the Montra API.

    Args:
        world: the state.
        prefix: the path before the contract's paths.
    """

    def __init__(self, world: World, prefix: str) -> None:
        super().__init__(world, "montra", OPERATIONS, prefix)

    def authenticate(self, request: web.Request) -> None:
        self._merchant_id(request)

    def make_context(self, request: web.Request, parsed: ParsedRequest) -> MerchantContext:
        return MerchantContext(
            db=self._world.db,
            merchant_id=self._merchant_id(request),
            now=self._world.clock.now(),
            origin=self._world.origin,
            path=parsed.path,
            query=parsed.query,
            body=parsed.body,
            part=parsed.parts[0] if parsed.parts else None,
        )

    def idempotency_scope(self, context: MerchantContext) -> str:
        return context.merchant_id

    def success_body(self, result: Any) -> Any:
        if result is NO_DATA:
            return {"success": True}
        if isinstance(result, BareResponse):
            return result.value
        if isinstance(result, Page):
            return {"success": True, "data": result.data, "meta": result.meta}
        return {"success": True, "data": result}

    def problem_body(self, problem: Problem) -> Any:
        return problem.envelope()

    def _merchant_id(self, request: web.Request) -> str:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Problem(401, "missing_api_key", "send the header Authorization: Bearer <api key>")
        merchant_id = self._world.find_merchant(key.strip())
        if merchant_id is None:
            raise Problem(401, "invalid_api_key", "the sandbox does not know this API key")
        return merchant_id
