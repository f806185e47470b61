"""What everybody asks of the server: create one customer."""

from __future__ import annotations

import os

KEY = "sk_test_benchmark"
BODY = {"name": "Ada Lovelace", "email": "ada@example.com", "metadata": {"team": "engines", "seats": 12}}


def headers() -> dict[str, str]:
    """By hand: who asks, and a key that makes it happen once."""
    return {"Authorization": f"Bearer {KEY}", "Idempotency-Key": os.urandom(16).hex()}
