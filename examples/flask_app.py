"""Flask: guards on views, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... gunicorn --preload -w 4 flask_app:app
"""

import os
from pathlib import Path

from flask import Flask, Response, jsonify, request

from montra_sync.frameworks.flask import MontraFlask, webhook_blueprint
from montra_sync.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver

receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
app = Flask(__name__)
montra = MontraFlask(app)  # makes its client when it is first wanted: fine with gunicorn's --preload
app.register_blueprint(webhook_blueprint("/webhooks/montra", receiver))
buyers = Path(os.environ.get("BUYERS_FILE", "buyers.txt"))  # your database: shared by all workers


def customer_id() -> str:
    """Return the customer id from your session or a verified token.

    NEVER use a header, which any caller may set; this example does so that it can be tried with curl. When the header
    is missing (a KeyError), the guard responds with 401.
    """
    return request.headers["X-Customer-Id"]


@app.get("/reports")
@montra.require_feature("sso", customer=customer_id)
def reports() -> Response:
    return jsonify(report="for those who have single sign-on")


@app.post("/answers")
@montra.require_quota("api-tokens", customer=customer_id)
def answers() -> Response:
    # The request's own id as the key: a client that repeats its request is charged once.
    key = request.headers.get("X-Request-Id")
    montra.client.report_usage(customer_id=customer_id(), meter_slug="api-tokens", amount=5, idempotency_key=key)
    return jsonify(answer="42")


@receiver.on(CheckoutCompleted)
def paid(event: CheckoutCompleted) -> None:
    with buyers.open("a") as file:
        file.write(f"{event.data.customer_email}\n")


@app.get("/buyers")
def list_buyers() -> Response:
    return jsonify(buyers.read_text().split() if buyers.exists() else [])
