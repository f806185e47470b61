"""The synchronous facade of `montra_async`."""
