"""Sessions survive failing storages, shared storages, invalid token responses and cancellations."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from montra_async.paywall import (
    AuthClient,
    AuthSession,
    BillingClient,
    FileSessionStorage,
    MemorySessionStorage,
    PaywallError,
)

from .paywall_server import PaywallServer, paywall_server


@pytest.fixture
async def server() -> AsyncIterator[PaywallServer]:
    async with paywall_server() as running:
        yield running


@pytest.fixture
async def auth(server: PaywallServer) -> AsyncIterator[AuthClient]:
    async with AuthClient("pw", server.url, max_attempts=1) as client:
        yield client


class FailingStorage:
    """A storage that fails a given number of times, like a database behind an unreliable network."""

    def __init__(self, session: AuthSession | None = None) -> None:
        self.kept: dict[str, Any] | None = None if session is None else session.to_dict()
        self.fails: dict[str, int] = {}
        self.done: list[str] = []

    async def load(self) -> dict[str, Any] | None:
        await self._record("load")
        return self.kept

    async def save(self, session: dict[str, Any]) -> None:
        await self._record("save")
        self.kept = json.loads(json.dumps(session))

    async def clear(self) -> None:
        await self._record("clear")
        self.kept = None

    async def _record(self, what: str) -> None:
        await asyncio.sleep(0)
        self.done.append(what)
        if self.fails.get(what, 0) > 0:
            self.fails[what] -= 1
            raise OSError(28, "No space left", self.kept)


async def test_new_tokens_survive_a_storage_that_fails(server: PaywallServer, auth: AuthClient) -> None:
    storage = FailingStorage(server.session("ada"))
    user = auth.with_storage(storage)
    storage.fails["save"] = 2
    fresh = await user.refresh()
    assert fresh is not None
    assert await user.get_session() == fresh  # the second failure
    again = await user.refresh()  # with the new token: the old one would be refused, and the session gone
    assert again is not None
    assert storage.kept is not None
    assert storage.kept["refresh_token"] == again.refresh_token
    assert server.count("refresh") == 2


async def test_new_tokens_survive_the_view_that_could_not_save_them(server: PaywallServer, auth: AuthClient) -> None:
    """Each request of a server has its own view. The next view loads the old token from the storage."""
    storage = FailingStorage(server.session("ada"))
    storage.fails["save"] = 1
    fresh = await auth.with_storage(storage).refresh()
    assert fresh is not None
    session = await auth.with_storage(storage).get_session()
    assert session == fresh
    assert await auth.with_storage(storage).refresh() is not None
    assert storage.kept is not None
    assert await auth.with_storage(FailingStorage()).get_session() is None
    assert server.count("refresh") == 2


async def test_an_unsaved_session_is_saved_at_the_next_use(server: PaywallServer, auth: AuthClient) -> None:
    storage = FailingStorage(server.session("ada"))
    user = auth.with_storage(storage)
    storage.fails["save"] = 1
    fresh = await user.refresh()
    assert await user.get_access_token() == fresh.access_token  # type: ignore[union-attr]
    assert storage.kept == fresh.to_dict()  # type: ignore[union-attr]
    assert len(auth._refreshes.unsaved) == 0


FAILURES: list[tuple[str, Callable[[AuthClient], Awaitable[Any]]]] = [
    ("load", lambda user: user.get_session()),
    ("load", lambda user: user.refresh()),
    ("load", lambda user: user.get_access_token()),
    ("load", lambda user: user.revoke_all_sessions()),
    ("save", lambda user: user.sign_in_with_email("ada@example.com", "x")),
    ("save", lambda user: user.sign_in_anonymously()),
]


@pytest.mark.parametrize(("what", "call"), FAILURES)
async def test_a_failing_storage_is_a_paywall_error(
    server: PaywallServer, auth: AuthClient, what: str, call: Callable[[AuthClient], Awaitable[Any]]
) -> None:
    storage = FailingStorage(server.session("ada"))
    storage.fails[what] = 9
    with pytest.raises(PaywallError) as caught:
        await call(auth.with_storage(storage))
    error = caught.value
    assert (error.code, error.call, error.__cause__, error.__context__) == ("storage_failed", None, None, None)
    assert f"could not {what} (OSError: No space left" in error.message
    assert "rt:ada" not in repr(vars(error)) + str(error)


async def test_sign_out_succeeds_when_the_storage_fails(
    server: PaywallServer, auth: AuthClient, caplog: pytest.LogCaptureFixture
) -> None:
    storage = FailingStorage(server.session("ada"))
    user = auth.with_storage(storage)
    await user.get_session()
    storage.fails["clear"] = 1
    with caplog.at_level(logging.WARNING, "montra"):
        await user.sign_out()
    assert "still in its storage" in caplog.text
    assert await user.get_session() is None
    assert storage.kept is None  # at the next use
    await auth.with_storage(_broken()).sign_out()


def _broken() -> FailingStorage:
    storage = FailingStorage()
    storage.fails = {"load": 9, "clear": 9}
    return storage


async def test_a_refused_old_token_does_not_clear_a_newer_session(server: PaywallServer, auth: AuthClient) -> None:
    """Another user signs in while the refresh of the previous session is in progress and then refused."""
    user = auth.with_storage(FailingStorage(server.session("ada")))
    server.tokens("ada")  # the one in the storage is worth nothing
    server.seconds["refresh"] = 0.1
    refreshing = asyncio.create_task(user.refresh())
    await asyncio.sleep(0.03)
    newer = await user.sign_in_with_email("bob@example.com", "x")
    assert await refreshing == newer
    assert await user.get_session() == newer
    assert user._state.storage.kept == newer.to_dict()  # type: ignore[attr-defined]


async def test_a_refresh_that_completes_after_sign_out_is_discarded(server: PaywallServer, auth: AuthClient) -> None:
    user = auth.with_storage(FailingStorage(server.session("ada")))
    server.seconds["refresh"] = 0.1
    refreshing = asyncio.create_task(user.refresh())
    await asyncio.sleep(0.03)
    await user.sign_out()
    assert await refreshing is None
    assert await user.get_session() is None
    assert user._state.storage.kept is None  # type: ignore[attr-defined]


async def test_another_process_saves_shortly_after_our_refusal(server: PaywallServer, auth: AuthClient) -> None:
    storage = FailingStorage(server.session("ada"))
    user = auth.with_storage(storage)
    await user.get_session()
    newer = server.session("ada")  # the other process was quicker, and is about to save

    async def other_process() -> None:
        while "POST refresh" not in server.asked:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.06)
        storage.kept = newer.to_dict()

    saving = asyncio.create_task(other_process())
    assert await user.refresh() == newer
    await saving
    assert "clear" not in storage.done


async def test_a_refused_session_is_cleared(server: PaywallServer, auth: AuthClient) -> None:
    storage = FailingStorage(server.session("ada"))
    server.tokens("ada")
    assert await auth.with_storage(storage).refresh() is None
    assert storage.kept is None


async def test_a_refused_session_whose_storage_can_not_be_read(server: PaywallServer, auth: AuthClient) -> None:
    storage = FailingStorage(server.session("ada"))
    user = auth.with_storage(storage)
    await user.get_session()
    newer = server.session("ada")
    storage.fails["load"] = 2
    assert await user.refresh() is None
    storage.kept = newer.to_dict()  # whatever it has was not touched, and is read when it can be
    assert await user.get_session() == newer


async def test_an_older_session_in_the_storage_is_replaced(server: PaywallServer, auth: AuthClient) -> None:
    old = server.session("ada", ends_in=100)
    storage = FailingStorage(server.session("ada"))
    user = auth.with_storage(storage)
    await user.get_session()
    storage.kept = old.to_dict()
    assert await user.refresh() is not None
    assert storage.kept["refresh_token"] == "rt:ada:2"


async def test_requests_of_one_browser_share_one_refresh(server: PaywallServer, auth: AuthClient) -> None:
    """Each request has its own view and storage with the same old tokens, which can be used once."""
    old = server.session("ada", ends_in=1)
    storages = [FailingStorage(old) for _ in range(5)]
    server.seconds["refresh"] = 0.05
    found = await asyncio.gather(*(auth.with_storage(one).get_access_token() for one in storages))
    assert (set(found), server.count("refresh")) == ({"at:ada:1"}, 1)
    assert all(one.kept is not None and one.kept["refresh_token"] == "rt:ada:1" for one in storages)


async def test_views_with_other_options_share_the_session(server: PaywallServer, auth: AuthClient) -> None:
    view = auth.with_options(timeout=5)
    session = await view.sign_in_with_email("ada@example.com", "x")
    assert await auth.get_session() == session
    await auth.refresh()
    assert await view.get_session() == await auth.get_session() != session


class Empty(dict[str, Any]):
    """A storage that is falsy while it is empty."""

    def load(self) -> dict[str, Any] | None:
        return dict(self) or None

    def save(self, session: dict[str, Any]) -> None:
        self.update(session)


async def test_an_empty_storage_is_a_storage(server: PaywallServer, auth: AuthClient) -> None:
    storage = Empty()
    await auth.with_storage(storage).sign_in_with_email("ada@example.com", "x")
    assert storage["access_token"]


@pytest.mark.parametrize("steps", range(0, 60, 4))
async def test_a_cancelled_refresh_does_not_lose_the_session(
    server: PaywallServer, auth: AuthClient, steps: int
) -> None:
    storage = FailingStorage(server.session("ada"))
    user = auth.with_storage(storage)
    refreshing = asyncio.create_task(user.refresh())
    for _ in range(steps):
        await asyncio.sleep(0)
    refreshing.cancel()
    await asyncio.wait([refreshing])
    assert await user.refresh() is not None
    assert storage.kept is not None
    assert storage.kept["access_token"] == await user.get_access_token()
    async with BillingClient("pw", server.url) as billing:
        assert await billing.for_user(auth=user).get_balances()


# Invalid responses

TIMES: list[Any] = [
    10**17,
    10**300,
    -1,
    -(10**300),
    True,
    "3600",
    [],
    {},
    0.5,
    1e300,
    253402300800,
]


@pytest.mark.parametrize("lasts", TIMES, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    "ends", [None, 10**300, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "x" * 99, {}]
)
async def test_invalid_expiry_in_token_responses(lasts: Any, ends: Any) -> None:
    """A sign-in gives a usable session or a `PaywallError`. Refreshed tokens are never lost."""
    told = {"access_token": "at_secret", "refresh_token": "rt_secret", "expires_in": lasts, "expires_at": ends}

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.json_response(told)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AuthClient("pw", f"http://127.0.0.1:{runner.addresses[0][1]}") as auth:
        [found] = await asyncio.gather(auth.sign_in_with_email("a@example.com", "x"), return_exceptions=True)
        session: Any = found
        if isinstance(found, PaywallError):
            assert found.code == "invalid_response"
            assert "secret" not in str(found) + repr(vars(found)) + repr(pickle.dumps(found))
            await auth._store_session(PaywallServer().session("ada"))
            session = await auth.refresh()
        assert session.access_token == "at_secret"
        assert await auth.get_access_token() == "at_secret"
    await runner.cleanup()


@pytest.mark.parametrize(
    "body",
    [
        b'{"access_token": "at_secret", "refresh_token": "rt_se',
        b'{"data": {"access_token": "at_secret"}}',
        b'{"tokens": ["at_secret", "rt_secret"], "expires_in": 1}',
        b'{"access_token": "at_secret\\r\\nX-A: b", "refresh_token": "rt_secret", "expires_in": 1}',
        b'{"access_token": "at_secret", "refresh_token": 5, "expires_in": 1}',
        b'["at_secret"]',
        b"at_secret",
    ],
)
async def test_unreadable_token_responses_show_no_token(body: bytes) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AuthClient("pw", f"http://127.0.0.1:{runner.addresses[0][1]}") as auth:
        await auth._store_session(PaywallServer().session("ada"))
        for call in (auth.sign_in_with_email("a@example.com", "x"), auth.verify_otp("a@b.c", "x"), auth.refresh()):
            with pytest.raises(PaywallError) as caught:
                await call
            assert caught.value.code == "invalid_response"
            assert "_se" not in str(caught.value) + repr(vars(caught.value)) + repr(pickle.dumps(caught.value))
    await runner.cleanup()


# Files


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\xff\xfe",
        b"{}" + b" " * 2_000_000,
        b'{"access_token": "a b", "refresh_token": "r", "expires_at": 1}',
        b'{"access_token": "a", "refresh_token": "r", "expires_at": 1e999}',
        b'{"access_token": "a", "refresh_token": "r", "expires_at": ' + b"9" * 5_000 + b"}",
        b'{"access_token": "a", "refresh_token": "r", "expires_at": "9999-12-31T23:59:59-14:00"}',
        b'{"access_token": "a", "refresh_token": "", "expires_at": 1}',
        b"null",
    ],
    ids=lambda content: repr(content[-20:]),
)
async def test_any_content_of_the_file(auth: AuthClient, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session.json"
    path.write_bytes(content)
    assert await auth.with_storage(FileSessionStorage(path)).get_session() is None


async def test_a_number_with_a_fraction_can_be_stored(server: PaywallServer, auth: AuthClient, tmp_path: Path) -> None:
    from decimal import Decimal

    from montra_async.paywall import AuthUser

    user = auth.with_storage(FileSessionStorage(tmp_path / "s"))
    odd = AuthUser.from_dict({"id": "ada", "score": Decimal("0.5"), "more": [{"x": Decimal("1.5")}]})
    now = datetime.now(timezone.utc)
    await user._store_session(
        AuthSession(access_token="a", refresh_token="r", expires_at=now + timedelta(hours=1), user=odd)
    )
    session = await auth.with_storage(FileSessionStorage(tmp_path / "s")).get_session()
    assert session is not None
    assert session.user is not None
    assert session.user.extra == {"score": 0.5, "more": [{"x": 1.5}]}


async def test_representations_show_no_token(server: PaywallServer, auth: AuthClient) -> None:
    user = auth.with_storage(MemorySessionStorage())
    await user.sign_in_with_email("ada@example.com", "x")
    tokens = await user._token_provider()
    async with BillingClient("pw", server.url) as billing:
        view = billing.for_user(auth=user)
        await view.get_balances()
        await view.get_user()
        things = [user, view, tokens, user._state, user._refreshes, user._state.storage, view._caches, view._auth]
        things += [await view._principal(), *map(vars, (user, view, tokens, user._state.storage, view._caches.users))]
        shown = repr(things) + str(things)
    assert "at:ada" not in shown
    assert "rt:ada" not in shown


async def test_an_invalid_body_shows_no_password(server: PaywallServer) -> None:
    """`user_meta` can't be written as JSON. No frame of the error holds the password."""
    import traceback

    async with AuthClient("pw", server.url, user_meta={"a": {1, 2}}) as auth:
        with pytest.raises(PaywallError, match="user_meta") as caught:
            await auth.sign_in_with_email("a@example.com", "hunter2")
        with pytest.raises(PaywallError, match="surrogate") as half:
            await auth.update_password("hunter2\ud800")
    for error in (caught.value, half.value):
        context: BaseException | None = error
        while context is not None:
            shown = traceback.TracebackException.from_exception(context, capture_locals=True)
            ours = [frame for frame in shown.stack if "montra_async" in frame.filename]
            assert "hunter2" not in repr([frame.locals for frame in ours])
            context = context.__context__
    assert server.asked == []


async def test_processes_that_share_a_file_keep_the_session(server: PaywallServer, tmp_path: Path) -> None:
    """Separate clients, as in several processes. All end with the session of one refresh."""
    path = tmp_path / "session.json"
    clients = [AuthClient("pw", server.url, storage=FileSessionStorage(path)) for _ in range(6)]
    await clients[0]._store_session(server.session("ada"))
    server.seconds["refresh"] = 0.02
    for _ in range(5):
        found = await asyncio.gather(*(client.refresh() for client in clients))
        assert None not in found
        stored = json.loads(path.read_text())
        assert stored["refresh_token"] == f"rt:ada:{server._good['ada']}"
    for client in clients:
        await client.aclose()
