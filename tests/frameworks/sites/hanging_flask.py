"""A Flask application that gives up after a second."""

from typing import Any

from flask import Flask, request

from montra_sync import Montra
from montra_sync.frameworks.flask import MontraFlask

app = Flask(__name__)
montra = MontraFlask(app, client_factory=lambda _: Montra(timeout=1))


@app.get("/reports")
@montra.require_feature("sso", customer=lambda: request.headers["X-Customer-Id"])
def reports() -> Any:
    return {"report": "yes"}
