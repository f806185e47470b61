"""Every test of this folder runs twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import attrs
import pytest

import montra_sync.paywall
from montra_async import Montra, paywall

from ..contract_watch import ContractWatch, WatchedSandbox
from .awaited import awaited, awaited_kind
from .browser import Browser


@pytest.fixture(params=[Montra, awaited], ids=["async", "sync"])
def connect(request: pytest.FixtureRequest) -> Any:
    """Makes clients of either kind."""
    return request.param


@attrs.frozen
class Kinds:
    """The clients of the paywall service, of one kind."""

    BillingClient: Callable[..., Any]
    AuthClient: Callable[..., Any]
    ApiGatewayClient: Callable[..., Any]


@pytest.fixture(params=[paywall, montra_sync.paywall], ids=["async", "sync"])
def kinds(request: pytest.FixtureRequest) -> Kinds:
    names = [field.name for field in attrs.fields(Kinds)]
    made = [getattr(request.param, name) for name in names]
    return Kinds(*(made if request.param is paywall else map(awaited_kind, made)))


@attrs.frozen
class Service:
    """A paywall of the sandbox and what connects to it."""

    sandbox: WatchedSandbox
    kinds: Kinds

    @property
    def watch(self) -> ContractWatch:
        return self.sandbox.watch

    def billing(self, **settings: Any) -> Any:
        return self.kinds.BillingClient(self.sandbox.paywall_id, self.sandbox.url, self.sandbox.api_key, **settings)

    def auth(self, **settings: Any) -> Any:
        return self.kinds.AuthClient(self.sandbox.paywall_id, self.sandbox.url, **settings)

    def gateway(self, **settings: Any) -> Any:
        if "billing" not in settings:
            settings |= {"paywall_id": self.sandbox.paywall_id, "api_origin": self.sandbox.url}
        return self.kinds.ApiGatewayClient(**settings)

    def users(self) -> dict[str, dict[str, Any]]:
        """What the sandbox knows of its users, by address."""
        return {one["email"]: one for one in self.sandbox.paywall_users(self.sandbox.paywall_id)}

    def count(self, email: str, kind: str = "gpt-4") -> int:
        """A balance, as the sandbox has it."""
        return next((one["count"] for one in self.users()[email]["balances"] if one["type"] == kind), 0)


@pytest.fixture
def service(sandbox: WatchedSandbox, kinds: Kinds) -> Service:
    return Service(sandbox, kinds)


@pytest.fixture
def bad_day(service: Service) -> Service:
    """The same for tests that break responses on purpose: only requests are held against the contract."""
    service.watch.answers = False
    return service


@pytest.fixture
async def billing(service: Service) -> AsyncIterator[Any]:
    async with service.billing() as client:
        yield client


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(headers={"Accept": "text/html"}) as http:
        yield Browser(http)


@pytest.fixture
async def ada(billing: Any, browser: Browser) -> Any:
    """Somebody who pays 9.99 USD a month, which brings 100 tokens."""
    view = billing.for_user(email="ada@example.com", user_id="ada")
    page = await browser.pay((await view.create_checkout(101)).url)
    assert "Payment complete" in page.words
    return view
