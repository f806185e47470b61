"""The stored session of one `AuthClient`, and the refreshes that all its views share."""

from __future__ import annotations

import attrs

from . import storage as storages
from .auth_models import AuthSession
from .cache import Cache
from .single_flight import Flight, SingleFlight
from .storage import SessionStorage

_UNSAVED_TTL = 24 * 3600.0
_MAX_UNSAVED = 1_000


@attrs.define(eq=False)
class SessionState:
    """The session of one storage. Views that differ in their options only share it.

    Attributes:
        storage: where the session is stored.
        current: the session that was loaded, or that is to be saved.
        loaded: whether `current` is known.
        unsaved: whether `current` is still to be saved.
        token_family: an object that is replaced at each sign-in. All tokens of one family belong to one user.
        replaced_digest: digest of the refresh token that `current` replaced, while `current` is unsaved.
        flights: sign-in, refresh and saving of this session. The key needs no user: this object has one storage.
    """

    storage: SessionStorage = attrs.field(repr=False)
    current: AuthSession | None = None
    loaded: bool = False
    unsaved: bool = False
    token_family: object = attrs.field(factory=object, repr=False)
    replaced_digest: str | None = attrs.field(default=None, repr=False)
    flights: SingleFlight = attrs.field(factory=SingleFlight, repr=False)

    def set_session(self, session: AuthSession | None, *, same_user: bool = False) -> AuthSession | None:
        """Make `session` the current one. Begins a new token family unless it belongs to the same user."""
        if not same_user:
            self.token_family = object()
        self.current, self.loaded, self.unsaved, self.replaced_digest = session, True, False, None
        return session

    async def save(self, _: Flight) -> None:
        """Save `current`, again when it changes meanwhile, until the storage holds it.

        Raises:
            PaywallError: `storage_failed`. The session stays unsaved.
        """
        while self.unsaved:
            self.unsaved = False
            session = self.current
            try:
                if session is None:
                    await storages.clear(self.storage)
                else:
                    await storages.save(self.storage, session)
            except BaseException:
                self.unsaved = True
                raise


@attrs.frozen
class RefreshRegistry:
    """Refreshes, shared by all views of a client. Each is identified by the digest of the replaced refresh token.

    A refresh token can be used once, so all callers that hold it need the same response.

    Attributes:
        flights: refreshes in progress.
        unsaved: new sessions that could not be saved yet.
    """

    flights: SingleFlight = attrs.field(factory=SingleFlight)
    unsaved: Cache[AuthSession] = attrs.field(
        factory=lambda: Cache[AuthSession](ttl=_UNSAVED_TTL, max_entries=_MAX_UNSAVED)
    )
