"""FastAPI: guards on routes, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... \
    SESSION_SECRET=$(python -c "import secrets; print(secrets.token_hex())") \
    uvicorn fastapi_app:app

Needs `itsdangerous`, with which Starlette signs sessions.
"""

import os
from typing import Annotated

from fastapi import Body, Depends, FastAPI, HTTPException, Request
from starlette.middleware.sessions import SessionMiddleware

from montra_async import ConflictError, InvalidArgumentError, InvalidRequestError, Montra
from montra_async.frameworks.fastapi import (
    Client,
    exception_handlers,
    guarded_responses,
    lifespan,
    require_feature,
    require_quota,
    webhook_router,
)
from montra_async.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver

if len(SESSION_SECRET := os.environ["SESSION_SECRET"]) < 32:  # whoever guesses it signs sessions of any customer
    raise ValueError('SESSION_SECRET is too short. Make one: python -c "import secrets; print(secrets.token_hex())"')
receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
app = FastAPI(lifespan=lifespan(Montra), exception_handlers=exception_handlers)
# The session is a signed cookie: visitors can't write a customer into it. With HTTPS, add https_only=True.
app.add_middleware(SessionMiddleware, secret_key=SESSION_SECRET)
app.include_router(webhook_router("/webhooks/montra", receiver))
buyers: list[str] = []  # your database


async def customer_id(request: Request) -> str:
    """Return the Montra customer of the session, which only this server can write."""
    if not (customer := request.session.get("customer_id")):
        raise HTTPException(401, "sign in first")
    return str(customer)


def confirmed_email(email: Annotated[str, Body()]) -> str:
    """Return the visitor's address. Yours: only if they have sent back the code that you have mailed to it.

    This example sends no mail, so it takes any address. A payment belongs to the customer who has the payer's address:
    whoever signs up with another's gets what the other pays for.
    """
    return email


def only_json(request: Request) -> None:
    """Refuse forms: a page of another site could send one, and so sign its visitors in as it likes. JSON it can't."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415)


@app.post("/sign-up", status_code=201, dependencies=[Depends(only_json)])
async def sign_up(
    request: Request, montra: Client, name: Annotated[str, Body()], email: Annotated[str, Depends(confirmed_email)]
) -> None:
    """Create a customer and begin their session. Store the id in your table of users: your sign-in reads it there."""
    try:
        customer = await montra.create_customer(name=name, email=email)
    except ConflictError:
        raise HTTPException(409, "this address has an account: sign in") from None
    except (InvalidArgumentError, InvalidRequestError):  # a typo of the user's
        raise HTTPException(422, "check your name and your email address") from None
    request.session["customer_id"] = customer.id


@app.get("/reports", dependencies=[Depends(require_feature("sso", customer=customer_id))], responses=guarded_responses)
async def reports() -> dict[str, str]:
    return {"report": "for those who have single sign-on"}


@app.post(
    "/answers",
    dependencies=[Depends(require_quota("api-tokens", customer=customer_id))],
    responses=guarded_responses,
)
async def answers(montra: Client, customer: Annotated[str, Depends(customer_id)]) -> dict[str, str]:
    await montra.report_usage(customer_id=customer, meter_slug="api-tokens", amount=5)
    return {"answer": "42"}


@receiver.on(CheckoutCompleted)
async def paid(event: CheckoutCompleted) -> None:
    buyers.append(event.data.customer_email or "")


@app.get("/buyers")
async def list_buyers() -> list[str]:
    return buyers
