"""`client.webhooks` of both clients: verify and parse a webhook."""

from __future__ import annotations

from typing import Literal

from ..core.durations import CLOCK_SKEW, Duration
from .signature import Secrets, SignatureOrHeaders, signing_secrets, verify_signature
from .webhook_event import WebhookEvent


class WebhookHelpers:
    """Functions for the receiving end of webhooks. They need no network; `WebhookReceiver` does more.

    Args:
        source: the service that sends the webhooks: "montra" or "paywall".
    """

    def __init__(self, source: Literal["montra", "paywall"]) -> None:
        self._source: Literal["montra", "paywall"] = source

    def parse(
        self,
        raw_body: bytes | str,
        signature: SignatureOrHeaders,
        secret: Secrets,
        *,
        max_age: Duration | None = None,
        clock_skew: Duration = CLOCK_SKEW,
        require_created_at: bool = False,
    ) -> WebhookEvent:
        """Verify a webhook's signature and parse its event: `montra_async.webhooks.parse`, for this client's service.

        Args:
            raw_body: the request's body, exactly as it arrived: unparsed.
            signature: the value of the signature header, or all headers of the request.
            secret: the endpoint's secret, or several of them (at most 8) during a rotation.
            max_age: the greatest age of the event, as a timedelta or seconds. Default: None, any age.
            clock_skew: how far in the future `created_at` may lie, as a timedelta or seconds. Default: 5 minutes.
            require_created_at: refuse events without `created_at`. Default: False.

        Returns:
            The event, as an instance of its type's class.

        Raises:
            WebhookSignatureError: the signature is missing or wrong; `reason` says which.
            WebhookPayloadError: the body is not an event, or the event is too old.
            ConfigError: the secret or a duration is not valid.
        """
        from .parsing import SOURCES, age_limit, parse_from  # the classes of all events are created when they are used

        secrets = signing_secrets(secret)
        del secret  # the code below may raise: a traceback with local variables must not show the secret
        limit = age_limit(max_age, clock_skew, require_created_at)
        return parse_from(SOURCES[self._source], raw_body, signature, secrets.validated(), limit)

    @staticmethod
    def verify_signature(raw_body: bytes | str, signature: str | None, secret: Secrets) -> bool:
        """Return whether a body was signed with a secret: `montra_async.webhooks.verify_signature`.

        Args:
            raw_body: the request's body, exactly as it arrived: unparsed.
            signature: the value of the signature header, one signature; anything else gives False.
            secret: the endpoint's secret, or several of them (at most 8) during a rotation.
        """
        return verify_signature(raw_body, signature, secret)

    def __repr__(self) -> str:
        return f"<webhook helpers of {getattr(self, '_source', None)}>"
