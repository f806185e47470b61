"""Fixtures for all tests: a sandbox that checks the contract, and clients with the settings that users have."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from montra_async import Montra
from montra_sandbox import Sandbox

from .contract_watch import WatchedSandbox
from .processes import running_sandbox

settings.register_profile("few", deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
settings.register_profile("quick", deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
settings.register_profile("thorough", deadline=None, max_examples=1000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was collected: with it, each `gc.collect()` of a test takes a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    montra = ("MONTRA_API_KEY", "MONTRA_BASE_URL", "MONTRA_SANDBOX", "MONTRA_WEBHOOK_SECRET")
    for name in (*montra, "PAYWALL_ID", "PAYWALL_ORIGIN", "MONETIZE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def sandbox() -> AsyncIterator[WatchedSandbox]:
    """Requests and responses must be as the contract says."""
    async with WatchedSandbox(api_keys=("sk_test_sandbox", "sk_test_other")) as running:
        yield running
        assert running.watch.problems == []


async def struck(sandbox: Sandbox) -> None:
    """Wait until the waiting fault has met its request: then the call is surely under way."""
    while sandbox.faults():  # noqa: ASYNC110 - the sandbox has no event for it
        await asyncio.sleep(0.005)


@pytest.fixture
def connect() -> Any:
    """Makes clients; in `tests/both` of either kind."""
    return Montra


@pytest.fixture
async def montra(sandbox: Sandbox, connect: Any) -> AsyncIterator[Montra]:
    """A client of the first merchant."""
    async with connect(sandbox.api_key, sandbox.base_url) as client:
        yield client


@pytest.fixture
async def unwatched(sandbox: WatchedSandbox, connect: Any) -> AsyncIterator[Montra]:
    """The same for tests that break responses on purpose: only requests are held against the contract."""
    sandbox.watch.answers = False
    async with connect(sandbox.api_key, sandbox.base_url) as client:
        yield client


@pytest.fixture
async def other(sandbox: Sandbox, connect: Any) -> AsyncIterator[Montra]:
    """Another merchant."""
    async with connect(sandbox.api_keys[1], sandbox.base_url) as client:
        yield client


@pytest.fixture(scope="session")
def served() -> Iterator[str]:
    """The base URL of a running `python -m montra_sandbox`."""
    with running_sandbox() as base_url:
        yield base_url
