"""The answers that a ledger keeps: a bounded number of them, and how those of a customer are found."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from .decision import FEATURE, METER, AccessDecision, Key

_EVICT_TRIES = 8
"""How often an entry that is in use is spared, per entry that must go."""

_MANY_SLUGS = 1000
"""Number of slugs from which on looking at all entries is cheaper than at all slugs."""


class AnswerCache:
    """A bounded number of answers. The ledger's lock guards it.

    Args:
        max_entries: maximum number of answers.
        counted: other keys of which something is known.
    """

    def __init__(self, max_entries: int, counted: Collection[Key]) -> None:
        self.entries: dict[Key, AccessDecision] = {}
        self.slugs: dict[str, set[str]] = {METER: set(), FEATURE: set()}
        """Slugs of meters and of features that may be known."""
        self._max_entries = max_entries
        self._counted = counted
        self._slugs_at = max_entries  # number of slugs of a kind at which those that are not needed are forgotten

    def keep(self, key: Key, decision: AccessDecision) -> None:
        """Keep an answer, and make room for it.

        Args:
            key: customer, kind and slug.
            decision: the answer.
        """
        entries = self.entries
        if key not in entries:
            if len(entries) >= self._max_entries:
                self._evict()
            self.add_slug(key)
        entries[key] = decision

    def add_slug(self, key: Key) -> None:
        """Remember a slug. When there are many, those of which nothing is known any more are forgotten.

        Args:
            key: customer, kind and slug.
        """
        slugs = self.slugs[key[1]]
        if len(slugs) >= self._slugs_at and key[2] not in slugs:
            self.slugs[key[1]] = slugs = {one[2] for one in (*self.entries, *self._counted) if one[1] == key[1]}
            self._slugs_at = max(self._max_entries, 2 * len(slugs))
        slugs.add(key[2])

    def _evict(self) -> None:
        """Make room. The oldest entries go, but those that were used since the last time are spared."""
        entries = self.entries
        wanted = 1 + len(entries) // 64
        for key in list(islice(entries, wanted * _EVICT_TRIES)):
            decision = entries[key]
            if decision.used and wanted < len(entries):
                decision.used = False
                entries[key] = entries.pop(key)  # to the end
                continue
            del entries[key]
            wanted -= 1
            if not wanted:
                return
        while len(entries) >= self._max_entries:
            del entries[next(iter(entries))]

    def matching(self, customer_id: str | None, kind: str | None, slug: str | None) -> Iterator[Key]:
        """Keys that may be known.

        Args:
            customer_id: of this customer. None: of all.
            kind: meters or features. None: both.
            slug: of this one. None: of all.
        """
        kinds = (METER, FEATURE) if kind is None else (kind,)
        names = [(one, name) for one in kinds for name in (list(self.slugs[one]) if slug is None else (slug,))]
        if customer_id is not None and len(names) < _MANY_SLUGS:
            yield from [(customer_id, one, name) for one, name in names]
            return
        yield from (key for key in {*self.entries, *self._counted} if matches(key, customer_id, kind, slug))


def matches(key: Key, customer_id: str | None, kind: str | None, slug: str | None) -> bool:
    """Whether a key is of a customer, kind and slug.

    Args:
        key: customer, kind and slug.
        customer_id: None for any.
        kind: None for any.
        slug: None for any.
    """
    return (
        (customer_id is None or key[0] == customer_id)
        and (kind is None or key[1] == kind)
        and (slug is None or key[2] == slug)
    )
