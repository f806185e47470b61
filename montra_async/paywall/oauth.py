"""`OAuthApi`: sign-in through an OAuth provider, with PKCE."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence

from yarl import URL

from ..core.http.messages import RawResponse, Request
from ..core.redaction import Secret, SecretText
from .auth_models import AuthSession, OAuthStart
from .cache import Cache
from .errors import PaywallError
from .responses import decode, invalid_response
from .session_api import SessionApi, required_text

OAUTH_TTL = 10 * 60.0
"""Seconds within which a sign-in must be completed."""


class OAuthApi(SessionApi):
    """Sign-in through an OAuth provider."""

    _verifiers: Cache[Secret]
    """PKCE verifiers of started sign-ins, by `state`, which the service draws at random for each. Shared by all views,
    because a sign-in is completed in another request than the one that started it."""

    async def start_oauth(self, provider: str, *, scopes: Sequence[str] | str | None = None) -> OAuthStart:
        """Start a sign-in at an OAuth provider, with PKCE (`POST .../auth/oauth/init`).

        Redirect the user to the result's `authorize_url`. Pass the `state` and `code` of the provider's redirect to
        `complete_oauth` within ten minutes.

        Args:
            provider: name of the provider, e.g. `google`.
            scopes: scopes to request, as a list or as one string. Default: the provider's default.

        Raises:
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallInvalidResponseError: `invalid_response`: the URL has no `state`.
            PaywallApiError: the service's code, e.g. for an unknown provider.
        """
        verifier = Secret(_base64(os.urandom(48)))
        fields = {
            "provider": required_text("provider", provider),
            "code_challenge": _base64(hashlib.sha256(verifier.reveal().encode()).digest()),
            "code_challenge_method": "s256",
            "scopes": scopes,
        }

        def decode_start(response: RawResponse, request: Request) -> OAuthStart:
            url = decode(response, request, str, field="authorize_url")
            state = _state_of(url)
            if state is None:
                raise invalid_response(response, request, "`authorize_url` carries no state")
            return OAuthStart(authorize_url=url, state=state, code_verifier=verifier.reveal())

        start = await self._send(self._auth_request("oauth/init", fields), decode_start)
        self._verifiers.put(start.state, verifier)
        return start

    async def complete_oauth(
        self, state: str, code: SecretText, *, code_verifier: SecretText | None = None
    ) -> AuthSession:
        """Complete a sign-in at an OAuth provider (`POST .../auth/oauth/exchange`).

        Args:
            state: the `state` parameter of the provider's redirect. Compare it with the one that you stored in the
                browser's own session when the sign-in was started. Otherwise an attacker can make a user complete the
                attacker's sign-in (login CSRF).
            code: the `code` parameter of the provider's redirect.
            code_verifier: the verifier of the `OAuthStart`. Required when another process started the sign-in.
                Default: the verifier that this client stored for `state`.

        Returns:
            The session. It is stored.

        Raises:
            PaywallError: `oauth_invalid_state`: this client started no sign-in with this state in the last ten minutes.
                `storage_failed`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallApiError: the service's code.
        """
        hidden_code, verifier = Secret(code), None if code_verifier is None else Secret(code_verifier)
        del code, code_verifier
        if verifier is None:
            verifier = self._verifiers.get(required_text("state", state))
        if verifier is None:
            raise PaywallError(
                "oauth_invalid_state", "this client started no sign-in with this state in the last ten minutes"
            )
        fields = self._sign_in_fields()
        request = self._auth_request("oauth/exchange", fields, auth_code=hidden_code, code_verifier=verifier)
        session = await self._sign_in(request)
        self._verifiers.remove(state)
        return session


def _state_of(url: str) -> str | None:
    """The `state` parameter of a URL; None when it has none."""
    try:
        return URL(url).query.get("state")
    except (ValueError, TypeError):
        return None


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
