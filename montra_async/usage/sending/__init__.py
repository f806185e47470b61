"""Sending what waits in an outbox."""
