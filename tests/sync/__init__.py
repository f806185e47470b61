"""Tests of the synchronous facade: its surface, and the environments in which it runs."""
