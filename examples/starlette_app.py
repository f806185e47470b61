"""Starlette: guards on endpoints, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... \
    SESSION_SECRET=$(python -c "import secrets; print(secrets.token_hex())") \
    uvicorn starlette_app:app

Needs `itsdangerous`, with which Starlette signs sessions.
"""

import os
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from montra_async import ConflictError, InvalidArgumentError, InvalidRequestError, Montra
from montra_async.frameworks.starlette import get_client, lifespan, require_feature, require_quota, webhook_route
from montra_async.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver

if len(SESSION_SECRET := os.environ["SESSION_SECRET"]) < 32:  # whoever guesses it signs sessions of any customer
    raise ValueError('SESSION_SECRET is too short. Make one: python -c "import secrets; print(secrets.token_hex())"')
receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
buyers: list[str] = []  # your database


def customer_id(request: Request) -> str:
    """Return the session's Montra customer, which only this server can write. Without one, the KeyError is a 401."""
    return str(request.session["customer_id"])


def confirmed_email(form: dict[str, Any]) -> str:
    """Return the visitor's address. Yours: only if they have sent back the code that you have mailed to it.

    This example sends no mail, so it takes any address. A payment belongs to the customer who has the payer's address:
    whoever signs up with another's gets what the other pays for.
    """
    email: str = form["email"]
    return email


async def sign_up(request: Request) -> Response:
    """Create a customer and begin their session. Store the id in your table of users: your sign-in reads it there.

    Only JSON is read. A page of another site can't send it; with a form, it could sign its visitors in as it likes.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return Response(status_code=415)
    try:
        form = await request.json()
        name, email = form["name"], confirmed_email(form)
    except (ValueError, LookupError, TypeError, RecursionError):
        return JSONResponse({"detail": "send a name and an email address"}, 400)
    try:
        customer = await get_client(request).create_customer(name=name, email=email)
    except ConflictError:
        return JSONResponse({"detail": "this address has an account: sign in"}, 409)
    except (InvalidArgumentError, InvalidRequestError):  # a typo of the user's
        return JSONResponse({"detail": "check your name and your email address"}, 422)
    request.session["customer_id"] = customer.id
    return Response(status_code=201)


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
    # The session is a signed cookie: visitors can't write a customer into it. With HTTPS, add https_only=True.
    middleware=[Middleware(SessionMiddleware, secret_key=SESSION_SECRET)],
    routes=[
        Route("/sign-up", sign_up, methods=["POST"]),
        Route("/reports", reports),
        Route("/answers", answers, methods=["POST"]),
        Route("/buyers", list_buyers),
        webhook_route("/webhooks/montra", receiver),
    ],
)
