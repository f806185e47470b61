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

from fastapi.exceptions import HTTPException
from fastapi.param_functions import Depends
from fastapi.requests import Request
from fastapi.responses import Response
from fastapi.routing import APIRouter

from ..client import Montra
from ..webhooks import WebhookReceiver
from .guards import CONTENT_TYPE, Denial, Kind, check_customer, customer_id_or_denial, validate_guard
from .starlette import get_client, lifespan, webhook_endpoint


def _client(request: Request) -> Montra:
    return get_client(request)


Client = Annotated[Montra, Depends(_client)]
"""A parameter of this type receives the application's client."""


class AccessDenied(HTTPException):
    """Raised by the guards. Without `exception_handlers` FastAPI puts the problem below `detail`.

    Args:
        denial: the response.
    """

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.status, denial.problem(), denial.headers())
        self.denial = denial
        """The response."""


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, AccessDenied)
    return Response(error.denial.body(), error.status_code, error.denial.headers(), CONTENT_TYPE)


exception_handlers: dict[int | type[Exception], Callable[[Request, Any], Any]] = {AccessDenied: _problem}
"""For `FastAPI(exception_handlers=...)`: denials as `application/problem+json`."""

guarded_responses: dict[int | str, dict[str, Any]] = {
    401: {"description": "The customer is not known", "content": {CONTENT_TYPE: {}}},
    402: {"description": "The quota of the plan is used up", "content": {CONTENT_TYPE: {}}},
    403: {"description": "The plan does not include this, or the customer is not known", "content": {CONTENT_TYPE: {}}},
    500: {"description": "Billing is not configured correctly", "content": {CONTENT_TYPE: {}}},
    503: {"description": "Access can't be checked right now", "content": {CONTENT_TYPE: {}}},
}
"""For `@app.get(..., responses=guarded_responses)`: the responses of guards, for the application's OpenAPI."""


def require_feature(slug: str, *, customer: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """Return a dependency that lets through customers whose plan includes a feature; others get 403.

    Args:
        slug: of the feature.
        customer: a dependency of yours that returns the Montra customer id. None: 401, without asking the service.
            FastAPI responds to its exceptions.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _Guard("feature", slug, customer)


def require_quota(slug: str, *, customer: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """Return a dependency that lets through customers who have some of a meter's quota left; others get 402.

    Args:
        slug: of the meter.
        customer: a dependency of yours that returns the Montra customer id. None: 401, without asking the service.
            FastAPI responds to its exceptions.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _Guard("quota", slug, customer)


class _Guard:
    """A dependency for `Depends`. It fails wherever it would guard nothing: as a decorator when the module is loaded,
    because its parameters are keyword-only, and as the bare default of a parameter at the first request."""

    def __init__(self, kind: Kind, slug: str, customer: Callable[..., Any]) -> None:
        validate_guard(slug, customer)
        self._kind: Kind = kind
        self._slug = slug
        keyword_only = Parameter.KEYWORD_ONLY
        self.__signature__ = Signature(
            [
                Parameter("montra", keyword_only, annotation=Client),
                Parameter("customer_id", keyword_only, default=Depends(customer), annotation=Any),
            ]
        )

    async def __call__(self, *, montra: Montra, customer_id: object) -> None:
        found = customer_id_or_denial(customer_id)
        denial = (
            found if isinstance(found, Denial) else await check_customer(self._kind, self._slug, lambda: montra, found)
        )
        if denial is not None:
            raise AccessDenied(denial)

    def __deepcopy__(self, _: object) -> NoReturn:
        raise RuntimeError(f"a guard of {self._slug!r} is never called here: write Depends(...) around it")


def webhook_router(path: str, receiver: WebhookReceiver) -> APIRouter:
    """Return a router with a route for deliveries of webhooks, which is left out of the application's OpenAPI.

    Args:
        path: the route's path.
        receiver: handles the deliveries.
    """
    router = APIRouter()
    router.add_api_route(path, webhook_endpoint(receiver), methods=["POST"], include_in_schema=False)
    return router


__all__ = [
    "AccessDenied",
    "Client",
    "exception_handlers",
    "get_client",
    "guarded_responses",
    "lifespan",
    "require_feature",
    "require_quota",
    "webhook_router",
]
