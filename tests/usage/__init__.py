"""Tests of reporting usage durably."""
