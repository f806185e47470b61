"""How the Montra API speaks: a merchant's key as bearer, answers in an envelope."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..context import NOTHING, Bare, Context, Page
from ..contract import read_contract
from ..montra import HANDLERS
from ..problems import Problem
from ..world import World
from .api import Api, Incoming


class MontraApi(Api[Context]):
    def __init__(self, world: World, prefix: str) -> None:
        super().__init__(world, read_contract("montra"), HANDLERS, prefix)

    def admit(self, request: web.Request) -> None:
        self._merchant(request)

    def context(self, request: web.Request, incoming: Incoming) -> Context:
        return Context(
            store=self.store,
            merchant_id=self._merchant(request),
            now=self._world.clock.now(),
            origin=self._world.origin,
            path=incoming.path,
            query=incoming.query,
            body=incoming.body,
            part=incoming.parts[0] if incoming.parts else None,
        )

    def scope(self, context: Context) -> str:
        return context.merchant_id

    def success(self, result: Any) -> Any:
        if result is NOTHING:
            return {"success": True}
        if isinstance(result, Bare):
            return result.value
        if isinstance(result, Page):
            return {"success": True, "data": result.data, "meta": result.meta}
        return {"success": True, "data": result}

    def refusal(self, problem: Problem) -> Any:
        return problem.envelope()

    def _merchant(self, request: web.Request) -> str:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Problem(401, "missing_api_key", "send the header Authorization: Bearer <api key>")
        merchant_id = self._world.merchant_of(key.strip())
        if merchant_id is None:
            raise Problem(401, "invalid_api_key", "the sandbox does not know this API key")
        return merchant_id
