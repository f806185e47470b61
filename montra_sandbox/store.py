"""SQLite: one connection, one transaction per request."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib import resources
from typing import Any

_KEPT_AT_RESET = frozenset({"merchants", "settings"})
_IN_MEMORY = ("", ":memory:")
_VERSION = 1
"""Of the schema. Before 1, codes, tokens and answers with sessions were in the file in clear."""
_HELD_SECRETS = ("paywall_mails", "paywall_oauth", "paywall_portals", "idempotency_records")
_OPENING = (
    "PRAGMA temp_store = MEMORY; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
)
_MOST_CODES = 10_000
# A temporary table is no part of the file; it is part of transactions like any other.
_CODES = "CREATE TEMP TABLE IF NOT EXISTS codes (mail_id TEXT PRIMARY KEY, token TEXT NOT NULL);"

Row = sqlite3.Row


class Store:
    """The database. All access is from the server's event loop, so requests never interleave inside a transaction."""

    def __init__(self, path: str = ":memory:") -> None:
        self.path = path
        if path not in _IN_MEMORY:
            _keep_to_owner(path)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._db.row_factory = sqlite3.Row
        try:
            # NORMAL loses nothing when the process dies, only (the last moments) when the machine does.
            self._db.executescript(_OPENING)
            self._forget_secrets()
            self._add_columns()
            self._db.executescript(f"{_schema()}{_CODES} PRAGMA user_version = {_VERSION};")
        except sqlite3.Error:
            self._db.close()
            raise

    def _forget_secrets(self) -> None:
        """Remove from a file of an earlier version what was in it in clear; all of it was short-lived."""
        old = self.value("PRAGMA user_version") < _VERSION
        if old and self.value("SELECT count(*) FROM sqlite_master WHERE name = 'merchants'"):
            self._db.execute("PRAGMA foreign_keys = OFF")
            for table in _HELD_SECRETS:
                self._db.execute(f"DROP TABLE IF EXISTS {table}")
            self._db.executescript("VACUUM; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA foreign_keys = ON;")

    def _add_columns(self) -> None:
        """Give the tables of a file of an earlier version the columns that they have by now."""
        with closing(sqlite3.connect(":memory:")) as model:
            model.executescript(_schema())
            for (table,) in model.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                have = {row["name"] for row in self.all(f"PRAGMA table_info({table})")}
                for _, name, kind, needed, default, _ in model.execute(f"PRAGMA table_info({table})"):
                    if have and name not in have:
                        filled = default or (("0" if kind == "INTEGER" else "''") if needed else "NULL")
                        rule = "NOT NULL " if needed else ""
                        self._db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind} {rule}DEFAULT {filled}")

    def close(self) -> None:
        self._db.close()

    def keep_code(self, mail_id: str, token: str) -> None:
        """Remember a mailed code in memory, never in the file."""
        self._db.execute("INSERT INTO temp.codes VALUES (?, ?)", (mail_id, token))
        self._db.execute(
            "DELETE FROM temp.codes WHERE rowid <= (SELECT max(rowid) FROM temp.codes) - ?", (_MOST_CODES,)
        )

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
        row = self._db.execute(sql, values).fetchone()
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
        self._db.execute("DELETE FROM temp.codes")

    def _tables(self) -> Sequence[str]:
        return [row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def _keep_to_owner(path: str) -> None:
    """Make the file, readable for its owner only. SQLite gives a new `-wal` and `-shm` the permissions of the file.

    Raises:
        OSError: it can't be made or written.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for one in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError, PermissionError):  # of an earlier run; somebody else's
            os.chmod(one, 0o600)


def pick(row: Row, *names: str) -> dict[str, Any]:
    """These columns of a row, by their names."""
    return {name: row[name] for name in names}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


def _schema() -> str:
    return resources.files("montra_sandbox").joinpath("schema.sql").read_text(encoding="utf-8")
