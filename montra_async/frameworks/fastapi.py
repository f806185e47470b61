"""FastAPI: lifespan, dependencies, guards, a router for webhooks.

app = FastAPI(lifespan=lifespan(Montra), exception_handlers=exception_handlers)
app.include_router(webhook_router("/webhooks/montra", receiver))

@app.get("/reports", dependencies=[Depends(require_feature("sso", customer=current_customer_id))])
async def reports(montra: Client) -> ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import Parameter, Signature
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from ..client import Montra
from ..webhooks import WebhookReceiver
from .access import CONTENT_TYPE, Kind, Refusal, check, checked_guard, identified
from .starlette import get_client, lifespan, webhook_endpoint


def _client(request: Request) -> Montra:
    return get_client(request)


Client = Annotated[Montra, Depends(_client)]
"""A parameter of this type is the application's client."""


class AccessRefused(HTTPException):
    """Raised by the guards. Without `exception_handlers` FastAPI puts the problem below `detail`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status, refusal.problem(), refusal.headers())
        self.refusal = refusal


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, AccessRefused)
    return Response(error.refusal.body(), error.status_code, error.refusal.headers(), CONTENT_TYPE)


exception_handlers: dict[int | type[Exception], Callable[[Request, Any], Any]] = {AccessRefused: _problem}
"""For `FastAPI(exception_handlers=...)`: refusals as `application/problem+json`."""

guarded_responses: dict[int | str, dict[str, Any]] = {
    401: {"description": "Nobody knows who is asking", "content": {CONTENT_TYPE: {}}},
    402: {"description": "The quota of the plan is used up", "content": {CONTENT_TYPE: {}}},
    403: {"description": "The plan does not include this, or the customer is not known", "content": {CONTENT_TYPE: {}}},
    500: {"description": "Billing is not set up right in this application", "content": {CONTENT_TYPE: {}}},
    503: {"description": "Access can't be checked right now", "content": {CONTENT_TYPE: {}}},
}
"""For `@app.get(..., responses=guarded_responses)`: what a guard may answer, in the application's OpenAPI."""


def require_feature(slug: str, *, customer: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """A dependency that lets pass customers whose plan includes a feature; the others get 403.

    Args:
        slug: of the feature.
        customer: a dependency of yours that gives the customer's Montra id. None: 401, and nobody is asked. What it
            raises is FastAPI's to answer.
    """
    return _Guard("feature", slug, customer)


def require_quota(slug: str, *, customer: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """A dependency that lets pass customers with something left of a meter; the others get 402.

    Args:
        slug: of the meter.
        customer: a dependency of yours that gives the customer's Montra id. None: 401, and nobody is asked. What it
            raises is FastAPI's to answer.
    """
    return _Guard("quota", slug, customer)


class _Guard:
    """What `Depends` takes. In every other place, where it would guard nothing, it fails: as a decorator when the
    module is loaded (its arguments have names), as a bare default of a parameter at the first request."""

    def __init__(self, kind: Kind, slug: str, customer: Callable[..., Any]) -> None:
        checked_guard(slug, customer)
        self._kind: Kind = kind
        self._slug = slug
        named = Parameter.KEYWORD_ONLY
        self.__signature__ = Signature(
            [
                Parameter("montra", named, annotation=Client),
                Parameter("customer_id", named, default=Depends(customer), annotation=Any),
            ]
        )

    async def __call__(self, *, montra: Montra, customer_id: object) -> None:
        found = identified(customer_id)
        refusal = found if isinstance(found, Refusal) else await check(self._kind, self._slug, lambda: montra, found)
        if refusal is not None:
            raise AccessRefused(refusal)

    def __deepcopy__(self, _: object) -> NoReturn:
        raise RuntimeError(f"a guard of {self._slug!r} stands where nobody calls it: write Depends(...) around it")


def webhook_router(path: str, receiver: WebhookReceiver) -> APIRouter:
    """A router that takes deliveries at `path`. It is not in the application's OpenAPI: nobody else is to call it."""
    router = APIRouter()
    router.add_api_route(path, webhook_endpoint(receiver), methods=["POST"], include_in_schema=False)
    return router


__all__ = [
    "AccessRefused",
    "Client",
    "exception_handlers",
    "get_client",
    "guarded_responses",
    "lifespan",
    "require_feature",
    "require_quota",
    "webhook_router",
]
