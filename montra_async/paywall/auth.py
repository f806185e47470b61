"""`AuthClient`: signs users in without a browser, and refreshes their sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from typing import Any

import aiohttp
import attrs

from ..core import validation
from ..core.http.messages import RawResponse, Request
from ..core.options import MAX_RESPONSE_SIZE, Hook, Timeout, not_text
from ..core.redaction import Secret, SecretText
from ..core.type_guards import is_object
from .auth_models import AuthSession, AuthUser, SignUpResult, UpdatedUser, UpgradeResult
from .cache import Cache
from .errors import PaywallConfigError, PaywallError, translate_errors
from .oauth import OAUTH_TTL, OAuthApi
from .paywall_client import PaywallClientSettings
from .responses import PAYWALL, decode_as, read_as, read_json
from .session_api import required_text
from .session_state import RefreshRegistry
from .single_flight import Flight
from .storage import SessionStorage
from .token_provider import FixedTokenProvider
from .token_responses import session_of

_TOKEN_FIELDS = frozenset({"access_token", "refresh_token", "expires_in", "expires_at", "token_type"})


class AuthClient(OAuthApi):
    """Sign-in of one user of a paywall, and the user's session.

    A server with many users creates one client, and a view for each user: `auth.with_storage(storage_of_the_user)`.

    Args:
        paywall_id: id of the paywall. Default: the environment variable `PAYWALL_ID`.
        api_origin: the paywall's own domain, e.g. `https://pay.example.com`. Default: the environment variable
            `PAYWALL_ORIGIN`.
        storage: where the session is stored. Default: in memory.
        visitor_id: your id of the visitor, sent with every sign-in. Default: None.
        user_meta: JSON object that the service stores with users that sign in. Default: None.
        timeout: seconds for a whole call with all its attempts, or a `Timeout`. Default: 60.
        max_attempts: attempts per call. Default: 3; 1 for no retries.
        pool_size: maximum number of connections, and so of concurrent calls, per event loop. Default: 100. Further
            calls wait.
        max_response_size: bytes of a decompressed response that is read into memory. Default: 64 MiB. A larger one
            is an `invalid_response`. Of an error's body at most 64 KiB are read.
        headers: headers of every request, in addition to the client's own.
        session: an aiohttp session of yours. It is used on its own event loop, and you close it.
        connector: an aiohttp connector of yours, or better a function that makes one for each event loop.
        proxy: URL of an HTTP proxy.
        trust_env: whether the proxies of the environment are used (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`,
            `NO_PROXY`), as they are when the client is made. `.netrc` is never read; `proxy` wins. Default: False.
        ssl: an `ssl.SSLContext` for private certificate authorities or client certificates. A context that checks no
            certificates, and `False`, also need `allow_insecure_tls`.
        trace_configs: aiohttp's tracing.
        on_request: function that is called before each attempt with a `CallEvent`. It runs on the event loop.
        on_response: function that is called after each attempt with a `CallEvent`.
        on_retry: function that is called before the pause of each retry with a `CallEvent`.
        capabilities: optional features that your application supports, sent as `X-SDK-Capabilities`.
        edge_fallback: whether a mirror is used while the service can't be reached. Default: `https://edge.<host>`.
            False for none, or the origin of another mirror.
        allow_insecure_http: allow a plain `http://` origin of another host than this one. Keys travel in clear.
        allow_insecure_tls: allow connections without a check of certificates. Anybody on the network path can read
            keys and tokens; an `InsecureTlsWarning` says so.
        allow_insecure_browser_usage: allow a server key in a browser's Python.

    Raises:
        PaywallConfigError: `invalid_config`: no paywall id or origin, or settings that contradict each other.
        PaywallInvalidArgumentError: `invalid_argument`: a setting that is invalid by itself.
    """

    def __init__(
        self,
        paywall_id: str | None = None,
        api_origin: SecretText | None = None,  # it may hold credentials by mistake
        *,
        storage: SessionStorage | None = None,
        visitor_id: str | None = None,
        user_meta: Mapping[str, Any] | None = None,
        timeout: float | Timeout | None = None,
        max_attempts: int = 3,
        pool_size: int = 100,
        max_response_size: int = MAX_RESPONSE_SIZE,
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | Callable[[], aiohttp.BaseConnector] | None = None,
        proxy: SecretText | None = None,
        trust_env: bool = False,
        ssl: SSLContext | aiohttp.Fingerprint | bool = True,
        trace_configs: Iterable[aiohttp.TraceConfig] = (),
        on_request: Hook | None = None,
        on_response: Hook | None = None,
        on_retry: Hook | None = None,
        capabilities: Iterable[str] = (),
        edge_fallback: bool | str = True,
        allow_insecure_http: bool = False,
        allow_insecure_tls: bool = False,
        allow_insecure_browser_usage: bool = False,
    ) -> None:
        problem = not_text(paywall_id=paywall_id, api_origin=api_origin, proxy=proxy)
        if problem is not None:
            del api_origin, proxy
            raise PaywallConfigError("invalid_config", problem)
        origin = None if api_origin is None else Secret(api_origin)
        hidden_proxy = None if proxy is None else Secret(proxy)
        del api_origin, proxy  # error reporters record the local variables of a traceback's frames
        self._open(
            paywall_id,
            origin,
            PaywallClientSettings(
                timeout=timeout,
                max_attempts=max_attempts,
                pool_size=pool_size,
                max_response_size=max_response_size,
                headers=headers,
                session=session,
                connector=connector,
                proxy=hidden_proxy,
                trust_env=trust_env,
                ssl=ssl,
                trace_configs=trace_configs,
                on_request=on_request,
                on_response=on_response,
                on_retry=on_retry,
                capabilities=capabilities,
                edge_fallback=edge_fallback,
                allow_insecure_http=allow_insecure_http,
                allow_insecure_tls=allow_insecure_tls,
                allow_insecure_browser_usage=allow_insecure_browser_usage,
            ),
        )
        with translate_errors():
            self._visitor_id = validation.optional_text("visitor_id", visitor_id)
            meta = validation.json_object("user_meta", user_meta)
            self._user_meta = None if meta is None else dict(meta)
        self._verifiers = Cache[Secret](ttl=OAUTH_TTL)
        self._refreshes = RefreshRegistry()
        self._use_storage(storage)

    # Passwords

    async def sign_in_with_email(self, email: str, password: SecretText) -> AuthSession:
        """Sign in with a password (`POST .../auth/email/signin`).

        Args:
            email: the user's email address.
            password: the user's password.

        Returns:
            The session. It is stored.

        Raises:
            PaywallApiError: the service's code, e.g. `invalid_credentials`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallError: `storage_failed`.
        """
        hidden = Secret(password)
        del password
        return await self._sign_in(self._credentials_request("email/signin", email, hidden))

    async def sign_up(self, email: str, password: SecretText) -> SignUpResult:
        """Register a user (`POST .../auth/email/signup`).

        Args:
            email: the user's email address.
            password: the user's password.

        Returns:
            `status` is `signed_in` (the session is stored), `confirmation_required` (an email was sent) or
            `already_registered`.

        Raises:
            PaywallApiError: the service's code, e.g. `weak_password`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallError: `storage_failed`.
        """
        hidden = Secret(password)
        del password
        result = await self._send(self._credentials_request("email/signup", email, hidden), _decode_sign_up)
        if result.session is not None:
            await self._store_session(result.session)
        return result

    async def resend_confirmation(self, email: str) -> None:
        """Send the confirmation email again (`POST .../auth/email/resend`).

        Args:
            email: the address that was registered.

        Raises:
            PaywallApiError: the service's code.
            PaywallInvalidArgumentError: `invalid_argument`.
        """
        await self._post_to_auth("email/resend", {"email": required_text("email", email)})

    async def request_password_reset(self, email: str) -> None:
        """Send an email with a code for `verify_otp(type="recovery")` (`POST .../auth/password/request-reset`).

        Args:
            email: the user's email address.

        Raises:
            PaywallApiError: the service's code.
            PaywallInvalidArgumentError: `invalid_argument`.
        """
        await self._post_to_auth("password/request-reset", {"email": required_text("email", email)})

    async def update_password(self, password: SecretText) -> AuthUser | None:
        """Set the password of the signed-in user (`POST .../auth/password/update`).

        Args:
            password: the new password.

        Returns:
            The user; None when the response lacks it.

        Raises:
            PaywallError: `not_authenticated`.
            PaywallApiError: the service's code, e.g. `weak_password`.
            PaywallInvalidArgumentError: `invalid_argument`.
        """
        hidden = Secret(password)
        del password
        request = self._auth_request("password/update", {}, password=hidden)
        tokens = await self._required_token_provider()
        return (await self._send(request, decode_as(UpdatedUser), tokens=tokens)).user

    # One-time codes

    async def send_otp(self, email: str, *, create_user: bool = True) -> None:
        """Send an email with a one-time code (`POST .../auth/otp/send`).

        Args:
            email: the user's email address.
            create_user: whether to create a user that the paywall does not know. Default: True.

        Raises:
            PaywallApiError: the service's code.
            PaywallInvalidArgumentError: `invalid_argument`.
        """
        fields = {"email": required_text("email", email), "create_user": create_user, "user_meta": self._user_meta}
        await self._post_to_auth("otp/send", fields)

    async def verify_otp(self, email: str, token: SecretText, *, type: str = "email") -> AuthSession:
        """Sign in with a one-time code (`POST .../auth/otp/verify`).

        Args:
            email: the address that the code was sent to.
            token: the code.
            type: purpose of the email: `email`, `recovery`, `signup`, `magiclink` or `invite`. Default: `email`.

        Returns:
            The session. It is stored.

        Raises:
            PaywallApiError: the service's code, e.g. `invalid_otp` for a code that is wrong, used or expired.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallError: `storage_failed`.
        """
        hidden = Secret(token)
        del token
        fields = self._sign_in_fields(email=required_text("email", email), type=required_text("type", type))
        return await self._sign_in(self._auth_request("otp/verify", fields, token=hidden))

    # Anonymous users

    async def sign_in_anonymously(self, *, captcha_token: SecretText | None = None) -> AuthSession:
        """Create an anonymous user, and sign in as that user (`POST .../auth/anonymous/signin`).

        Concurrent callers share one request and one user.

        Args:
            captcha_token: result of a captcha, when the paywall requires one. Default: None.

        Returns:
            The session. It is stored.

        Raises:
            PaywallApiError: the service's code.
            PaywallError: `storage_failed`.
        """
        hidden = None if captcha_token is None else Secret(captcha_token)
        del captcha_token
        request = self._auth_request("anonymous/signin", self._sign_in_fields(), captcha_token=hidden)

        async def sign_in(flight: Flight) -> AuthSession:
            flight.set_request(request)
            return await self._sign_in(request, _decode_anonymous)

        return await self._run_shared(self._state.flights, "anonymous", sign_in, cancel_when_abandoned=False)

    async def upgrade_anonymous_to_email(self, email: str, password: SecretText) -> UpgradeResult:
        """Set the email address and password of the anonymous user (`POST .../auth/anonymous/upgrade`).

        Args:
            email: the user's email address.
            password: the user's password.

        Returns:
            `status` is `updated`, or `confirmation_required` (an email was sent to the result's `email`).

        Raises:
            PaywallError: `not_authenticated`, `storage_failed`.
            PaywallApiError: the service's code, e.g. `email_exists` or `weak_password`.
            PaywallInvalidArgumentError: `invalid_argument`.
        """
        hidden = Secret(password)
        del password
        request = self._credentials_request("anonymous/upgrade", email, hidden)
        tokens = await self._required_token_provider()
        result = await self._send(request, decode_as(UpgradeResult), tokens=tokens)
        session = await self.get_session()
        same_user = session is not None and session.user is not None and session.user.id == tokens.user_id
        if session is not None and same_user and result.user is not None and result.status == "updated":
            await self._store_session(attrs.evolve(session, user=result.user), same_user=True)
        return result

    # Sign-out

    async def sign_out(self) -> None:
        """End this session (`POST .../auth/signout`).

        The local session is cleared first. An error of the service is ignored: the tokens are no longer stored.
        """
        try:
            session = await self.get_session()
        except PaywallError:
            session = None
        await self._clear_session()
        if session is not None:
            try:
                request = self._auth_request("signout", None)
                await self._send(request, PAYWALL.decode_empty, tokens=FixedTokenProvider(session))
            except PaywallError:
                return  # the tokens are no longer stored

    async def revoke_all_sessions(self) -> None:
        """End all sessions of the signed-in user on all devices (`POST .../auth/revoke-all`).

        Raises:
            PaywallError: `not_authenticated`.
            PaywallApiError: the service's code. The sessions may still be valid.
            PaywallNetworkError: `network_error`, `timeout`. The sessions may still be valid.
        """
        tokens = await self._required_token_provider()
        await self._send(self._auth_request("revoke-all", None), PAYWALL.decode_empty, tokens=tokens)
        if (await self._token_provider() or tokens).token_family is tokens.token_family:
            await self._clear_session()

    # Requests

    def _credentials_request(self, path: str, email: str, password: Secret) -> Request:
        fields = self._sign_in_fields(email=required_text("email", email))
        return self._auth_request(path, fields, password=password)

    async def _post_to_auth(self, path: str, fields: Mapping[str, Any]) -> None:
        await self._send(self._auth_request(path, fields), PAYWALL.decode_empty)


def _decode_sign_up(response: RawResponse, request: Request) -> SignUpResult:
    """A sign-up, with its session when the response has tokens. The tokens are in the session only."""
    payload = read_json(response, request)
    session = session_of(response, request) if is_object(payload) and "access_token" in payload else None
    result = read_as(payload, response, request, SignUpResult)
    extra = {name: value for name, value in result.extra.items() if name not in _TOKEN_FIELDS}
    return attrs.evolve(result, session=session, extra=extra)


def _decode_anonymous(response: RawResponse, request: Request) -> AuthSession:
    """The session of an anonymous user. The response may leave out `is_anonymous`."""
    session = session_of(response, request)
    if session.user is None or session.user.is_anonymous is not None:
        return session
    return attrs.evolve(session, user=attrs.evolve(session.user, is_anonymous=True))
