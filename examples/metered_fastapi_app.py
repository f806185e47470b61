"""FastAPI: an AI endpoint that holds tokens, streams its answer, and records what was used. It survives `kill -9`.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... \
    SESSION_SECRET=$(python -c "import secrets; print(secrets.token_hex())") \
    uvicorn metered_fastapi_app:app --workers 4

Needs `itsdangerous`, with which Starlette signs sessions.

All workers share one outbox, the file MONTRA_OUTBOX. Whichever process is killed, another one sends what it recorded.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from starlette.middleware.sessions import SessionMiddleware

from montra_async import ConflictError, InvalidArgumentError, InvalidRequestError, Montra
from montra_async.access import Access
from montra_async.frameworks.fastapi import (
    exception_handlers,
    get_hold,
    guarded_responses,
    metered,
    require_feature,
    webhook_router,
)
from montra_async.usage import ParkedUsage, UsageReporter, UsageStats
from montra_async.webhooks import SqliteStore, WebhookReceiver

if len(SESSION_SECRET := os.environ["SESSION_SECRET"]) < 32:  # whoever guesses it signs sessions of any customer
    raise ValueError('SESSION_SECRET is too short. Make one: python -c "import secrets; print(secrets.token_hex())"')

LATE = 300.0  # seconds; what is sent after the end of a billing period counts in the next one
log = logging.getLogger("billing")


def parked(request: ParkedUsage) -> None:
    """The service refuses this usage, or may have counted it long ago: a person decides, with `montra-usage parked`."""
    log.error("parked: %s %s %s: %s", request.amount, request.meter_slug, request.reason, request.message)


def late(stats: UsageStats) -> None:
    log.error("%d events wait for %.0f s", stats.waiting, stats.oldest_age)


montra = Montra()
usage = UsageReporter(montra, max_age=LATE, on_parked=parked, on_backlog=late)
access = Access(montra, usage, on_unavailable="allow")
receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
access.connect(receiver)  # a customer who has just paid is let in at once


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
    async with montra, usage, access:
        yield


app = FastAPI(lifespan=lifespan, exception_handlers=exception_handlers)
# The session is a signed cookie: visitors can't write a customer into it. With HTTPS, add https_only=True.
app.add_middleware(SessionMiddleware, secret_key=SESSION_SECRET)
app.include_router(webhook_router("/webhooks/montra", receiver))


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
    request: Request, name: Annotated[str, Body()], email: Annotated[str, Depends(confirmed_email)]
) -> None:
    """Create a customer and begin their session. Store the id in your table of users: your sign-in reads it there."""
    try:
        customer = await montra.create_customer(name=name, email=email)
    except ConflictError:
        raise HTTPException(409, "this address has an account: sign in") from None
    except (InvalidArgumentError, InvalidRequestError):  # a typo of the user's
        raise HTTPException(422, "check your name and your email address") from None
    request.session["customer_id"] = customer.id


async def model(prompt: str) -> AsyncIterator[str]:
    """Your model, which tells the number of tokens only as it goes."""
    for word in prompt.split():
        await asyncio.sleep(0)
        yield f"{word} "


def most_tokens(request: Request) -> int:
    """What the answer will cost at most. So much is held; what it did not cost is free again at its end."""
    return 10 + 2 * len(request.query_params.get("prompt", ""))


@app.post("/ask", responses=guarded_responses)
@metered("api-tokens", access=access, customer=customer_id, estimate=most_tokens)
async def ask(request: Request, prompt: str) -> StreamingResponse:
    hold = get_hold(request)
    hold.add(0)  # whoever leaves before the first token pays nothing, not the estimate

    async def answer() -> AsyncIterator[str]:
        async for token in model(prompt):
            hold.add(1)  # whoever leaves later pays for what was sent
            yield token

    return StreamingResponse(answer(), media_type="text/plain")


@app.get("/reports", dependencies=[Depends(require_feature("sso", customer=customer_id, access=access))])
async def reports() -> dict[str, str]:
    return {"report": "for those who have single sign-on; answered from memory"}


@app.get("/quota")
async def quota(customer: Annotated[str, Depends(customer_id)]) -> dict[str, Any]:
    """For the page of the customer: what is left, with what was used a moment ago and what is held."""
    decision = await access.check(customer, meter="api-tokens")
    return {"allowed": decision.allowed, "remaining": decision.remaining, "source": decision.source}


@app.get("/health")
async def health(response: Response) -> dict[str, Any]:
    """For your monitoring."""
    stats = await usage.stats()
    if stats.parked or stats.oldest_age > LATE:
        response.status_code = 503
    return {"waiting": stats.waiting, "oldest": stats.oldest_age, "parked": stats.parked, "circuit": stats.circuit}
