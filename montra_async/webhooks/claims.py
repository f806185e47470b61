"""The claim of one delivery on its event, and the keys under which the event is recorded.

`EventClaim` decides what to call on the store, but calls nothing itself: its methods are generators of `Step`s.
`store_access` runs them, on an event loop or without one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

import attrs

from ..core.errors import ConfigError
from ..core.redaction import Secret
from .signature import SigningSecrets
from .stores import Claim, new_token

T = TypeVar("T")

log: logging.Logger = logging.getLogger("montra")

RETRY_DELAYS = (0.05, 0.2, 0.8, 2.0)
"""Seconds between the attempts to mark an event as done, or to release it."""


@attrs.define
class StoreCall:
    """A call of a store's method.

    Attributes:
        run: makes the call; its argument is the store.
        undo: makes the call that reverses `run`. An event loop's access to the store makes it when its caller is
            cancelled, or stops waiting, and `run` may have succeeded.
    """

    run: Callable[[Any], Any]
    undo: Callable[[Any], Any] | None = None


@attrs.define
class Pause:
    """Wait between two attempts.

    Attributes:
        seconds: how long.
    """

    seconds: float


Step: TypeAlias = StoreCall | Pause


class EventClaim:
    """The claim of one delivery on its event.

    An event usually has one key. It has several while a receiver without a namespace has several secrets; all receivers
    claim them in the same order.

    Args:
        keys: the event's keys, in order.
        claim_ttl: seconds after which the claim expires unless it is renewed.
        forever: never forget the event once it is done.
    """

    def __init__(self, keys: Sequence[str], claim_ttl: float, *, forever: bool) -> None:
        self.claim_ttl = claim_ttl
        self._keys = keys
        self._forever = forever
        self._token = new_token()
        self.ending: bool = False
        """Whether `done` or `release` has begun: a renewal at the same time may find no claim, which is no loss."""

    def acquire(self) -> Generator[Step, Any, Claim]:
        """Claim all keys or none. When one key is done, so is the event, and the other keys are marked as done, too.

        When this is interrupted (CancelledError, KeyboardInterrupt, SystemExit), the caller must `release` the claim.
        """
        acquired: list[str] = []
        try:
            result = yield from self._acquire_into(acquired)
            for key in acquired if result is not Claim.ACQUIRED else ():
                yield self._done_call(key) if result is Claim.DONE else self._release_call(key)
        except Exception:
            for key in acquired:
                try:
                    yield self._release_call(key)
                except Exception:  # the claim expires anyway
                    log.debug("a claim could not be released; it expires after %g s", self.claim_ttl)
            raise
        return result

    def _acquire_into(self, acquired: list[str]) -> Generator[Step, Any, Claim]:
        found = Claim.ACQUIRED
        for key in self._keys:
            result = Claim((yield self._claim_call(key)))
            if result is Claim.ACQUIRED:
                acquired.append(key)
            elif result is Claim.DONE:
                found = Claim.DONE
            elif found is not Claim.DONE:
                return Claim.IN_PROGRESS
        return found

    def renew(self) -> Generator[Step, Any, bool]:
        """Extend the claim by its TTL. Returns False when it was lost."""
        renewed = True
        for key in self._keys:
            renewed &= bool((yield self._renew_call(key)))
        return renewed

    def done(self, *, retry: bool = True) -> Generator[Step, Any, bool]:
        """Mark the event as handled. Returns False when another delivery has claimed or handled it meanwhile.

        Args:
            retry: try again when the store fails. Default: True.

        Raises:
            Exception: the store's error, when all attempts failed.
        """
        self.ending = True
        return all((yield from self._for_each_key("done", self._mark_done, retry)))

    def release(self, *, retry: bool = True) -> Generator[Step, Any, None]:
        """Give the event back: the next delivery may handle it.

        Args:
            retry: try again when the store fails. Default: True.

        Raises:
            Exception: the store's error, when all attempts failed.
        """
        self.ending = True
        yield from self._for_each_key("released", self._release, retry)

    def _for_each_key(
        self, mark: str, attempt: Callable[[str, bool], Generator[Step, Any, T]], retry: bool
    ) -> Generator[Step, Any, list[T]]:
        """Make the attempts for every key, also when all attempts for another key have failed."""
        results: list[T] = []
        errors: list[Exception] = []
        for key in self._keys:
            try:
                results.append((yield from _retried(mark, key, attempt, RETRY_DELAYS if retry else ())))
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return results

    def _release(self, key: str, repeated: bool) -> Generator[Step, Any, None]:
        yield self._release_call(key)

    def _mark_done(self, key: str, repeated: bool) -> Generator[Step, Any, bool]:
        if (yield self._done_call(key)):
            return True
        # The claim expired. The event is handled all the same, and must be recorded unless it was claimed meanwhile.
        result = Claim((yield self._claim_call(key)))
        if result is Claim.ACQUIRED:
            return bool((yield self._done_call(key)))
        return result is Claim.DONE and repeated  # an attempt that seemed to fail may have reached the store

    def _claim_call(self, key: str) -> StoreCall:
        token = self._token
        return StoreCall(lambda store: store.claim(key, token, self.claim_ttl), lambda store: store.release(key, token))

    def _renew_call(self, key: str) -> StoreCall:
        return StoreCall(lambda store: store.renew(key, self._token, self.claim_ttl))

    def _release_call(self, key: str) -> StoreCall:
        return StoreCall(lambda store: store.release(key, self._token))

    def _done_call(self, key: str) -> StoreCall:
        if self._forever:
            return StoreCall(lambda store: store.done(key, self._token, forever=True))
        return StoreCall(lambda store: store.done(key, self._token))


def _retried(
    mark: str, key: str, attempt: Callable[[str, bool], Generator[Step, Any, T]], delays: Sequence[float]
) -> Generator[Step, Any, T]:
    for i, delay in enumerate(delays):
        try:
            return (yield from attempt(key, i > 0))
        except Exception as error:
            log.warning("an event could not be marked as %s; trying again: %s", mark, error)
        yield Pause(delay)
    return (yield from attempt(key, bool(delays)))


def validated_namespace(namespace: str | None) -> str | None:
    """Return a receiver's namespace.

    Raises:
        ConfigError: it is neither None nor a string with a visible character.
    """
    if namespace is not None and not (isinstance(namespace, str) and namespace.strip()):
        raise ConfigError("namespace: a name, e.g. the tenant's id; None to keep events apart by the secret")
    return namespace


def namespaces(namespace: str | None, secrets: SigningSecrets) -> list[str]:
    """Return what keeps a receiver's events apart from others in the same store: its namespace, or each of its secrets.

    With several secrets an event is recorded under each of them, so that it stays recorded when one is removed.
    """
    if namespace is not None:
        return [f"endpoint {namespace}"]
    return sorted({f"secret {_digest_of_secret(one)}" for one in secrets.usable})


def event_keys(source: str, of: list[str], event_id: str) -> list[str]:
    """Return an event's keys in the store: digests of 64 hexadecimal digits, one per namespace. Two events that are not
    the same never share a key."""
    parts = (json.dumps([source, namespace, event_id]) for namespace in of)  # JSON: no two lists look the same
    return sorted(hashlib.sha256(one.encode("ascii")).hexdigest() for one in parts)


def _digest_of_secret(secret: Secret) -> str:
    marked = b"montra webhook endpoint\0" + secret.reveal().encode("utf-8", "surrogatepass")
    return hashlib.sha256(marked).hexdigest()
