"""An outbox in an SQLite file."""
