"""Signatures of webhooks and the secrets they are made with, which no log or traceback may show. Pure functions."""

from __future__ import annotations

import hmac
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias, cast

from ..core.errors import ConfigError
from ..core.redaction import Secret, SecretText

SIGNATURE_HEADER = "Montra-Signature"

MAX_SIGNATURE_LENGTH = 128
"""Characters of a signature header at most; a genuine one has 64, or 71 with `sha256=`."""

MAX_SECRETS = 8
"""Secrets that are tried for one webhook at most. A rotation needs two."""

MIN_SAFE_SECRET_LENGTH = 16
"""Characters. A shorter secret can be found by brute force: one signed body is enough to test guesses offline."""

_SIGNATURE = re.compile(r"(?:sha256=)?[ \t]*([0-9a-f]{64})", re.IGNORECASE | re.ASCII)

_MISSING = "no webhook secret was given, or an empty one; is its environment variable set?"


class SigningSecrets:
    """The secrets of a webhook endpoint, each in a `Secret`, and the problem of those that are not usable.

    Args:
        usable: the secrets that webhooks may be signed with.
        problem: why the given secrets must be refused; None when they are valid.

    Attributes:
        usable: the secrets that webhooks may be signed with.
        problem: why the given secrets must be refused; None when they are valid.
    """

    __slots__ = ("problem", "usable")

    def __init__(self, usable: Sequence[Secret], problem: str | None) -> None:
        self.usable: tuple[Secret, ...] = tuple(usable)
        self.problem: str | None = problem

    def validated(self, stacklevel: int = 3) -> SigningSecrets:
        """Return itself. Warns about short secrets.

        Args:
            stacklevel: the frame that a warning names, counted from this one. Default: 3, the caller's caller.

        Raises:
            ConfigError: there is no secret, or one of them is not valid.
        """
        if self.problem is not None:
            raise ConfigError(f"secret: {self.problem}")
        if min(len(one.reveal()) for one in self.usable) < MIN_SAFE_SECRET_LENGTH:
            words = f"a webhook secret has fewer than {MIN_SAFE_SECRET_LENGTH} characters: it can be guessed"
            warnings.warn(words, stacklevel=stacklevel)
        return self

    def __repr__(self) -> str:
        return f"<{len(getattr(self, 'usable', ()))} webhook secrets>"

    def __reduce__(self) -> Any:
        raise TypeError("webhook secrets can't be pickled: give the secret to the process that needs it")


Secrets: TypeAlias = SecretText | Secret | SigningSecrets | Iterable[SecretText | Secret]
"""The endpoint's secret, or several of them during a rotation."""

SignatureOrHeaders: TypeAlias = str | Mapping[str, str] | None
"""The signature header's value, or all headers of the request."""


def signing_secrets(given: Any) -> SigningSecrets:
    """Wrap secrets so that tracebacks don't show them. Never raises: `validated` reports problems.

    Frames that hold a secret in a local variable must not raise, because error reporters record local variables.
    Callers wrap the secret with this function, delete their own variable, and only then do what may fail.

    Args:
        given: what the user gave as `secret`.
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
    problem = next((one for one in problems if one is not None), None) if given else _MISSING
    if len(found) < len(given):
        problem = "a webhook secret is a string"
    elif len(given) > MAX_SECRETS:
        problem = f"at most {MAX_SECRETS} webhook secrets at a time"
    return SigningSecrets(usable, problem)


def _problem(secret: Secret) -> str | None:
    if secret.reveal().isprintable() and " " not in secret.reveal():
        return None if secret.reveal() else _MISSING
    if not secret.reveal().strip():
        return _MISSING
    return "a webhook secret holds a space, a line break or a control character; was it read with its line break?"


def verify_signature(raw_body: bytes | str, signature: str | None, secret: Secrets) -> bool:
    """Return whether a body was signed with a secret: HMAC-SHA256 of the raw body, in hex, compared in constant time.

    A `sha256=` prefix, upper case and surrounding space are accepted. Anything else that is not the signature, of
    whatever type, gives False, never an exception.

    Args:
        raw_body: the request's body, exactly as it arrived: a body that was parsed and serialized again has another
            signature.
        signature: the header `Montra-Signature`, one signature; longer values than 128 characters give False. `parse`
            also takes all headers of the request, and several signatures.
        secret: the endpoint's `whsec_...`, or several of them (at most 8) during a rotation. Secrets that are blank,
            or contain spaces or control characters, give False.
    """
    secrets = signing_secrets(secret)
    body = body_bytes(raw_body)
    digest = digest_of(signature) if isinstance(signature, str) else None
    return body is not None and digest is not None and is_genuine(body, [digest], secrets)


def is_genuine(body: bytes, digests: Sequence[bytes], secrets: SigningSecrets) -> bool:
    """Return whether one of the digests is the body's under one of the secrets. One pass over the body per secret."""
    genuine = False
    for secret in secrets.usable:
        expected = hmac_of(body, secret)
        for one in digests:
            genuine |= hmac.compare_digest(expected, one)
    return genuine


def hmac_of(body: bytes, secret: Secret) -> bytes:
    """Return the HMAC-SHA256 of a body. No other function uses a webhook secret in clear."""
    return hmac.digest(secret.reveal().encode("utf-8", "surrogatepass"), body, "sha256")


def digest_of(signature: str) -> bytes | None:
    """Return the 32 bytes of a signature header, or None when it is not a signature. Its length is checked first."""
    if len(signature) > MAX_SIGNATURE_LENGTH:
        return None
    match = _SIGNATURE.fullmatch(signature.strip())
    return bytes.fromhex(match[1]) if match else None


def body_bytes(raw_body: Any) -> bytes | None:
    """Return the bytes of a raw body, or None when it is neither bytes nor text."""
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


def sign(raw_body: bytes | bytearray | memoryview, secret: SecretText) -> str:
    """Return the signature that Montra would send for a body. For tests of your own receiver.

    Args:
        raw_body: the request's body.
        secret: the endpoint's secret.

    Raises:
        TypeError: `raw_body` is not bytes.
    """
    key, body = Secret(secret), body_bytes(raw_body)
    del secret  # a wrong body raises: the traceback must not show it
    if body is None:
        raise TypeError(f"raw_body: bytes, not {type(raw_body).__name__}")
    return hmac_of(body, key).hex()
