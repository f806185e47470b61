"""Pure: under which keys an event is remembered. Two events that are not the same never share one."""

from __future__ import annotations

import hashlib
import json

from ..core.errors import ConfigError
from ..core.redaction import Secret
from ..core.signature import SigningSecrets


def checked_endpoint(endpoint: str | None) -> str | None:
    if endpoint is not None and not (isinstance(endpoint, str) and endpoint.strip()):
        raise ConfigError("endpoint: a name for what receives here, e.g. the tenant's id; None to tell by the secret")
    return endpoint


def identities(endpoint: str | None, secrets: SigningSecrets) -> list[str]:
    """What tells this endpoint from others that share its store: its name, or else each of its secrets.

    Several secrets are several identities: an event is remembered under all of them, so that it stays remembered when
    the old one of two secrets is dropped.
    """
    if endpoint is not None:
        return [f"endpoint {endpoint}"]
    return sorted({f"secret {_digest_of_secret(one)}" for one in secrets.usable})


def event_keys(source: str, of: list[str], event_id: str) -> list[str]:
    """The keys of an event in its store: 64 hexadecimal digits each, digests of source, endpoint and event id."""
    facts = (json.dumps([source, identity, event_id]) for identity in of)  # JSON: no two lists look the same
    return sorted(hashlib.sha256(one.encode("ascii")).hexdigest() for one in facts)


def _digest_of_secret(secret: Secret) -> str:
    marked = b"montra webhook endpoint\0" + secret.reveal().encode("utf-8", "surrogatepass")
    return hashlib.sha256(marked).hexdigest()
