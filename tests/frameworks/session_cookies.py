"""Sessions of the example applications, signed as their frameworks do it, for any customer that a test wants."""

from __future__ import annotations

import base64
import json

from django.core import signing
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

SESSION_SECRET = "a-secret-of-the-tests-0123456789abcdef"


def session_headers(framework: str, customer: str | None, secret: str = SESSION_SECRET) -> dict[str, str]:
    """Headers of a request in a customer's session; without a customer, of one who has not signed in.

    Args:
        framework: a key of `serving.SERVERS`; `metered` is FastAPI's.
        customer: the customer's id.
        secret: what signs the session.
    """
    if customer is None:
        return {}
    session = {"customer_id": customer}
    if framework == "flask":
        application = Flask("cookies")
        application.secret_key = secret
        serializer = SecureCookieSessionInterface().get_signing_serializer(application)
        assert serializer is not None
        return {"Cookie": f"session={serializer.dumps(session)}"}
    if framework.startswith("django"):
        salt = "django.contrib.sessions.backends.signed_cookies"
        signer = signing.TimestampSigner(key=secret, salt=salt, fallback_keys=[])
        return {"Cookie": f"sessionid={signer.sign_object(session, compress=True)}"}
    if framework == "aiohttp":
        return {"Cookie": f"session={URLSafeTimedSerializer(secret, salt='session').dumps(session)}"}
    data = base64.b64encode(json.dumps(session).encode())
    return {"Cookie": f"session={TimestampSigner(secret).sign(data).decode()}"}
