"""Errors of receiving webhooks."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..core.errors import MontraError

Reason: TypeAlias = Literal["missing_header", "malformed_header", "wrong_signature", "changed_body"]


class WebhookError(MontraError):
    """A webhook that must not be acted on."""


class WebhookSignatureError(WebhookError):
    """The signature is missing or wrong: nothing proves that the service sent this webhook.

    Args:
        reason: see `Attributes`.
        problem: a sentence that explains it.

    Attributes:
        reason: `missing_header`: the request has no signature; `malformed_header`: the header is not a signature, or
            there are too many; `changed_body`: the signature fits another serialization of the same JSON, so that the
            body was parsed and serialized again on its way here (detected for bodies up to 16 KiB);
            `wrong_signature`: another secret, another body, or an attack.
        problem: a sentence that explains it.
    """

    def __init__(self, reason: Reason, problem: str) -> None:
        super().__init__(reason, problem)
        self.reason: Reason = reason
        self.problem: str = problem

    def __str__(self) -> str:
        return f"{self.reason}: {self.problem}"


class WebhookPayloadError(WebhookError):
    """The signature is right, but the body is not an event, or the event is too old or dated in the future."""


class WebhookStoreError(MontraError):
    """The deduplication store can't be used: it is locked, unreachable or broken. The message says why."""
