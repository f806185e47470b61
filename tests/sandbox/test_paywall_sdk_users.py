"""No user gets another user's data, whatever many users do on one client concurrently."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from montra_async import Timeout
from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient, MemorySessionStorage

from .paywall_server import PaywallServer, paywall_server

USERS = 4


def _storage_of(session: Any) -> MemorySessionStorage:
    storage = MemorySessionStorage()
    storage.save(session.to_dict())
    return storage


@pytest.mark.parametrize("slow", [0, 0.01])
async def test_views_that_are_created_for_each_request_and_freed(slow: float) -> None:
    """Sessions without a user, one request after the other: the memory address of a freed view is used again."""
    async with (
        paywall_server() as server,
        BillingClient("pw", server.url) as billing,
        AuthClient("pw", server.url) as auth,
    ):
        server.seconds["user-state"] = slow
        sessions = [server.session(f"u{i}", named=False) for i in range(50)]
        for i, session in enumerate(sessions):
            user = await billing.for_user(auth=auth.with_storage(_storage_of(session))).get_user()
            assert user.purchases[0].id == f"u{i}"
        found = await asyncio.gather(
            *(billing.for_user(auth=auth.with_storage(_storage_of(one))).get_balances() for one in sessions)
        )
        assert [one[0].type for one in found] == [f"u{i}" for i in range(50)]


LONG = Timeout(total=120, connect=120)
"""On a busy machine, a burst of new connections can take longer than the 5 s of the default."""

USER = st.integers(0, USERS - 1)
STEP = st.one_of(
    st.tuples(st.just("ask"), USER, st.sampled_from(["view", "fresh view", "unnamed", "email", "shared"])),
    st.tuples(st.just("bootstrap"), USER, st.sampled_from(["", "de", "fr"])),
    st.tuples(st.just("checkout"), USER, st.integers(1, 2)),
    st.tuples(st.sampled_from(["refresh", "sign out", "sign in as", "charge", "free"]), USER, USER),
)


class Users:
    """One client, and users that make random calls through views of it."""

    def __init__(self, server: PaywallServer, billing: BillingClient, auth: AuthClient) -> None:
        self.server, self.billing, self.auth = server, billing, auth
        self.gateway = ApiGatewayClient(billing=billing)
        self.auths = [auth.with_storage(MemorySessionStorage()) for _ in range(USERS)]
        self.shared = auth.with_storage(MemorySessionStorage())
        self.shared_view = billing.for_user(auth=self.shared)
        self.wrong: list[str] = []

    async def step(self, step: tuple[str, int, Any]) -> None:
        what, i, detail = step
        if what == "ask":
            await self.ask(i, detail)
        elif what == "bootstrap":
            view = self.billing.for_user(email=f"u{i}@example.com")
            found = await view.bootstrap(locale=detail or None)
            assert found.user is not None
            self.check(f"u{i}/{detail} u{i}", f"{found.settings.name} {found.user.purchases[0].id}")
        elif what == "checkout":
            view = self.billing.for_user(email=f"u{i}@example.com")
            self.check(f"https://pay/u{i}@example.com/{detail}", (await view.create_checkout(detail)).url)
        else:
            await self.change(what, i, detail)

    async def ask(self, i: int, how: str) -> None:
        if how == "email":
            view = self.billing.for_user(email=f"u{i}@example.com")
        elif how == "shared":
            return await self.ask_shared()
        elif how == "view":
            view = self.billing.for_user(auth=self.auths[i])
            if await self.auths[i].get_session() is None:
                return None
        elif how == "unnamed":  # one request after the other: a view is freed, and the next may have its address
            for user in range(i, i + 6):
                await self.ask_view(user % USERS, self.fresh_view(user % USERS, named=False))
            return None
        else:
            view = self.fresh_view(i, named=True)
        return await self.ask_view(i, view)

    def fresh_view(self, i: int, *, named: bool) -> BillingClient:
        session = self.server.session(f"u{i}", named=named)
        return self.billing.for_user(auth=self.auth.with_storage(_storage_of(session)))

    async def ask_view(self, i: int, view: BillingClient) -> None:
        user = await view.get_user()
        self.check(f"u{i}", user.purchases[0].id)
        for balance in await view.get_balances():
            self.check(f"u{i}", balance.type)

    async def ask_shared(self) -> None:
        """The response belongs to the user that is signed in when the request is made."""
        session = await self.shared.get_session()
        if session is not None and session.user is not None:
            self.check(session.user.id, (await self.shared_view.get_user()).purchases[0].id)

    async def change(self, what: str, i: int, other: int) -> None:
        auth = self.auths[i]
        if what == "refresh":
            await auth.refresh()
        elif what == "sign out":
            await auth.sign_out()
        elif what == "sign in as":
            await auth.sign_in_with_email(f"u{i}@example.com", "password")
            await self.shared.sign_in_with_email(f"u{other}@example.com", "password")
        elif what == "charge":
            self.billing._record_charge(f"u{i}", f"u{i}")
        else:
            gc.collect()

    def check(self, expected: str, found: str) -> None:
        if found != expected:
            self.wrong.append(f"{expected} was told of {found}")


def _mixed(rounds: list[list[tuple[str, int, Any]]], pause: float) -> list[str]:
    async def play() -> list[str]:
        async with (
            paywall_server() as server,
            BillingClient("pw", server.url, max_attempts=1, timeout=LONG) as billing,
            AuthClient("pw", server.url, max_attempts=1, timeout=LONG) as auth,
        ):
            server.strict = False  # other requests of the same user make tokens old at any time
            server.seconds = {"user-state": pause, "balances": pause / 2, "refresh": pause}
            users = Users(server, billing, auth)
            for steps in rounds:
                await asyncio.gather(*(users.step(step) for step in steps))
            return users.wrong

    return asyncio.run(play())


ROUNDS = st.lists(st.lists(STEP, min_size=1, max_size=12), min_size=1, max_size=5)


@given(ROUNDS, st.sampled_from([0, 0.003]))
@settings(max_examples=10)
def test_each_response_belongs_to_its_user(rounds: list[list[tuple[str, int, Any]]], pause: float) -> None:
    assert _mixed(rounds, pause) == []


@pytest.mark.hostile
@given(ROUNDS, st.sampled_from([0, 0.003]))
@settings(max_examples=600)
def test_each_response_belongs_to_its_user_for_long(rounds: list[list[tuple[str, int, Any]]], pause: float) -> None:
    assert _mixed(rounds, pause) == []


async def test_a_session_that_claims_another_user_gets_no_data() -> None:
    """The user in a storage may come from a cookie. The token determines the response."""
    async with (
        paywall_server() as server,
        BillingClient("pw", server.url) as billing,
        AuthClient("pw", server.url) as auth,
    ):
        ada = billing.for_user(auth=auth.with_storage(_storage_of(server.session("ada"))))
        assert (await ada.get_user()).purchases[0].id == "ada"
        assert (await ada.get_balances())[0].type == "ada"
        storage = MemorySessionStorage()
        storage.save({**server.session("eve").to_dict(), "user": {"id": "ada", "email": "ada@example.com"}})
        eve = billing.for_user(auth=auth.with_storage(storage))
        assert (await eve.get_user()).purchases[0].id == "eve"
        assert (await eve.get_balances())[0].type == "eve"


async def test_an_identity_that_changes_during_a_call() -> None:
    async with paywall_server() as server, BillingClient("pw", server.url) as billing:
        server.seconds["user-state"] = 0.05
        view = billing.for_user(email="ada@example.com")
        asking = asyncio.create_task(view.get_user())
        await asyncio.sleep(0)
        view.set_identity(email="bob@example.com")
        assert (await asking).purchases[0].id == "ada"
        assert (await view.get_user()).purchases[0].id == "bob"
        assert (await billing.for_user(email="ada@example.com").get_user()).purchases[0].id == "ada"


async def test_another_user_signs_in_during_a_call() -> None:
    """The old session's token is refused meanwhile. The new user's token is not used instead."""
    async with (
        paywall_server() as server,
        BillingClient("pw", server.url) as billing,
        AuthClient("pw", server.url) as auth,
    ):
        await auth.sign_in_with_email("ada@example.com", "x")
        server.tokens("ada")  # the one that was given is worth nothing now
        server.seconds["user-state"] = 0.05
        asking = asyncio.create_task(billing.for_user(auth=auth).get_user())
        await asyncio.sleep(0.02)
        await auth.sign_in_with_email("bob@example.com", "x")
        with pytest.raises(Exception, match="token_expired"):
            await asking
        assert (await billing.for_user(auth=auth).get_user()).purchases[0].id == "bob"


async def test_own_headers_are_part_of_the_cache_key() -> None:
    async with paywall_server() as server, BillingClient("pw", server.url) as billing:
        names = [
            (await billing.with_options(headers={"Accept-Language": one}).bootstrap()).settings.name
            for one in ("de", "fr")
        ]
        assert names == ["/de", "/fr"]


async def test_caches_and_flights_are_limited() -> None:
    async with paywall_server() as server, BillingClient("pw", server.url) as billing:
        for kept in (billing._caches.users, billing._caches.bootstraps):
            kept._max_entries = 20
        for i in range(60):
            view = billing.for_user(email=f"u{i}@example.com")
            await view.get_user()
            await view.bootstrap()
        assert (len(billing._caches.users), len(billing._caches.bootstraps)) == (20, 20)
        assert billing._caches.flights._in_progress == {}
        assert billing._caches.flights._tasks == set()


async def test_state_without_a_user() -> None:
    async with paywall_server() as server, BillingClient("pw", server.url) as billing:
        with pytest.raises(Exception, match="identity_required"):
            await billing.get_user()
        assert not (await billing.for_user(user_id="ada").get_user()).purchases
        async with AuthClient("pw", server.url) as auth:
            assert not (await billing.for_user(auth=auth).get_user()).purchases
        assert server.asked == []
