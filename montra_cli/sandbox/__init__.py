"""Talks to the controls of a running sandbox, below `/_sandbox`."""
