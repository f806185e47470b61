"""A sandbox, and a browser or plain HTTP that looks at its dashboard."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from montra_sandbox import Sandbox

from .browsing import open_chromium
from .dashboard_http import DashboardHttp, open_dashboard

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """A running browser."""
    if CHROMIUM is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with open_chromium(CHROMIUM) as browser:
        yield browser


@pytest.fixture
async def dashboard(sandbox: Sandbox) -> AsyncIterator[DashboardHttp]:
    """Plain HTTP to an empty sandbox with two merchants."""
    async with open_dashboard(sandbox) as http:
        yield http
