"""SQLite access: one connection, one transaction per request."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from importlib import resources
from typing import Any, TypeAlias

from .database_lock import DatabaseLock
from .problems import conflict

_KEPT_BY_RESET = frozenset({"merchants", "settings"})
_IN_MEMORY = ("", ":memory:")
_SCHEMA_VERSION = 1
"""Before version 1 the file held codes, tokens and responses with session tokens in plain text."""
_TABLES_WITH_SECRETS = ("paywall_mails", "paywall_oauth", "paywall_portals", "idempotency_records")
_PRAGMAS = (
    "PRAGMA temp_store = MEMORY; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
)
_MAX_CODES = 10_000
_BUSY_TIMEOUT = 5.0
# A temporary table is kept in memory, outside the file, and takes part in transactions.
_CODES_TABLE = "CREATE TEMP TABLE IF NOT EXISTS codes (mail_id TEXT PRIMARY KEY, token TEXT NOT NULL);"

Row: TypeAlias = sqlite3.Row


class DatabaseCopy:
    """A copy of a database in memory, made by `Database.copy`.

    Args:
        connection: holds the tables.
        codes: the rows of the temporary table.

    Attributes:
        size: bytes of memory that it takes.
    """

    def __init__(self, connection: sqlite3.Connection, codes: list[tuple[str, str]]) -> None:
        self.connection = connection
        self.codes = codes
        pages, page_size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        self.size: int = pages * page_size

    def close(self) -> None:
        """Give the memory back. Not left to the garbage collector: in a cycle it may finalize the connection first."""
        self.connection.close()


class Database:
    """The sandbox's SQLite database.

    It is only used from the server's event loop, so requests never interleave inside a transaction.

    Args:
        path: the file, created when it is missing; `:memory:` for none.

    Raises:
        OSError: the file can't be created or written, or another running sandbox uses it.
        sqlite3.Error: the file is not a database.
    """

    def __init__(self, path: str = ":memory:") -> None:
        self.path = path
        self.lock: DatabaseLock | None = None
        """Keeps other sandboxes from using the file; None in memory."""
        if path not in _IN_MEMORY:
            _restrict_to_owner(path)
            self.lock = DatabaseLock(path)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        except BaseException:
            self._release()
            raise
        self._connection.row_factory = sqlite3.Row
        try:
            # synchronous = NORMAL loses nothing when the process dies; a power failure may lose the last commits.
            self._connection.executescript(_PRAGMAS)
            self._delete_plain_secrets()
            self._add_missing_columns()
            self._connection.executescript(f"{_schema()}{_CODES_TABLE} PRAGMA user_version = {_SCHEMA_VERSION};")
        except BaseException:
            self.close()
            raise

    def _release(self) -> None:
        if self.lock is not None:
            self.lock.release()

    def _delete_plain_secrets(self) -> None:
        """Drop the tables of an older file that held secrets in plain text; all of their rows were short-lived."""
        old = self.value("PRAGMA user_version") < _SCHEMA_VERSION
        if old and self.value("SELECT count(*) FROM sqlite_master WHERE name = 'merchants'"):
            self._connection.execute("PRAGMA foreign_keys = OFF")
            for table in _TABLES_WITH_SECRETS:
                self._connection.execute(f"DROP TABLE IF EXISTS {table}")
            self._connection.executescript("VACUUM; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA foreign_keys = ON;")

    def _add_missing_columns(self) -> None:
        """Add the columns that the tables of an older file lack."""
        if not self.value("SELECT count(*) FROM sqlite_master"):
            return
        with closing(sqlite3.connect(":memory:")) as model:
            model.executescript(_schema())
            for (table,) in model.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                have = {row["name"] for row in self.all(f"PRAGMA table_info({table})")}
                for _, name, kind, needed, default, _ in model.execute(f"PRAGMA table_info({table})"):
                    if have and name not in have:
                        filled = default or (("0" if kind == "INTEGER" else "''") if needed else "NULL")
                        rule = "NOT NULL " if needed else ""
                        self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind} {rule}DEFAULT {filled}")

    def close(self) -> None:
        """Close the connection, and let others use the file."""
        self._connection.close()
        self._release()

    def keep_code(self, mail_id: str, token: str) -> None:
        """Keep a mailed code in memory, never in the file.

        Args:
            mail_id: the id of the mail.
            token: the code in plain text.
        """
        self._connection.execute("INSERT INTO temp.codes VALUES (?, ?)", (mail_id, token))
        self._connection.execute(
            "DELETE FROM temp.codes WHERE rowid <= (SELECT max(rowid) FROM temp.codes) - ?", (_MAX_CODES,)
        )

    @contextmanager
    def transaction(self) -> Generator[Database]:
        """Commit everything inside, or roll it back when an exception leaves the block."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a query, or None.

        Args:
            sql: the query.
            values: the values of its placeholders.
        """
        row: Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a query.

        Args:
            sql: the query.
            values: the values of its placeholders.
        """
        return self._connection.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None.

        Args:
            sql: the query.
            values: the values of its placeholders.
        """
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def run(self, sql: str, *values: Any) -> int:
        """Execute a statement; returns the number of changed rows.

        Args:
            sql: the statement.
            values: the values of its placeholders.
        """
        return self._connection.execute(sql, values).rowcount

    def insert(self, table: str, **values: Any) -> None:
        """Insert a row.

        Args:
            table: the table's name.
            values: the values by column. Names become SQL, so they must be constants of the code, never input.
        """
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))

    def update(self, table: str, row_id: str, **values: Any) -> None:
        """Change columns of a row.

        Args:
            table: the table's name.
            row_id: the row's `id`.
            values: the new values by column. Names become SQL, so they must be constants of the code, never input.
        """
        if values:
            changes = ", ".join(f"{name} = ?" for name in values)
            self._connection.execute(f"UPDATE {table} SET {changes} WHERE id = ?", (*values.values(), row_id))

    def next_number(self, name: str) -> int:
        """The next number of a sequence: 1, 2, 3, ... It is part of the transaction, so no number is skipped.

        Args:
            name: the sequence's name.
        """
        row = self._connection.execute(
            "INSERT INTO settings VALUES (?, '1') ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            (f"number:{name}",),
        ).fetchone()
        return int(row[0])

    @property
    def size(self) -> int:
        """Bytes of the database, without its journal."""
        return int(self.value("PRAGMA page_count") * self.value("PRAGMA page_size"))

    def copy(self) -> DatabaseCopy:
        """A copy of everything, in memory."""
        target = sqlite3.connect(":memory:")
        try:
            self._connection.backup(target)
            codes = self._connection.execute("SELECT mail_id, token FROM temp.codes").fetchall()
            return DatabaseCopy(target, [tuple(row) for row in codes])
        except BaseException:
            target.close()
            raise

    def replace(self, copy: DatabaseCopy) -> None:
        """Put a copy in the place of everything. Not inside a transaction.

        Args:
            copy: the copy, which stays.

        Raises:
            Problem: 409, another process writes to the file for seconds.
        """
        deadline = time.monotonic() + _BUSY_TIMEOUT

        def give_up(*_: int) -> None:  # SQLite itself waits without end for another process's lock
            if time.monotonic() > deadline:
                raise conflict("database_in_use", "another process writes to the database")

        copy.connection.backup(self._connection, progress=give_up, sleep=0.05)
        with self.transaction():
            self._connection.execute("DELETE FROM temp.codes")
            self._connection.executemany("INSERT INTO temp.codes VALUES (?, ?)", copy.codes)

    def reset(self) -> None:
        """Delete everything except the merchants and the clock."""
        self._connection.execute("PRAGMA defer_foreign_keys = ON")
        for table in self._tables():
            if table not in _KEPT_BY_RESET:
                self._connection.execute(f"DELETE FROM {table}")
        self._connection.execute("DELETE FROM settings WHERE name LIKE 'number:%'")
        self._connection.execute("DELETE FROM temp.codes")

    def _tables(self) -> Sequence[str]:
        return [row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def _restrict_to_owner(path: str) -> None:
    """Create the file with permissions for its owner only. SQLite gives a new `-wal` and `-shm` the same permissions.

    Raises:
        OSError: it can't be created or written.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError, PermissionError):  # PermissionError: another user owns the file
            os.chmod(name, 0o600)


def pick(row: Row, *names: str) -> dict[str, Any]:
    """Some columns of a row, by name.

    Args:
        row: the row.
        names: the columns.
    """
    return {name: row[name] for name in names}


@cache
def _schema() -> str:
    return resources.files("montra_sandbox").joinpath("schema.sql").read_text(encoding="utf-8")
