"""A Flask application: whoever may use tokens gets an answer, and the tokens are counted.

MONTRA_BASE_URL=http://127.0.0.1:4242/api/v1 MONTRA_API_KEY=sk_test_sandbox gunicorn --preload -w 4 flask_app:app
"""

from flask import Flask, Response, jsonify, request

from montra_sync import Montra, NetworkError, NotFoundError

app = Flask(__name__)
montra = Montra()  # opens nothing yet: fine at import time, and with gunicorn's --preload


@app.post("/completions/<customer_id>")
def complete(customer_id: str) -> tuple[Response, int]:
    access = montra.check_entitlement(customer_id, "api-tokens")
    if not access.has_access:
        return jsonify(error=access.reason), 402
    answer = f"You said: {request.get_data(as_text=True)}"
    # The request's own id as the key: a client that repeats its request is charged once.
    montra.report_usage(
        customer_id=customer_id,
        meter_slug="api-tokens",
        amount=len(answer.split()),
        idempotency_key=request.headers.get("X-Request-Id"),
    )
    return jsonify(answer=answer), 200


@app.errorhandler(NotFoundError)
def unknown_customer(_: NotFoundError) -> tuple[Response, int]:
    return jsonify(error="unknown customer"), 404


@app.errorhandler(NetworkError)
def billing_is_down(_: NetworkError) -> tuple[Response, int]:
    return jsonify(error="billing can't be reached, try again"), 503
