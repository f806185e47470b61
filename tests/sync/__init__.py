"""The synchronous facade: its surface, and the places where legacy code runs it."""
