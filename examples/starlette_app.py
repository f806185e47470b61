"""Starlette: guards on endpoints, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... uvicorn starlette_app:app
"""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from montra_async import Montra
from montra_async.frameworks.starlette import get_client, lifespan, require_feature, require_quota, webhook_route
from montra_async.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver

receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
buyers: list[str] = []  # your database


def customer_id(request: Request) -> str:
    """Return the customer id from your session or a verified token.

    NEVER use a header, which any caller may set; this example does so that it can be tried with curl. When the header
    is missing (a KeyError), the guard responds with 401.
    """
    return request.headers["X-Customer-Id"]


@require_feature("sso", customer=customer_id)
async def reports(_: Request) -> Response:
    return JSONResponse({"report": "for those who have single sign-on"})


@require_quota("api-tokens", customer=customer_id)
async def answers(request: Request) -> Response:
    await get_client(request).report_usage(customer_id=customer_id(request), meter_slug="api-tokens", amount=5)
    return JSONResponse({"answer": "42"})


@receiver.on(CheckoutCompleted)
async def paid(event: CheckoutCompleted) -> None:
    buyers.append(event.data.customer_email or "")


async def list_buyers(_: Request) -> Response:
    return JSONResponse(buyers)


app = Starlette(
    lifespan=lifespan(Montra),
    routes=[
        Route("/reports", reports),
        Route("/answers", answers, methods=["POST"]),
        Route("/buyers", list_buyers),
        webhook_route("/webhooks/montra", receiver),
    ],
)
