"""Statements for many rows at once.

`executemany` takes the interpreter's lock for every row, so that a computing thread delays it by milliseconds each; one
statement for up to 256 rows takes it once. There are nine sizes, so that SQLite's compiled statements stay cached.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

T = TypeVar("T")

MAX_ROWS = 256
"""Maximum number of rows of one statement."""


@lru_cache(maxsize=32)
def _insert_sql(head: str, columns: int, rows: int, common: int) -> str:
    values = f"VALUES {', '.join([f'({marks(columns)})'] * rows)}"
    if not common:
        return f"{head} {values}"
    own = ", ".join(f"column{number + 1}" for number in range(columns))
    return f"{head} SELECT {own}, {marks(common)} FROM ({values})"  # noqa: S608 - names and question marks


def insert_rows(
    db: sqlite3.Connection, head: str, rows: Sequence[tuple[Any, ...]], common: tuple[Any, ...] = ()
) -> None:
    """Insert rows in their order.

    Args:
        db: the connection.
        head: the statement up to its values.
        rows: their values; all of the same length.
        common: values of the last columns, the same in all rows. They are given to SQLite once per statement.
    """
    start = 0
    while start < len(rows):
        size = min(MAX_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        part = rows[start : start + size]
        values = [*common, *chain.from_iterable(part)]
        db.execute(_insert_sql(head, len(part[0]), size, len(common)), values)
        start += size


@lru_cache(maxsize=16)
def marks(size: int) -> str:
    """As many question marks, with commas."""
    return ", ".join("?" * size)


def padded_parts(values: Sequence[T]) -> Iterator[list[T]]:
    """Parts of at most 256 values, for `IN (...)`. The last value is repeated until the size is a power of two.

    Args:
        values: the values.
    """
    for start in range(0, len(values), MAX_ROWS):
        part = list(values[start : start + MAX_ROWS])
        yield part + [part[-1]] * ((1 << (len(part) - 1).bit_length()) - len(part))
