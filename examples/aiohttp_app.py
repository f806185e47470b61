"""aiohttp.web: guards on handlers, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... PORT=8000 python aiohttp_app.py
"""

import os

from aiohttp import web

from montra_async import Montra
from montra_async.frameworks.aiohttp import CLIENT, client_context, require_feature, require_quota, webhook_handler
from montra_async.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver

receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
buyers: list[str] = []  # your database


def customer_id(request: web.Request) -> str:
    """Return the customer id from your session or a verified token.

    NEVER use a header, which any caller may set; this example does so that it can be tried with curl. When the header
    is missing (a KeyError), the guard responds with 401.
    """
    return request.headers["X-Customer-Id"]


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
app.router.add_get("/reports", reports)
app.router.add_post("/answers", answers)
app.router.add_get("/buyers", list_buyers)
app.router.add_post("/webhooks/montra", webhook_handler(receiver))

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
