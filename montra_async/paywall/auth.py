"""`AuthClient`: sign users in without a browser, and keep their sessions good."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from ssl import SSLContext
from typing import Any

import aiohttp
import attrs
from yarl import URL

from ..core import validation
from ..core.decoding import json_of
from ..core.http.messages import RawResponse, Request
from ..core.options import MAX_RESPONSE_SIZE, Hook, Timeout, not_text
from ..core.redaction import Secret, SecretText
from ..core.type_guards import is_object
from .errors import PaywallConfigError, PaywallError, translate_errors
from .models import AuthSession, AuthUser, OAuthStart, SignUpResult, UpdatedUser, UpgradeResult
from .paywall_client import PaywallClientSettings
from .responses import decode, invalid_response
from .single_flight import Flight
from .storage import SessionStorage
from .token_refresh import FixedToken, Rotations, SessionCalls
from .token_responses import session_of

OAUTH_GOOD_FOR = 10 * 60.0
_MOST_OAUTH = 10_000
_OF_SESSION = frozenset({"access_token", "refresh_token", "expires_in", "expires_at", "token_type"})


@attrs.define
class _Pending:
    """Sign-ins at providers that have begun: verifier by state, which the service draws at random for each. Shared by
    all views, because the request that completes a sign-in is another than the one that begins it."""

    verifiers: dict[str, tuple[float, Secret]] = attrs.field(factory=dict[str, "tuple[float, Secret]"], repr=False)

    def keep(self, state: str, verifier: Secret) -> None:
        now = time.monotonic()
        for old in [one for one, (until, _) in self.verifiers.items() if until <= now]:
            del self.verifiers[old]
        if len(self.verifiers) >= _MOST_OAUTH:
            del self.verifiers[next(iter(self.verifiers))]
        self.verifiers[state] = (now + OAUTH_GOOD_FOR, verifier)

    def find(self, state: str) -> Secret | None:
        until, verifier = self.verifiers.get(state, (0.0, Secret("")))
        return verifier if time.monotonic() < until else None

    def forget(self, state: str) -> None:
        self.verifiers.pop(state, None)


class AuthClient(SessionCalls):
    """Sign-in of one user of a paywall, and the session that comes of it.

    A server that serves many users makes one client and a view for each: `auth.with_storage(their_storage)`.

    Args:
        paywall_id: the environment's `PAYWALL_ID` when not given.
        api_origin: the paywall's own domain; else the environment's `PAYWALL_ORIGIN`.
        storage: where the session lives; in memory by default.
        visitor_id: your id of the visitor, told at every sign-in.
        user_meta: what the service is to note of users who sign in.
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
        PaywallError: `invalid_config`, `invalid_argument`.
    """

    def __init__(
        self,
        paywall_id: str | None = None,
        api_origin: str | None = None,
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
        problem = not_text(proxy=proxy)
        if problem is not None:
            del proxy
            raise PaywallConfigError("invalid_config", problem)
        hidden_proxy = None if proxy is None else Secret(proxy)
        del proxy  # error reporters record the local variables of a traceback's frames
        self._open(
            paywall_id,
            api_origin,
            PaywallClientSettings(
                timeout=timeout,
                max_attempts=max_attempts,
                pool_size=pool_size,
                max_response_size=max_response_size,
                headers=headers,
                session=session,
                connector=connector,
                proxy=hidden_proxy,
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
        self._pending = _Pending()
        self._rotations = Rotations()
        self._start(storage)

    # Passwords

    async def sign_in_with_email(self, email: str, password: SecretText) -> AuthSession:
        """Sign in (`POST .../auth/email/signin`).

        Raises:
            PaywallError: the service's code, e.g. `invalid_credentials`.
        """
        hidden = Secret(password)
        del password
        return await self._sign_in(self._credentials("email/signin", email, hidden))

    async def sign_up(self, email: str, password: SecretText) -> SignUpResult:
        """Register (`POST .../auth/email/signup`).

        Returns:
            `status` is `signed_in` (with the session), `confirmation_required` (a mail was sent) or
            `already_registered`.
        """
        hidden = Secret(password)
        del password
        request = self._credentials("email/signup", email, hidden)

        def result(response: RawResponse, request: Request) -> SignUpResult:
            payload = json_of(response)
            signed_in = is_object(payload) and "access_token" in payload
            session = session_of(response, request) if signed_in else None
            found = decode(response, request, SignUpResult)
            told = {name: value for name, value in found.extra.items() if name not in _OF_SESSION}
            return attrs.evolve(found, session=session, extra=told)

        found = await self._send(request, result)
        if found.session is not None:
            await self._keep(found.session)
        return found

    async def resend_confirmation(self, email: str) -> None:
        """Send the confirmation mail again (`POST .../auth/email/resend`)."""
        await self._do("email/resend", {"email": _text("email", email)})

    async def request_password_reset(self, email: str) -> None:
        """Send a mail with a code for `verify_otp(type="recovery")` (`POST .../auth/password/request-reset`)."""
        await self._do("password/request-reset", {"email": _text("email", email)})

    async def update_password(self, password: SecretText) -> AuthUser | None:
        """Set the signed-in user's password (`POST .../auth/password/update`).

        Raises:
            PaywallError: `not_authenticated`.
        """
        hidden = Secret(password)
        del password
        request = self._auth_call("password/update", {}, password=hidden)
        tokens = await self._required_token_provider()
        return (
            await self._send(request, lambda response, request: decode(response, request, UpdatedUser), tokens=tokens)
        ).user

    # One-time codes

    async def send_otp(self, email: str, *, create_user: bool = True) -> None:
        """Mail a code to sign in with (`POST .../auth/otp/send`).

        Args:
            email: to whom.
            create_user: also to somebody the paywall does not know yet.
        """
        fields = {"email": _text("email", email), "create_user": create_user, "user_meta": self._user_meta}
        await self._do("otp/send", fields)

    async def verify_otp(self, email: str, token: SecretText, *, type: str = "email") -> AuthSession:
        """Sign in with a code from a mail (`POST .../auth/otp/verify`).

        Args:
            email: to whom it was sent.
            token: the code.
            type: what the mail was for: `email`, `recovery`, `signup`, `magiclink` or `invite`.

        Raises:
            PaywallError: the service's code when it is wrong, used or too old.
        """
        hidden = Secret(token)
        del token
        fields = {
            "email": _text("email", email),
            "type": _text("type", type),
            "visitor_id": self._visitor_id,
            "user_meta": self._user_meta,
        }
        return await self._sign_in(self._auth_call("otp/verify", fields, token=hidden))

    # Without an address

    async def sign_in_anonymously(self, *, captcha_token: SecretText | None = None) -> AuthSession:
        """Sign in somebody unknown (`POST .../auth/anonymous/signin`). Callers at the same time share one user."""
        hidden = None if captcha_token is None else Secret(captcha_token)
        del captcha_token
        fields = {"visitor_id": self._visitor_id, "user_meta": self._user_meta}
        request = self._auth_call("anonymous/signin", fields, captcha_token=hidden)

        async def sign_in(flight: Flight) -> AuthSession:
            flight.set_request(request)
            return await self._keep(await self._send(request, _anonymous))

        return await self._run_shared(self._state.flights, "anonymous", sign_in, cancel_when_abandoned=False)

    async def upgrade_anonymous_to_email(self, email: str, password: SecretText) -> UpgradeResult:
        """Give the anonymous user an address and a password (`POST .../auth/anonymous/upgrade`).

        Raises:
            PaywallError: `not_authenticated`, or the service's code, e.g. for an address that is taken.
        """
        hidden = Secret(password)
        del password
        request = self._credentials("anonymous/upgrade", email, hidden)
        tokens = await self._required_token_provider()
        result = await self._send(
            request, lambda response, request: decode(response, request, UpgradeResult), tokens=tokens
        )
        session = await self.get_session()
        same = session is not None and session.user is not None and session.user.id == tokens.user_id
        if session is not None and same and result.user is not None and result.status == "updated":
            await self._keep(attrs.evolve(session, user=result.user), same_user=True)
        return result

    # OAuth

    async def start_oauth(self, provider: str, *, scopes: Sequence[str] | str | None = None) -> OAuthStart:
        """Begin a sign-in at a provider, with PKCE (`POST .../auth/oauth/init`).

        Send the user to the result's `authorize_url`; what comes back to you as `state` and `code` goes to
        `complete_oauth`, within ten minutes.
        """
        verifier = Secret(_base64(os.urandom(48)))
        fields = {
            "provider": _text("provider", provider),
            "code_challenge": _base64(hashlib.sha256(verifier.reveal().encode()).digest()),
            "code_challenge_method": "s256",
            "scopes": scopes,
        }

        def started(response: RawResponse, request: Request) -> OAuthStart:
            url = decode(response, request, str, within="authorize_url")
            state = _state_of(url)
            if state is None:
                raise invalid_response(response, request, "`authorize_url` carries no state")
            return OAuthStart(authorize_url=url, state=state, code_verifier=verifier.reveal())

        result = await self._send(self._auth_call("oauth/init", fields), started)
        self._pending.keep(result.state, verifier)
        return result

    async def complete_oauth(
        self, state: str, code: SecretText, *, code_verifier: SecretText | None = None
    ) -> AuthSession:
        """Finish a sign-in at a provider (`POST .../auth/oauth/exchange`).

        Args:
            state: as it came back, from `start_oauth` of this client in the last ten minutes. Compare it first with the
                one that you keep in the browser's own session: otherwise somebody can have your user finish a sign-in
                that they began, and be signed in as them.
            code: as it came back.
            code_verifier: of the `OAuthStart`, when another process began the sign-in.

        Raises:
            PaywallError: `oauth_invalid_state`, or the service's code.
        """
        hidden, given = Secret(code), None if code_verifier is None else Secret(code_verifier)
        del code, code_verifier
        verifier = self._pending.find(_text("state", state)) if given is None else given
        if verifier is None:
            raise PaywallError(
                "oauth_invalid_state", "no sign-in with this state was begun here in the last ten minutes"
            )
        fields = {"visitor_id": self._visitor_id, "user_meta": self._user_meta}
        request = self._auth_call("oauth/exchange", fields, auth_code=hidden, code_verifier=verifier)
        session = await self._sign_in(request)
        self._pending.forget(state)
        return session

    # The end

    async def sign_out(self) -> None:
        """End this session (`POST .../auth/signout`). It is forgotten here in any case."""
        try:
            session = await self.get_session()
        except PaywallError:
            session = None
        await self._forget()
        if session is not None:
            try:
                await self._send(self._auth_call("signout", None), _done, tokens=FixedToken(session))
            except PaywallError:
                return  # nobody can use it from here any more

    async def revoke_all_sessions(self) -> None:
        """End all sessions of this user, everywhere (`POST .../auth/revoke-all`).

        Raises:
            PaywallError: `not_authenticated`, or they may still be good.
        """
        tokens = await self._required_token_provider()
        await self._send(self._auth_call("revoke-all", None), _done, tokens=tokens)
        if (await self._token_provider() or tokens).lineage is tokens.lineage:
            await self._forget()

    # Below

    def _credentials(self, path: str, email: str, password: Secret) -> Request:
        who = {"email": _text("email", email), "visitor_id": self._visitor_id, "user_meta": self._user_meta}
        return self._auth_call(path, who, password=password)

    async def _do(self, path: str, fields: Mapping[str, Any]) -> None:
        await self._send(self._auth_call(path, fields), _done)

    async def _sign_in(self, request: Request) -> AuthSession:
        return await self._keep(await self._send(request, lambda response, request: session_of(response, request)))


def _text(parameter: str, value: str) -> str:
    with translate_errors():
        return validation.text(parameter, value)


def _anonymous(response: RawResponse, request: Request) -> AuthSession:
    """The service need not say of whom it has just made that he is anonymous."""
    session = session_of(response, request)
    if session.user is None or session.user.is_anonymous is not None:
        return session
    return attrs.evolve(session, user=attrs.evolve(session.user, is_anonymous=True))


def _done(response: RawResponse, request: Request) -> None:
    """A success answer whose body says nothing that matters."""


def _state_of(url: str) -> str | None:
    try:
        return URL(url).query.get("state")
    except (ValueError, TypeError):
        return None


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
