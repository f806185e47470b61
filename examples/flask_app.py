"""Flask: guards on views, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... \
    SESSION_SECRET=$(python -c "import secrets; print(secrets.token_hex())") \
    gunicorn --preload -w 4 flask_app:app
"""

import os
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request, session

from montra_sync import ConflictError, InvalidArgumentError, InvalidRequestError
from montra_sync.frameworks.flask import MontraFlask, webhook_blueprint
from montra_sync.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver

if len(SESSION_SECRET := os.environ["SESSION_SECRET"]) < 32:  # whoever guesses it signs sessions of any customer
    raise ValueError('SESSION_SECRET is too short. Make one: python -c "import secrets; print(secrets.token_hex())"')
receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
app = Flask(__name__)
# The session is a signed cookie: visitors can't write a customer into it. With HTTPS, add SESSION_COOKIE_SECURE=True.
app.secret_key = SESSION_SECRET
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
montra = MontraFlask(app)  # makes its client when it is first wanted: fine with gunicorn's --preload
app.register_blueprint(webhook_blueprint("/webhooks/montra", receiver))
buyers = Path(os.environ.get("BUYERS_FILE", "buyers.txt"))  # your database: shared by all workers


def customer_id() -> str:
    """Return the session's Montra customer, which only this server can write. Without one, the KeyError is a 401."""
    return str(session["customer_id"])


def confirmed_email(form: dict[str, Any]) -> str:
    """Return the visitor's address. Yours: only if they have sent back the code that you have mailed to it.

    This example sends no mail, so it takes any address. A payment belongs to the customer who has the payer's address:
    whoever signs up with another's gets what the other pays for.
    """
    email: str = form["email"]
    return email


@app.post("/sign-up")
def sign_up() -> Response:
    """Create a customer and begin their session. Store the id in your table of users: your sign-in reads it there.

    Only JSON is read. A page of another site can't send it; with a form, it could sign its visitors in as it likes.
    """
    if request.mimetype != "application/json":
        return Response(status=415)
    try:
        form = request.get_json()
        name, email = form["name"], confirmed_email(form)
    except (ValueError, LookupError, TypeError, RecursionError):
        return Response("send a name and an email address", 400)
    try:
        customer = montra.client.create_customer(name=name, email=email)
    except ConflictError:
        return Response("this address has an account: sign in", 409)
    except (InvalidArgumentError, InvalidRequestError):  # a typo of the user's
        return Response("check your name and your email address", 422)
    session["customer_id"] = customer.id
    return Response(status=201)


@app.get("/reports")
@montra.require_feature("sso", customer=customer_id)
def reports() -> Response:
    return jsonify(report="for those who have single sign-on")


@app.post("/answers")
@montra.require_quota("api-tokens", customer=customer_id)
def answers() -> Response:
    # Don't take the idempotency key from the caller: with the same one for all requests, they would pay once.
    montra.client.report_usage(customer_id=customer_id(), meter_slug="api-tokens", amount=5)
    return jsonify(answer="42")


@receiver.on(CheckoutCompleted)
def paid(event: CheckoutCompleted) -> None:
    with buyers.open("a") as file:
        file.write(f"{event.data.customer_email}\n")


@app.get("/buyers")
def list_buyers() -> Response:
    return jsonify(buyers.read_text().split() if buyers.exists() else [])
