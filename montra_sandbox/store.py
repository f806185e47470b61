"""SQLite: one connection, one transaction per request."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

_KEPT_AT_RESET = frozenset({"merchants", "settings"})

Row = sqlite3.Row


class Store:
    """The database. All access is from the server's event loop, so requests never interleave inside a transaction."""

    def __init__(self, path: str = ":memory:") -> None:
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._db.row_factory = sqlite3.Row
        try:
            # NORMAL loses nothing when the process dies, only (the last moments) when the machine does.
            self._db.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;" + _schema()
            )
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Generator[Store]:
        """Everything inside happens, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def one(self, sql: str, *values: Any) -> Row | None:
        row: Row | None = self._db.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[Row]:
        return self._db.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        by_name = values[0] if len(values) == 1 and isinstance(values[0], dict) else values
        row = self._db.execute(sql, by_name).fetchone()
        return None if row is None else row[0]

    def run(self, sql: str, *values: Any) -> int:
        """Change something; how many rows it touched."""
        return self._db.execute(sql, values).rowcount

    def insert(self, table: str, **values: Any) -> None:
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))

    def update(self, table: str, row_id: str, **values: Any) -> None:
        if values:
            changes = ", ".join(f"{name} = ?" for name in values)
            self._db.execute(f"UPDATE {table} SET {changes} WHERE id = ?", (*values.values(), row_id))

    def next_number(self, name: str) -> int:
        """1, 2, 3, ... per name; part of the transaction, so that no number is skipped or given twice."""
        row = self._db.execute(
            "INSERT INTO settings VALUES (?, '1') ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            (f"number:{name}",),
        ).fetchone()
        return int(row[0])

    def reset(self) -> None:
        """Forget everything but the merchants and the clock."""
        self._db.execute("PRAGMA defer_foreign_keys = ON")
        for table in self._tables():
            if table not in _KEPT_AT_RESET:
                self._db.execute(f"DELETE FROM {table}")
        self._db.execute("DELETE FROM settings WHERE name LIKE 'number:%'")

    def _tables(self) -> Sequence[str]:
        return [row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def pick(row: Row, *names: str) -> dict[str, Any]:
    """These columns of a row, by their names."""
    return {name: row[name] for name in names}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


def _schema() -> str:
    return resources.files("montra_sandbox").joinpath("schema.sql").read_text(encoding="utf-8")
