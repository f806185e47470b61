"""Integrations for web frameworks, one file each: the client's lifetime, guards for routes, and webhooks.

Flask and Django's synchronous views are in `montra_sync.frameworks`.
"""
