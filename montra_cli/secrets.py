"""Which texts are secret in this process, so that none reaches a traceback or a message."""

from __future__ import annotations

_known: set[str] = set()
_SHORTEST = 6


def remember(secret: str) -> None:
    """Never print this text.

    Args:
        secret: a key or a token.
    """
    if len(secret) >= _SHORTEST:
        _known.add(secret)


def redact(text: str) -> str:
    """A text without known secrets.

    Args:
        text: what shall be printed.
    """
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def mask(secret: str) -> str:
    """A secret as it is shown: its kind, and its end when it is long enough for that.

    Args:
        secret: a key or a token.
    """
    kind = next((one for one in ("sk_live_", "sk_test_", "whsec_") if secret.startswith(one)), "")
    rest = secret[len(kind) :]
    return f"{kind}...{rest[-4:]}" if len(rest) >= 16 else f"{kind}..."
