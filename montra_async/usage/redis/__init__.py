"""An outbox in Redis."""
