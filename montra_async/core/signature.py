"""Pure: is a webhook genuine?"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

SIGNATURE_HEADER = "Montra-Signature"


def verify_signature(raw_body: bytes | str, signature: str | None, secret: str | Iterable[str]) -> bool:
    """Was this body signed with this secret? (HMAC-SHA256 of the raw body, hex)

    Give the body exactly as it arrived: parsed and written again, it has another signature. `sha256=` in front, upper
    case and surrounding space are tolerated; anything else that is not the signature, of whatever type, is False, never
    an exception. The comparison takes the same time wherever the difference is.

    Args:
        raw_body: the request's body, unparsed.
        signature: the header `Montra-Signature`.
        secret: the endpoint's `whsec_...`, or several of them while one is being replaced by another.
    """
    given = _hex(signature)
    body = raw_body.encode("utf-8", "surrogatepass") if isinstance(raw_body, str) else raw_body
    if given is None or not isinstance(body, (bytes, bytearray, memoryview)):
        return False
    secrets = _strings([secret] if isinstance(secret, str) else secret)
    genuine = False
    for one in secrets:
        genuine |= hmac.compare_digest(sign(body, one), given)
    return genuine


def sign(raw_body: bytes | bytearray | memoryview, secret: str) -> str:
    """The signature that Montra would send for a body; for tests of your own receiver."""
    return hmac.new(secret.encode("utf-8", "surrogatepass"), raw_body, hashlib.sha256).hexdigest()


def _hex(signature: Any) -> str | None:
    if not isinstance(signature, str) or not signature.isascii():
        return None
    return signature.strip().lower().removeprefix("sha256=").strip()


def _strings(values: Any) -> list[str]:
    try:
        return [one for one in values if isinstance(one, str) and one]
    except TypeError:
        return []
