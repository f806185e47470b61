"""Receiving webhooks."""

from .signature import verify_signature

__all__ = ["verify_signature"]
