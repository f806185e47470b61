"""Reporting usage durably."""
