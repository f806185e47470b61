"""FastAPI: guards on routes, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... uvicorn fastapi_app:app
"""

import os
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException

from montra_async import Montra
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

receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
app = FastAPI(lifespan=lifespan(Montra), exception_handlers=exception_handlers)
app.include_router(webhook_router("/webhooks/montra", receiver))
buyers: list[str] = []  # your database


async def customer_id(x_customer_id: Annotated[str | None, Header()] = None) -> str:
    """Return the customer id from your session or a verified token.

    NEVER use a header, which any caller may set; this example does so that it can be tried with curl.
    """
    if not x_customer_id:
        raise HTTPException(401, "this route needs a customer")
    return x_customer_id


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
