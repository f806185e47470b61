"""The SDK inside web frameworks: one file each, with the client's life, guards for routes, and a place for webhooks.

Flask and Django's synchronous views are in `montra_sync.frameworks`.
"""
