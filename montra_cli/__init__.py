"""The command `montra`."""
