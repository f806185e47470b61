"""Integrations for synchronous web frameworks, one file each. The others are in `montra_async.frameworks`."""
