"""Models of users, sessions and sign-in."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from ..core.models.model import Model
from ..core.redaction import mask

SignUpStatus: TypeAlias = Literal["signed_in", "confirmation_required", "already_registered"] | str
UpgradeStatus: TypeAlias = Literal["updated", "confirmation_required"] | str


@attrs.frozen(kw_only=True)
class AuthUser(Model):
    """A user of the paywall.

    Attributes:
        id: the service's id of the user.
        email: email address; None for an anonymous user.
        name: name of the user.
        avatar: URL of the user's picture.
        country: ISO code of the user's country.
        is_anonymous: whether the user is anonymous.
    """

    id: str
    email: str | None = None
    name: str | None = None
    avatar: str | None = None
    country: str | None = None
    is_anonymous: bool | None = None


@attrs.frozen(kw_only=True)
class AuthSession(Model):
    """The session of a signed-in user. The tokens are hidden in its `repr`; `to_dict()` has them, for storage.

    Attributes:
        access_token: bearer token of requests.
        refresh_token: token for a refresh. It can be used once.
        expires_at: when the access token expires.
        user: the user; None when the response lacked it.
    """

    access_token: str = attrs.field(repr=mask)
    refresh_token: str = attrs.field(repr=mask)
    expires_at: datetime
    user: AuthUser | None = None


@attrs.frozen(kw_only=True)
class SignUpResult(Model):
    """The result of a registration.

    Attributes:
        status: `signed_in`, `confirmation_required` or `already_registered`.
        session: the session when `status` is `signed_in`.
        user: the registered user.
        email: the address that was registered.
    """

    status: SignUpStatus
    session: AuthSession | None = None
    user: AuthUser | None = None
    email: str | None = None


@attrs.frozen(kw_only=True)
class UpgradeResult(Model):
    """The result of setting the email address of an anonymous user.

    Attributes:
        status: `updated` or `confirmation_required`.
        user: the user after the change.
        email: the address that must be confirmed.
    """

    status: UpgradeStatus
    user: AuthUser | None = None
    email: str | None = None


@attrs.frozen(kw_only=True)
class UpdatedUser(Model):
    """The response to a change of a user.

    Attributes:
        user: the user after the change.
    """

    user: AuthUser | None = None


@attrs.frozen(kw_only=True)
class OAuthStart:
    """A started sign-in at an OAuth provider.

    Attributes:
        authorize_url: URL of the provider. Redirect the user to it.
        state: `state` parameter of the URL, for `complete_oauth`. Store it in the browser's own session.
        code_verifier: PKCE verifier, hidden in the `repr`. The client stores it for ten minutes. Store it yourself, by
            `state`, when another process may complete the sign-in.
    """

    authorize_url: str
    state: str
    code_verifier: str = attrs.field(repr=mask)
