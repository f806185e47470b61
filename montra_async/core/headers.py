"""The headers of a response as users get them: immutable, bounded, without secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

MAX_HEADERS = 200
"""Header fields that are kept of a response."""

MAX_SIZE = 64 * 1024
"""Characters of all names and values that are kept of a response. The field that exceeds it is cut."""

_SHOWN = re.compile(
    r"(?i)content-(type|length|encoding)|date|server|age|vary|etag|retry-after|cache-control|idempotent-replayed"
    r"|(x-)?request-id|(x-)?ratelimit(-[a-z]+)*"
)
"""Headers whose values `repr` shows: any other may be a secret."""

_COOKIES = ("set-cookie", "set-cookie2")
"""Headers that are not kept: they are secrets of a session that the SDK does not have."""


class ResponseHeaders(Mapping[str, str]):
    """Headers by name, in any case. `get_all` returns every value of a name that occurs several times.

    `repr` shows the values of common headers only: an address that is redirected to, for example, may hold a token.

    Args:
        fields: names and values, in the order in which they arrived; at most 200, and 64 KiB, are kept.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: tuple[tuple[str, str], ...] = tuple(_bounded(fields))

    def __getitem__(self, name: str) -> str:
        """The first value of a name."""
        wanted = name.lower()
        for one, value in self._fields:
            if one.lower() == wanted:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower(): name for name, _ in reversed(self._fields)}.values())

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._fields})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(one.lower() == name.lower() for one, _ in self._fields)

    def get_all(self, name: str) -> list[str]:
        """Every value of a name, in the order in which they arrived; an empty list without one.

        Args:
            name: of the header, in any case.
        """
        return [value for one, value in self._fields if one.lower() == name.lower()]

    def multi_items(self) -> list[tuple[str, str]]:
        """All names and values, in the order in which they arrived."""
        return list(self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResponseHeaders):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[tuple[str, str], ...]:
        return tuple((name.lower(), value) for name, value in self._fields)

    def __repr__(self) -> str:
        fields: tuple[tuple[str, str], ...] = getattr(self, "_fields", ())  # a frame may hold one without attributes
        shown = [(name, value if _SHOWN.fullmatch(name) else "***") for name, value in fields]
        return f"ResponseHeaders({shown!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._fields,)


def _bounded(fields: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    left = MAX_SIZE
    for name, value in islice(fields, MAX_HEADERS):
        left -= len(name)
        if left <= 0:
            return
        yield name, value[:left]
        left -= len(value)


NO_HEADERS = ResponseHeaders()


def is_replayed(headers: Mapping[str, str]) -> bool:
    """Whether a service says that its response is a stored one: the idempotency key was used before.

    Args:
        headers: of the response.
    """
    return headers.get("Idempotent-Replayed", "").strip().lower() == "true"


def clean_headers(headers: Mapping[str, str], scrub: Callable[[str], str]) -> ResponseHeaders:
    """The headers of a response without cookies and known secrets.

    Args:
        headers: of the response; a multidict yields a name as often as it has values.
        scrub: removes known secrets from a text.
    """
    kept = ((name, value) for name, value in headers.items() if name.lower() not in _COOKIES)
    return ResponseHeaders((scrub(name), scrub(value)) for name, value in kept)
