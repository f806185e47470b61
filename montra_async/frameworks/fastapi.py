"""FastAPI: lifespan, dependencies, guards, a router for webhooks.

app = FastAPI(lifespan=lifespan(Montra), exception_handlers=exception_handlers)
app.include_router(webhook_router("/webhooks/montra", receiver))

@app.get("/reports", dependencies=[Depends(require_feature("sso", customer=current_customer_id))])
async def reports(montra: Client) -> ...
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from inspect import Parameter, Signature, currentframe, iscoroutinefunction, signature
from typing import Annotated, Any, NoReturn, get_type_hints

from ..core.hints import missing_extra

try:
    from fastapi.exceptions import HTTPException
    from fastapi.param_functions import Depends
    from fastapi.requests import HTTPConnection, Request
    from fastapi.responses import Response
    from fastapi.routing import APIRouter
    from starlette.concurrency import run_in_threadpool
except ImportError as _error:
    raise missing_extra("montra_async.frameworks.fastapi", "fastapi", _error) from None

from ..access import Access
from ..client import Montra
from ..webhooks import WebhookReceiver
from .guards import CONTENT_TYPE, Denial, Kind, check_customer, customer_id_or_denial, validate_guard
from .metering import Amount, Estimate, begin, validate_metering
from .starlette import (
    deny,
    get_client,
    get_hold,
    lifespan,
    mark_endpoint,
    reject_unmeterable,
    reject_websocket,
    respond,
    webhook_endpoint,
)


def _client(request: HTTPConnection) -> Montra:  # also of a WebSocket
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


async def _problem(connection: HTTPConnection, error: Exception) -> Response | None:
    assert isinstance(error, AccessDenied)
    return await deny(connection, error.denial)


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


def require_feature(
    slug: str, *, customer: Callable[..., Any], access: Access | None = None
) -> Callable[..., Awaitable[None]]:
    """Return a dependency that lets through customers whose plan includes a feature; others get 403.

    Args:
        slug: of the feature.
        customer: a dependency of yours that returns the Montra customer id. None: 401, without asking the service.
            FastAPI responds to its exceptions.
        access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
            Default: None, the service is asked.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _Guard("feature", slug, customer, access)


def require_quota(
    slug: str, *, customer: Callable[..., Any], access: Access | None = None
) -> Callable[..., Awaitable[None]]:
    """Return a dependency that lets through customers who have some of a meter's quota left; others get 402.

    Args:
        slug: of the meter.
        customer: a dependency of yours that returns the Montra customer id. None: 401, without asking the service.
            FastAPI responds to its exceptions.
        access: an `Access` that decides, mostly from memory, instead of a question to the service for each request.
            Default: None, the service is asked.

    Raises:
        InvalidArgumentError: `slug` is blank.
        TypeError: `customer` is not callable.
    """
    return _Guard("quota", slug, customer, access)


class _Guard:
    """A dependency for `Depends`. It fails wherever it would guard nothing: as a decorator when the module is loaded,
    because its parameters are keyword-only; without `Depends` in `Annotated[...]` or `dependencies=[...]` when the
    route is registered; and as the bare default of a parameter at the first request."""

    def __init__(self, kind: Kind, slug: str, customer: Callable[..., Any], access: Access | None) -> None:
        validate_guard(slug, customer)
        self._kind: Kind = kind
        self._slug = slug
        self._access = access
        keyword_only = Parameter.KEYWORD_ONLY
        found = Parameter("customer_id", keyword_only, default=Depends(customer), annotation=Any)
        client = Parameter("montra", keyword_only, annotation=Client)
        self.__signature__ = Signature([found] if access is not None else [client, found])

    async def __call__(self, *, montra: Montra | None = None, customer_id: object) -> None:
        asked = self._access or montra
        assert asked is not None
        found = customer_id_or_denial(customer_id)
        denial = (
            found if isinstance(found, Denial) else await check_customer(self._kind, self._slug, lambda: asked, found)
        )
        if denial is not None:
            raise AccessDenied(denial)

    def _refuse(self, *_: object) -> NoReturn:
        raise RuntimeError(f"a guard of {self._slug!r} is never called here: write Depends(...) around it")

    __deepcopy__ = _refuse  # the default of a parameter
    __get_pydantic_core_schema__ = _refuse  # in `Annotated[...]`
    dependency = property(_refuse)  # in `dependencies=[...]`


def metered(
    slug: str,
    *,
    access: Access | Callable[[], Access],
    customer: Callable[..., Any],
    estimate: Estimate = 1,
    amount: Amount = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Hold units of a meter before an endpoint runs, and record what it used at its end.

    Customers without enough units get 402 and a problem body; those without a plan 403. The endpoint may set
    `get_hold(request).amount`. An exception or a 5xx response releases the units and records nothing. A stream is
    recorded when it ends; if the client closes it earlier, what was set as `amount` until then is.

    Args:
        slug: of the meter.
        access: an `Access` with a reporter, or a function that returns it.
        customer: a dependency of yours that returns the Montra customer id. None: 401. FastAPI responds to its
            exceptions.
        estimate: number of units to hold, more than 0, or a function that takes the request and returns it, or an
            awaitable of it. Default: 1.
        amount: takes the response and returns the number of units used, unless the amount was set; None from it means
            the estimate. Default: the estimate.

    Returns:
        A decorator for endpoints, to be put below the one that registers the route.

    Raises:
        InvalidArgumentError: `slug` is blank, or `estimate` is not more than 0.
        TypeError: an argument is not callable.
    """
    metering = validate_metering(slug, access, customer, estimate, amount)

    def wrap(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        mark_endpoint(endpoint, currentframe())
        reject_unmeterable(endpoint)

        @functools.wraps(endpoint)
        async def guarded(*, montra_request: HTTPConnection, montra_customer_id: object, **arguments: Any) -> Any:
            reject_websocket(montra_request)
            hold = await begin(metering, montra_request, lambda: montra_customer_id)
            if isinstance(hold, Denial):
                raise AccessDenied(hold)
            montra_request.state.montra_hold = hold
            if iscoroutinefunction(endpoint):
                return await respond(metering, hold, lambda: endpoint(**arguments))
            return await respond(metering, hold, lambda: run_in_threadpool(endpoint, **arguments))

        guarded.__dict__["__signature__"] = _with_customer(endpoint, customer)
        return guarded

    return wrap


def _request(request: HTTPConnection) -> HTTPConnection:
    """The request, besides that which the endpoint may have a parameter for: FastAPI fills in one only."""
    return request


def _with_customer(endpoint: Callable[..., Any], customer: Callable[..., Any]) -> Signature:
    """The signature of an endpoint, with the parameters of `metered`. FastAPI fills them in by name."""
    found = signature(endpoint)
    try:
        hints = get_type_hints(endpoint, include_extras=True)  # as the endpoint's own module understands them
    except NameError:  # names that are not imported at run time, or local: FastAPI says so
        hints = {}
    own = [
        one.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints.get(name, one.annotation))
        for name, one in found.parameters.items()
    ]
    ours = [
        Parameter("montra_request", Parameter.KEYWORD_ONLY, default=Depends(_request), annotation=Any),
        Parameter("montra_customer_id", Parameter.KEYWORD_ONLY, default=Depends(customer), annotation=Any),
    ]
    return found.replace(parameters=own + ours, return_annotation=hints.get("return", found.return_annotation))


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
    "get_hold",
    "guarded_responses",
    "lifespan",
    "metered",
    "require_feature",
    "require_quota",
    "webhook_router",
]
