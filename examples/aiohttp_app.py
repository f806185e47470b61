"""aiohttp.web: guards on handlers, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... \
    SESSION_SECRET=$(python -c "import secrets; print(secrets.token_hex())") \
    PORT=8000 python aiohttp_app.py

aiohttp has no sessions of its own: this one is a cookie signed with `itsdangerous`. aiohttp-session has more.
"""

import os
from typing import Any

from aiohttp import web
from itsdangerous import BadData, URLSafeTimedSerializer

from montra_async import ConflictError, InvalidArgumentError, InvalidRequestError, Montra
from montra_async.frameworks.aiohttp import CLIENT, client_context, require_feature, require_quota, webhook_handler
from montra_async.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver

if len(SESSION_SECRET := os.environ["SESSION_SECRET"]) < 32:  # whoever guesses it signs sessions of any customer
    raise ValueError('SESSION_SECRET is too short. Make one: python -c "import secrets; print(secrets.token_hex())"')
receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
buyers: list[str] = []  # your database
sessions = URLSafeTimedSerializer(SESSION_SECRET, salt="session")
MONTH = 30 * 24 * 3600  # seconds


def customer_id(request: web.Request) -> str:
    """Return the session's Montra customer, which only this server can write. Without one, the KeyError is a 401."""
    try:
        return str(sessions.loads(request.cookies["session"], max_age=MONTH)["customer_id"])
    except BadData:
        raise web.HTTPUnauthorized from None


def confirmed_email(form: dict[str, Any]) -> str:
    """Return the visitor's address. Yours: only if they have sent back the code that you have mailed to it.

    This example sends no mail, so it takes any address. A payment belongs to the customer who has the payer's address:
    whoever signs up with another's gets what the other pays for.
    """
    email: str = form["email"]
    return email


async def sign_up(request: web.Request) -> web.StreamResponse:
    """Create a customer and begin their session. Store the id in your table of users: your sign-in reads it there.

    Only JSON is read. A page of another site can't send it; with a form, it could sign its visitors in as it likes.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    try:
        form = await request.json()
        name, email = form["name"], confirmed_email(form)
    except (ValueError, LookupError, TypeError, RecursionError):
        raise web.HTTPBadRequest(text="send a name and an email address") from None
    try:
        customer = await request.app[CLIENT].create_customer(name=name, email=email)
    except ConflictError:
        raise web.HTTPConflict(text="this address has an account: sign in") from None
    except (InvalidArgumentError, InvalidRequestError):  # a typo of the user's
        raise web.HTTPUnprocessableEntity(text="check your name and your email address") from None
    response = web.Response(status=201)
    cookie = sessions.dumps({"customer_id": customer.id})
    response.set_cookie("session", cookie, max_age=MONTH, httponly=True, samesite="Lax")  # with HTTPS, secure=True
    return response


@require_feature("sso", customer=customer_id)
async def reports(_: web.Request) -> web.StreamResponse:
    return web.json_response({"report": "for those who have single sign-on"})


@require_quota("api-tokens", customer=customer_id)
async def answers(request: web.Request) -> web.StreamResponse:
    await request.app[CLIENT].report_usage(customer_id=customer_id(request), meter_slug="api-tokens", amount=5)
    return web.json_response({"answer": "42"})


@receiver.on(CheckoutCompleted)
async def paid(event: CheckoutCompleted) -> None:
    buyers.append(event.data.customer_email or "")


async def list_buyers(_: web.Request) -> web.StreamResponse:
    return web.json_response(buyers)


app = web.Application()
app.cleanup_ctx.append(client_context(Montra))
app.router.add_post("/sign-up", sign_up)
app.router.add_get("/reports", reports)
app.router.add_post("/answers", answers)
app.router.add_get("/buyers", list_buyers)
app.router.add_post("/webhooks/montra", webhook_handler(receiver))

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
