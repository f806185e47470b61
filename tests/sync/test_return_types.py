"""No asynchronous object reaches a user of the facade: every type that a public member returns is walked."""

from __future__ import annotations

import collections.abc
import contextlib
import copy
import inspect
import types
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Any

import aiohttp
import pytest

import montra_async.paywall
import montra_async.webhooks
import montra_sync
import montra_sync.paywall
from montra_sync.facade import SyncOnly

FACADES = [
    found
    for module in (montra_sync, montra_sync.paywall)
    for found in (getattr(module, name) for name in module.__all__)
    if inspect.isclass(found) and found.__module__.startswith("montra_sync.")
]
BEHIND = {montra_async.Montra, *(getattr(montra_async.paywall, one.__name__, montra_async.Montra) for one in FACADES)}
ASYNC_TYPES = (
    *(collections.abc.Awaitable, collections.abc.Coroutine, collections.abc.AsyncIterable),
    *(collections.abc.AsyncIterator, collections.abc.AsyncGenerator, contextlib.AbstractAsyncContextManager),
)
ASYNC_METHODS = ("__await__", "__aiter__", "__anext__", "__aenter__", "__aexit__")
ASYNC_LIBRARIES = ("asyncio", "aiohttp", "anyio")


class Walk:
    """Follows types to everything that a user can get hold of."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()
        self.leaks: list[str] = []

    def type(self, kind: Any, path: str) -> None:
        """Look at a type and at the types that it is made of."""
        origin = typing.get_origin(kind)
        if origin is typing.Literal:
            return
        for one in typing.get_args(kind):
            if isinstance(one, list):
                for parameter in one:
                    self.type(parameter, path)
            else:
                self.type(one, path)
        found = origin or kind
        if inspect.isclass(found) and found not in (typing.Union, types.UnionType) and found not in self.seen:
            self.seen.add(found)
            self.cls(found, path)

    def cls(self, kind: type, path: str) -> None:
        """Look at a class, and at what its objects give."""
        library = kind.__module__.partition(".")[0]
        if kind in BEHIND or kind in ASYNC_TYPES or library in ASYNC_LIBRARIES:
            self.leaks.append(f"{path}: {kind.__qualname__}")
            return
        hints = vars(SyncOnly)  # which raise, and say that `with` is meant
        if leaking := [name for name in ASYNC_METHODS if getattr(kind, name, None) not in (None, hints.get(name))]:
            self.leaks.append(f"{path}: {kind.__qualname__}.{leaking[0]}")
        if not library.startswith(("montra_", "tests")):
            return
        for name, one in typing.get_type_hints(kind).items():
            if not name.startswith("_"):
                self.type(one, f"{path}.{name}")
        for name in dir(kind):
            if not name.startswith("_"):
                self.member(inspect.getattr_static(kind, name), f"{path}.{name}")

    def member(self, member: Any, path: str) -> None:
        """Look at what a method or property returns."""
        found = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
            self.leaks.append(f"{path}: {found.__qualname__} is a coroutine function")
        elif inspect.isfunction(found):
            returns = {"return": found.__annotations__.get("return")}
            only = types.FunctionType(found.__code__, found.__globals__)  # parameters may have what results may not
            only.__annotations__ = returns
            self.type(typing.get_type_hints(only, localns=vars(montra_async.webhooks))["return"], path)


@pytest.mark.parametrize("facade", FACADES, ids=lambda facade: facade.__name__)
def test_no_result_is_asynchronous(facade: type) -> None:
    walk = Walk()
    walk.cls(facade, facade.__name__)
    assert not walk.leaks
    assert len(walk.seen) > 2


class _Behind:
    async def read(self) -> bytes: ...


class _Leaks:
    stream: _Behind

    def __init__(self, given: _Behind) -> None: ...
    async def coroutine(self) -> int: ...
    def task(self) -> Awaitable[int]: ...
    def items(self) -> list[AsyncIterator[int]] | None: ...
    def function(self) -> Callable[[aiohttp.ClientSession], None]: ...
    def charge(self) -> Iterator[Annotated[montra_async.paywall.Charge, "x"]]: ...
    @property
    def manager(self) -> contextlib.AbstractAsyncContextManager[int]: ...
    @staticmethod
    def none() -> int: ...


def test_the_walk_finds_everything_asynchronous() -> None:
    walk = Walk()
    walk.cls(_Leaks, "Leaks")
    assert {leak.partition(":")[0] for leak in walk.leaks} == {
        *("Leaks.stream.read", "Leaks.coroutine", "Leaks.task", "Leaks.items", "Leaks.function", "Leaks.charge"),
        "Leaks.manager",
    }


MADE = [
    *(montra_sync.Montra, montra_sync.paywall.AuthClient, montra_sync.paywall.BillingClient),
    montra_sync.paywall.ApiGatewayClient,
]


@pytest.mark.parametrize("facade", MADE)
def test_no_constructor_takes_what_belongs_to_an_event_loop(facade: type) -> None:
    """A session or a connector is made on a running event loop; users of the facade have none."""
    parameters = inspect.signature(facade).parameters
    assert "session" not in parameters
    assert "session:" not in (facade.__doc__ or "")
    if "connector" in parameters:
        assert parameters["connector"].annotation == "Callable[[], aiohttp.BaseConnector] | None"
    with pytest.raises(TypeError, match="session"):
        montra_sync.Montra("sk_test_x", session=None)  # type: ignore[call-arg]


@pytest.mark.parametrize("facade", MADE, ids=lambda one: one.__name__)
def test_constructors_spell_out_their_parameters(facade: type) -> None:
    kinds = {one.kind for one in inspect.signature(facade).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_a_copy_is_a_view() -> None:
    client = montra_sync.Montra("sk_test_x", "https://billing.example.com")
    view = copy.copy(client)
    assert type(view) is montra_sync.Montra
    assert repr(view) == repr(client)
