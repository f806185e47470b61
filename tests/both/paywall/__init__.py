"""The clients of the paywall service against the sandbox, async and sync."""
