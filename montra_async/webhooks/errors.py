"""Why a webhook is not believed, can't be read, or can't be remembered."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..core.errors import MontraError

Reason: TypeAlias = Literal["missing_header", "malformed_header", "wrong_signature", "changed_body"]


class WebhookError(MontraError):
    """A webhook that must not be acted on."""


class WebhookSignatureError(WebhookError):
    """Nothing proves that the service sent this.

    Attributes:
        reason: `missing_header`: there is no signature; `malformed_header`: it is none, or there are too many;
            `changed_body`: the signature is right for a body that says the same in other bytes, so it was parsed and
            written again on the way here (found out for bodies up to 16 KiB); `wrong_signature`: another secret,
            another body, or an attack.
    """

    def __init__(self, reason: Reason, problem: str) -> None:
        super().__init__(reason, problem)
        self.reason = reason
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.reason}: {self.problem}"


class WebhookPayloadError(WebhookError):
    """The service sent it, but it is not an event that can be read, or one too old (or too new) to act on."""


class WebhookStoreError(MontraError):
    """The store of handled events can't be used: it is locked, unreachable, or broken. The words say why."""
