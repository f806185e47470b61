"""Every test of this folder runs twice."""

from __future__ import annotations

from typing import Any

import pytest

from montra_async import Montra

from .awaited import awaited


@pytest.fixture(params=[Montra, awaited], ids=["async", "sync"])
def connect(request: pytest.FixtureRequest) -> Any:
    """Makes clients of either kind."""
    return request.param
