"""Fixtures of the facade's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..processes import running_sandbox


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The base URL of a running `python -m montra_sandbox` that no other test uses."""
    with running_sandbox() as base_url:
        yield base_url
