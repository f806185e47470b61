"""The tables of an SQLite outbox.

`event` is the log of what was recorded: rows are added at its end and removed from its front, so that its numbers have
no gaps, and the number of rows is known from the first and the last one. It has no other index, which makes it fast.

`request` is what is sent. A row with `open = 1` is a sum that more events are added to; there is at most one for each
customer, meter and scale. A row with an `owner` is claimed. `sent_...` is when it may have been on the wire for the
first time; `ambiguous` says that an attempt may have been counted, so that it must not be sent for ever.

`parked` is what a person has to decide about; its rows keep the numbers that they had in `request`. `tally` holds
sums over both tables, which triggers maintain, because counting a million rows takes too long.
"""

from __future__ import annotations

import sqlite3

from ...core.errors import ConfigError
from ..events import MAX_COALESCED_UNITS

VERSION = 1
"""Version of the schema. A file with a newer one is refused."""

APPLICATION_ID = 0x4D6F5542
"""Marks the file as an outbox, in its header."""

SUMMABLE = f"(coalescable = 1 AND metadata IS NULL AND typeof(units) = 'integer' AND units <= {MAX_COALESCED_UNITS})"
"""Condition on a row of `event`: it may be added to others."""

MAX_SUM = 4 * 10**18
"""An open sum beyond this is closed. One step of sealing adds less than what is left up to 2**63."""

_TABLES = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE boot (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE);
CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, customer_id TEXT NOT NULL, meter_slug TEXT NOT NULL,
  units NOT NULL, scale INTEGER NOT NULL, metadata TEXT, recorded_at REAL NOT NULL, coalescable INTEGER NOT NULL,
  recorded_boot REAL NOT NULL, boot_number INTEGER NOT NULL);
CREATE TABLE request (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, customer_id TEXT NOT NULL, meter_slug TEXT NOT NULL,
  units NOT NULL, scale INTEGER NOT NULL, metadata TEXT, events INTEGER NOT NULL, recorded_at REAL NOT NULL,
  recorded_boot REAL NOT NULL, boot_number INTEGER NOT NULL, open INTEGER NOT NULL, due REAL NOT NULL, owner INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0, ambiguous INTEGER NOT NULL DEFAULT 0,
  sent_at REAL, sent_boot REAL, sent_boot_number INTEGER);
CREATE UNIQUE INDEX request_open ON request (customer_id, meter_slug, scale) WHERE open = 1;
CREATE INDEX request_open_due ON request (due) WHERE open = 1;
CREATE INDEX request_large ON request (id) WHERE open = 1 AND units > {MAX_SUM};
CREATE INDEX request_waiting ON request (due) WHERE open = 0 AND owner IS NULL;
CREATE INDEX request_claimed ON request (owner) WHERE owner IS NOT NULL;
CREATE INDEX request_recorded ON request (recorded_at);
CREATE TABLE parked (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, customer_id TEXT NOT NULL, meter_slug TEXT NOT NULL, units NOT NULL,
  scale INTEGER NOT NULL, metadata TEXT, events INTEGER NOT NULL, reason TEXT NOT NULL, status INTEGER,
  code TEXT NOT NULL, message TEXT NOT NULL, attempts INTEGER NOT NULL, recorded_at REAL NOT NULL,
  parked_at REAL NOT NULL, recorded_boot REAL NOT NULL, boot_number INTEGER NOT NULL, ambiguous INTEGER NOT NULL);
CREATE TABLE tally (requests INTEGER NOT NULL, events INTEGER NOT NULL, parked INTEGER NOT NULL);
INSERT INTO tally VALUES (0, 0, 0);
CREATE TRIGGER request_added AFTER INSERT ON request BEGIN
  UPDATE tally SET requests = requests + 1, events = events + NEW.events; END;
CREATE TRIGGER request_grown AFTER UPDATE OF events ON request BEGIN
  UPDATE tally SET events = events + NEW.events - OLD.events; END;
CREATE TRIGGER request_removed AFTER DELETE ON request BEGIN
  UPDATE tally SET requests = requests - 1, events = events - OLD.events; END;
CREATE TRIGGER parked_added AFTER INSERT ON parked BEGIN UPDATE tally SET parked = parked + 1; END;
CREATE TRIGGER parked_removed AFTER DELETE ON parked BEGIN UPDATE tally SET parked = parked - 1; END;
"""  # noqa: S608 - our own constants


def prepare(db: sqlite3.Connection, path: str, base_url: str) -> None:
    """Create the tables, or check that they are ours and for this API. Runs in a transaction.

    Args:
        db: the connection.
        path: the file, for errors.
        base_url: the API's URL.

    Raises:
        ConfigError: the file is no outbox, one of a newer version, or for another API.
        sqlite3.Error: the file can't be used.
    """
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise ConfigError(f"path: {path} is an SQLite database, but not an outbox; give another path")
        _create(db, base_url)
        return
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise ConfigError(
            f"path: {path} has version {version} of the schema, and this release of montra knows version {VERSION}; "
            "upgrade montra, or give another path"
        )
    found = db.execute("SELECT value FROM meta WHERE name = 'base_url'").fetchone()
    if found is None or found[0] != base_url:
        other = "unknown" if found is None else found[0]
        raise ConfigError(f"path: {path} has events for {other}, not for {base_url}; give each API a file of its own")


def _create(db: sqlite3.Connection, base_url: str) -> None:
    statement = ""
    for line in _TABLES.splitlines():  # executescript would commit
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("INSERT INTO meta VALUES ('base_url', ?), ('owner', 0)", (base_url,))


def next_owner(db: sqlite3.Connection) -> int:
    """The next number of an owner. Runs in a transaction.

    Args:
        db: the connection.
    """
    db.execute("UPDATE meta SET value = value + 1 WHERE name = 'owner'")
    number: int = db.execute("SELECT value FROM meta WHERE name = 'owner'").fetchone()[0]
    return number


def boot_number(db: sqlite3.Connection, boot_id: str) -> int:
    """The number of a start of the machine; 0 when it is unknown. Runs in a transaction.

    Args:
        db: the connection.
        boot_id: identifies the start.
    """
    if not boot_id:
        return 0
    db.execute("INSERT INTO boot (id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM boot WHERE id = ?)", (boot_id, boot_id))
    number: int = db.execute("SELECT number FROM boot WHERE id = ?", (boot_id,)).fetchone()[0]
    return number


def bytes_in_use(db: sqlite3.Connection) -> int:
    """Bytes of the pages in use.

    Args:
        db: the connection.
    """
    pages: int = db.execute("PRAGMA page_count").fetchone()[0]
    return (pages - free_pages(db)) * page_size(db)


def is_larger(db: sqlite3.Connection, size: int) -> bool:
    """Whether more than so many bytes are in use. Mostly the size of the file tells, which takes half of the time.

    Args:
        db: the connection.
        size: number of bytes.
    """
    pages: int = db.execute("PRAGMA page_count").fetchone()[0]
    return pages * page_size(db) > size and bytes_in_use(db) > size


def free_pages(db: sqlite3.Connection) -> int:
    """Number of pages that are not in use.

    Args:
        db: the connection.
    """
    free: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    return free


def page_size(db: sqlite3.Connection) -> int:
    """Bytes of a page.

    Args:
        db: the connection.
    """
    size: int = db.execute("PRAGMA page_size").fetchone()[0]
    return size
