"""Pure: is a webhook genuine? And the secrets that say so, kept out of everything that a person or a log can read."""

from __future__ import annotations

import hmac
import re
import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias, cast

from .errors import ConfigError
from .redaction import Secret

SIGNATURE_HEADER = "Montra-Signature"

MAX_SIGNATURE_LENGTH = 128
"""Characters of a signature header; a genuine one has 64, or 71 with `sha256=`."""

MAX_SECRETS = 8
"""Secrets that are tried for one webhook. A rotation needs two."""

SHORTEST_SAFE_SECRET = 16
"""Characters. A shorter secret can be found by trying: whoever has one signed body can do so on their own machine."""

_SIGNATURE = re.compile(r"(?:sha256=)?[ \t]*([0-9a-f]{64})", re.IGNORECASE | re.ASCII)

_NONE_GIVEN = "no webhook secret was given, or an empty one; is its environment variable set?"


class SigningSecrets:
    """The secrets of a webhook endpoint, each in a `Secret`, and what is wrong with those that are of no use.

    Attributes:
        usable: what webhooks may be signed with.
        problem: why nothing may be believed with what was given; None when all is well.
    """

    __slots__ = ("problem", "usable")

    def __init__(self, usable: Sequence[Secret], problem: str | None) -> None:
        self.usable = tuple(usable)
        self.problem = problem

    def checked(self, stacklevel: int = 3) -> SigningSecrets:
        """Itself, when it can be used. Warns about short secrets.

        Raises:
            ConfigError: there is no secret, or one that can't be right.
        """
        if self.problem is not None:
            raise ConfigError(f"secret: {self.problem}")
        if min(len(one.reveal()) for one in self.usable) < SHORTEST_SAFE_SECRET:
            words = f"a webhook secret has fewer than {SHORTEST_SAFE_SECRET} characters: it can be guessed"
            warnings.warn(words, stacklevel=stacklevel)
        return self

    def __repr__(self) -> str:
        return f"<{len(getattr(self, 'usable', ()))} webhook secrets>"

    def __reduce__(self) -> Any:
        raise TypeError("webhook secrets can't be pickled: give the secret to the process that needs it")


Secrets: TypeAlias = str | Secret | SigningSecrets | Iterable[str | Secret]
"""The endpoint's secret, or several of them while one is being replaced by another."""


def signing_secrets(given: Any) -> SigningSecrets:
    """Take secrets over, out of the sight of tracebacks. Never raises: what is wrong is said by `checked`.

    Frames that hold a secret in a local variable must not raise: error reporters record local variables. So callers
    take the secret over with this, delete their own variable, and only then do what may fail.
    """
    if isinstance(given, SigningSecrets):
        return given
    if isinstance(given, str):
        given = Secret(given)
    if isinstance(given, Secret):
        problem = _problem(given)
        return SigningSecrets((given,) if problem is None else (), problem)
    try:
        several = list(islice(given or (), MAX_SECRETS + 1))
    except TypeError:
        return SigningSecrets((), f"a string, or several, not {type(given).__name__}")
    return _several(several)


def _several(given: list[Any]) -> SigningSecrets:
    found = [one if isinstance(one, Secret) else Secret(one) for one in given if isinstance(one, (str, Secret))]
    problems = [_problem(one) for one in found]
    usable = [one for one, problem in zip(found, problems, strict=True) if problem is None][:MAX_SECRETS]
    problem = next((one for one in problems if one is not None), None) if given else _NONE_GIVEN
    if len(found) < len(given):
        problem = "a webhook secret is a string"
    elif len(given) > MAX_SECRETS:
        problem = f"at most {MAX_SECRETS} webhook secrets at a time"
    return SigningSecrets(usable, problem)


def _problem(secret: Secret) -> str | None:
    if secret.reveal().isprintable() and " " not in secret.reveal():
        return None if secret.reveal() else _NONE_GIVEN
    if not secret.reveal().strip():
        return _NONE_GIVEN
    return "a webhook secret holds a space, a line break or a control character; was it read with its line break?"


def verify_signature(raw_body: bytes | str, signature: str | None, secret: Secrets) -> bool:
    """Was this body signed with this secret? (HMAC-SHA256 of the raw body, hex)

    Give the body exactly as it arrived: parsed and written again, it has another signature. `sha256=` in front, upper
    case and surrounding space are tolerated; anything else that is not the signature, of whatever type, is False, never
    an exception. The comparison takes the same time wherever the difference is.

    Args:
        raw_body: the request's body, unparsed.
        signature: the header `Montra-Signature`; nothing longer than 128 characters is looked at.
        secret: the endpoint's `whsec_...`, or several of them (at most 8) while one is being replaced by another.
            Secrets that are blank, or hold spaces or control characters, prove nothing.
    """
    secrets = signing_secrets(secret)
    body = body_bytes(raw_body)
    digest = digest_of(signature) if isinstance(signature, str) else None
    return body is not None and digest is not None and is_genuine(body, [digest], secrets)


def is_genuine(body: bytes, digests: Sequence[bytes], secrets: SigningSecrets) -> bool:
    """Is one of the digests the body's, under one of the secrets? One pass over the body per secret."""
    genuine = False
    for secret in secrets.usable:
        expected = hmac_of(body, secret)
        for one in digests:
            genuine |= hmac.compare_digest(expected, one)
    return genuine


def hmac_of(body: bytes, secret: Secret) -> bytes:
    """HMAC-SHA256 of a body. The only place where a webhook secret is used in clear."""
    return hmac.digest(secret.reveal().encode("utf-8", "surrogatepass"), body, "sha256")


def digest_of(signature: str) -> bytes | None:
    """The 32 bytes that a signature header says; None when it is not a signature. Its length is bounded first."""
    if len(signature) > MAX_SIGNATURE_LENGTH:
        return None
    match = _SIGNATURE.fullmatch(signature.strip())
    return bytes.fromhex(match[1]) if match else None


def body_bytes(raw_body: Any) -> bytes | None:
    """The bytes of a raw body; None for what is not one."""
    if isinstance(raw_body, str):
        return raw_body.encode("utf-8", "surrogatepass")
    if type(raw_body) is bytes:
        return raw_body
    if not isinstance(raw_body, (bytes, bytearray, memoryview)):
        return None
    try:
        return bytes(cast("bytes", raw_body))
    except (ValueError, BufferError):  # a memoryview that was released
        return None


def sign(raw_body: bytes | bytearray | memoryview, secret: str) -> str:
    """The signature that Montra would send for a body; for tests of your own receiver."""
    key, body = Secret(secret), body_bytes(raw_body)
    del secret  # a wrong body raises: the traceback must not show it
    if body is None:
        raise TypeError(f"raw_body: bytes, not {type(raw_body).__name__}")
    return hmac_of(body, key).hex()
