"""`AuthClient`: sign users in without a browser, and keep their sessions good."""

from __future__ import annotations

import base64
import copy
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import attrs
from yarl import URL

from ..core import checks
from ..core.answers import json_of
from ..core.calls import Answer, Call
from ..core.errors import CallInfo
from ..core.redaction import Secret
from ..core.serde import SerdeError, structure
from ..core.shapes import is_object
from . import storage as storages
from .answers import read, unreadable
from .caching import Flights
from .errors import PaywallError, preconditions
from .models import AuthSession, AuthUser, OAuthStart, SignUpResult, UpdatedUser, UpgradeResult
from .service import ClientSettings, PaywallClient
from .storage import MemorySessionStorage, SessionStorage, not_authenticated

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

REFRESH_BEFORE = timedelta(seconds=60)
OAUTH_GOOD_FOR = 10 * 60.0
_MOST_OAUTH = 1_000


@attrs.define
class _Pending:
    """Sign-ins at providers that have begun: verifier by state."""

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


class AuthClient(PaywallClient):
    """Sign-in of one user of a paywall, and the session that comes of it.

    A server that serves many users makes one client and a view for each: `auth.with_storage(their_storage)`.

    Args:
        paywall_id: the environment's `PAYWALL_ID` when not given.
        api_origin: the paywall's own domain; else the environment's `PAYWALL_ORIGIN`.
        storage: where the session lives; in memory by default.
        visitor_id: your id of the visitor, told at every sign-in.
        user_meta: what the service is to note of users who sign in.
        settings: see `ClientSettings`.

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
        **settings: Unpack[ClientSettings],
    ) -> None:
        self._open(paywall_id, api_origin, None, settings)
        with preconditions():
            self._visitor_id = checks.optional_text("visitor_id", visitor_id)
            self._user_meta = checks.json_object("user_meta", user_meta)
        self._pending = _Pending()
        self._start(storage)

    def _start(self, storage: SessionStorage | None) -> None:
        self._storage = storage or MemorySessionStorage()
        self._current: AuthSession | None = None
        self._loaded = False
        self._flights = Flights()

    def with_storage(self, storage: SessionStorage) -> Self:
        """The same client for another user: a cheap view on the same connections with a session of its own."""
        view = copy.copy(self)
        view._start(storage)
        return view

    # The session

    async def get_session(self) -> AuthSession | None:
        """Who is signed in; None when nobody is. Makes no request."""
        if not self._loaded:
            self._current = await storages.load(self._storage)
            self._loaded = True
        return self._current

    async def get_access_token(self) -> str:
        """A token that is good for another minute, refreshed when it has to be. Callers at once share one refresh.

        Raises:
            PaywallError: `not_authenticated` when nobody is signed in, or the session can't be refreshed any more.
        """
        return (await self._token()).reveal()

    async def _token(self) -> Secret:
        """As `get_access_token`, but showing itself to nobody."""
        session = await self.get_session()
        if session is not None and session.expires_at - datetime.now(timezone.utc) <= REFRESH_BEFORE:
            session = await self.refresh()
        if session is None:
            raise not_authenticated()
        return Secret(session.access_token)

    async def _another_token(self, refused: Secret) -> Secret | None:
        """A token other than the one that was refused; None when there is none to be had."""
        session = await self.get_session()
        if session is not None and session.access_token == refused.reveal():
            session = await self.refresh()
        return None if session is None else Secret(session.access_token)

    async def refresh(self) -> AuthSession | None:
        """New tokens for old ones (`POST .../auth/refresh`). Callers at the same time share one request.

        The request goes on when its callers are cancelled: its answer replaces both tokens, and must not be lost. It
        is never repeated once it was sent.

        Returns:
            The new session; None when the service refused the old one, which is forgotten then.
        """
        return await self._flights.join("refresh", self._refresh, lands=True)

    async def _refresh(self) -> AuthSession | None:
        stored = await storages.load(self._storage)
        known = await self.get_session()
        if stored is None:
            self._current = None
            return None
        if known is not None and stored.refresh_token != known.refresh_token and stored.expires_at > known.expires_at:
            return self._adopt(stored)  # another process was quicker
        call = self._auth_call("refresh", {"refresh_token": stored.refresh_token})
        try:
            fresh = await self._send(call, lambda answer, info: _session(answer, info, stored.user))
        except PaywallError as error:
            if error.status != 401:
                raise
        else:
            return await self._keep(fresh)
        again = await storages.load(self._storage)
        if again is not None and again.refresh_token != stored.refresh_token:
            return self._adopt(again)
        await self._forget()
        return None

    # Passwords

    async def sign_in_with_email(self, email: str, password: str) -> AuthSession:
        """Sign in (`POST .../auth/email/signin`).

        Raises:
            PaywallError: the service's code, e.g. `invalid_credentials`.
        """
        return await self._sign_in("email/signin", self._credentials(email, password))

    async def sign_up(self, email: str, password: str) -> SignUpResult:
        """Register (`POST .../auth/email/signup`).

        Returns:
            `status` is `signed_in` (with the session), `confirmation_required` (a mail was sent) or
            `already_registered`.
        """
        call = self._auth_call("email/signup", self._credentials(email, password))

        def result(answer: Answer, info: CallInfo) -> SignUpResult:
            payload = json_of(answer)
            signed_in = is_object(payload) and "access_token" in payload
            session = _session(answer, info, None) if signed_in else None
            found = read(answer, info, SignUpResult)
            for name in ("access_token", "refresh_token", "expires_in", "expires_at", "token_type"):
                found.extra.pop(name, None)
            return attrs.evolve(found, session=session)

        found = await self._send(call, result)
        if found.session is not None:
            await self._keep(found.session)
        return found

    async def resend_confirmation(self, email: str) -> None:
        """Send the confirmation mail again (`POST .../auth/email/resend`)."""
        await self._do("email/resend", {"email": _text("email", email)})

    async def request_password_reset(self, email: str) -> None:
        """Send a mail with a code for `verify_otp(type="recovery")` (`POST .../auth/password/request-reset`)."""
        await self._do("password/request-reset", {"email": _text("email", email)})

    async def update_password(self, password: str) -> AuthUser | None:
        """Set the signed-in user's password (`POST .../auth/password/update`).

        Raises:
            PaywallError: `not_authenticated`.
        """
        call = self._auth_call("password/update", {"password": _text("password", password)})
        return (await self._send(call, lambda answer, info: read(answer, info, UpdatedUser), signer=self)).user

    # One-time codes

    async def send_otp(self, email: str, *, create_user: bool = True) -> None:
        """Mail a code to sign in with (`POST .../auth/otp/send`).

        Args:
            email: to whom.
            create_user: also to somebody the paywall does not know yet.
        """
        fields = {"email": _text("email", email), "create_user": create_user, "user_meta": self._user_meta}
        await self._do("otp/send", fields)

    async def verify_otp(self, email: str, token: str, *, type: str = "email") -> AuthSession:
        """Sign in with a code from a mail (`POST .../auth/otp/verify`).

        Args:
            email: to whom it was sent.
            token: the code.
            type: what the mail was for: `email`, `recovery`, `signup`, `magiclink` or `invite`.

        Raises:
            PaywallError: the service's code when it is wrong, used or too old.
        """
        fields = {"email": _text("email", email), "token": _text("token", token), "type": _text("type", type)}
        return await self._sign_in("otp/verify", {**fields, "visitor_id": self._visitor_id})

    # Without an address

    async def sign_in_anonymously(self, *, captcha_token: str | None = None) -> AuthSession:
        """Sign in somebody unknown (`POST .../auth/anonymous/signin`). Callers at the same time share one user."""
        with preconditions():
            captcha = checks.optional_text("captcha_token", captcha_token)
        fields = {"captcha_token": captcha, "visitor_id": self._visitor_id, "user_meta": self._user_meta}
        return await self._flights.join("anonymous", lambda: self._sign_in("anonymous/signin", fields), lands=True)

    async def upgrade_anonymous_to_email(self, email: str, password: str) -> UpgradeResult:
        """Give the anonymous user an address and a password (`POST .../auth/anonymous/upgrade`).

        Raises:
            PaywallError: `not_authenticated`, or the service's code, e.g. for an address that is taken.
        """
        call = self._auth_call("anonymous/upgrade", self._credentials(email, password))
        result = await self._send(call, lambda answer, info: read(answer, info, UpgradeResult), signer=self)
        session = await self.get_session()
        if session is not None and result.user is not None and result.status == "updated":
            await self._keep(attrs.evolve(session, user=result.user))
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

        def started(answer: Answer, info: CallInfo) -> OAuthStart:
            url = read(answer, info, str, within="authorize_url")
            state = _state_of(url)
            if state is None:
                raise unreadable(answer, info, "`authorize_url` carries no state")
            return OAuthStart(authorize_url=url, state=state, code_verifier=verifier.reveal())

        result = await self._send(self._auth_call("oauth/init", fields), started)
        self._pending.keep(result.state, verifier)
        return result

    async def complete_oauth(self, state: str, code: str, *, code_verifier: str | None = None) -> AuthSession:
        """Finish a sign-in at a provider (`POST .../auth/oauth/exchange`).

        Args:
            state: as it came back, from `start_oauth` of this client in the last ten minutes.
            code: as it came back.
            code_verifier: of the `OAuthStart`, when another process began the sign-in.

        Raises:
            PaywallError: `oauth_invalid_state`, or the service's code.
        """
        with preconditions():
            checks.text("state", state)
            given = checks.optional_text("code_verifier", code_verifier)
        verifier = self._pending.find(state) if given is None else Secret(given)
        del code_verifier, given
        if verifier is None:
            raise PaywallError(
                "oauth_invalid_state", "no sign-in with this state was begun here in the last ten minutes"
            )
        fields = {"auth_code": _text("code", code), "code_verifier": verifier.reveal(), "visitor_id": self._visitor_id}
        session = await self._sign_in("oauth/exchange", fields)
        self._pending.forget(state)
        return session

    # The end

    async def sign_out(self) -> None:
        """End this session (`POST .../auth/signout`). It is forgotten here in any case."""
        session = await self.get_session()
        await self._forget()
        if session is not None:
            try:
                await self._send(self._auth_call("signout", None), _done, signer=_Bearer(session))
            except PaywallError:
                return  # nobody can use it from here any more

    async def revoke_all_sessions(self) -> None:
        """End all sessions of this user, everywhere (`POST .../auth/revoke-all`).

        Raises:
            PaywallError: `not_authenticated`, or they may still be good.
        """
        await self._send(self._auth_call("revoke-all", None), _done, signer=self)
        await self._forget()

    # Below

    def _auth_call(self, path: str, fields: Mapping[str, Any] | None) -> Call:
        full = f"{self._place.paywall}/auth/{path}"
        return self._call("POST", full) if fields is None else self._json_call(full, fields)

    def _credentials(self, email: str, password: str) -> dict[str, Any]:
        return {
            "email": _text("email", email),
            "password": _text("password", password),
            "visitor_id": self._visitor_id,
            "user_meta": self._user_meta,
        }

    async def _do(self, path: str, fields: Mapping[str, Any]) -> None:
        await self._send(self._auth_call(path, fields), _done)

    async def _sign_in(self, path: str, fields: Mapping[str, Any]) -> AuthSession:
        call = self._auth_call(path, fields)
        return await self._keep(await self._send(call, lambda answer, info: _session(answer, info, None)))

    async def _keep(self, session: AuthSession) -> AuthSession:
        self._adopt(session)
        await storages.save(self._storage, session)
        return session

    def _adopt(self, session: AuthSession) -> AuthSession:
        self._current, self._loaded = session, True
        return session

    async def _forget(self) -> None:
        self._current, self._loaded = None, True
        await storages.clear(self._storage)


@attrs.frozen
class _Bearer:
    """Signs with a session that is not kept any more."""

    session: AuthSession

    async def _token(self) -> Secret:
        return Secret(self.session.access_token)

    async def _another_token(self, refused: Secret) -> Secret | None:
        return None


def _text(parameter: str, value: str) -> str:
    with preconditions():
        return checks.text(parameter, value)


def _done(answer: Answer, info: CallInfo) -> None:
    """A success answer whose body says nothing that matters."""


def _session(answer: Answer, info: CallInfo, user: AuthUser | None) -> AuthSession:
    """The session of a token answer; one that names no user is the known user's.

    Its end is reckoned from `expires_in` by our own clock, which need not be the service's; else it is `expires_at`.
    """
    payload = json_of(answer)
    if not is_object(payload):
        raise unreadable(answer, info, "the body is not the JSON object that was expected")
    lasts = payload.get("expires_in")
    fields = {name: payload.get(name) for name in ("access_token", "refresh_token", "user")}
    fields["expires_at"] = payload.get("expires_at")
    if isinstance(lasts, int) and not isinstance(lasts, bool):
        fields["expires_at"] = datetime.now(timezone.utc) + timedelta(seconds=lasts)
    if fields["user"] is None:
        fields["user"] = user
    try:
        return structure(fields, AuthSession)
    except (SerdeError, OverflowError) as error:
        raise _without_tokens(unreadable(answer, info, str(error))) from None


def _without_tokens(error: PaywallError) -> PaywallError:
    """A half-readable token answer still has tokens in it."""
    if is_object(error.body):
        error.body = {name: "***" if name.endswith("_token") else one for name, one in error.body.items()}
    return error


def _state_of(url: str) -> str | None:
    try:
        return URL(url).query.get("state")
    except ValueError:
        return None


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
