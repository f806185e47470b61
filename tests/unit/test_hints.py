"""Where Python's own error would mislead, ours says what to do."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from typing import Any

import pytest

import montra_sync
import montra_sync.access
import montra_sync.paywall
import montra_sync.usage
from montra_async import Montra, paywall
from montra_async.access import Access
from montra_async.core.hints import missing_extra
from montra_async.usage import UsageReporter

KEY = "sk_test_x"
ASYNC = [
    Montra(KEY),
    paywall.AuthClient("pw", "https://pay.example.com"),
    paywall.BillingClient("pw", "https://pay.example.com", KEY),
    paywall.ApiGatewayClient("pw", "https://pay.example.com"),
]
SYNC = [
    montra_sync.Montra(KEY),
    montra_sync.paywall.AuthClient("pw", "https://pay.example.com"),
    montra_sync.paywall.BillingClient("pw", "https://pay.example.com", KEY),
    montra_sync.paywall.ApiGatewayClient("pw", "https://pay.example.com"),
]


@pytest.mark.parametrize("client", ASYNC, ids=lambda client: type(client).__name__)
def test_with_on_an_asynchronous_client(client: Any) -> None:
    module = "" if type(client) is Montra else ".paywall"
    name = f"{module}.{type(client).__name__}".lstrip(".")
    words = f"^montra_async.{name} is asynchronous: write `async with`, or use montra_sync.{name} in synchronous code$"
    with pytest.raises(TypeError, match=words), client:
        pass
    assert not isinstance(client, AbstractContextManager)
    with pytest.raises(TypeError, match=words), ExitStack() as stack:
        stack.enter_context(client)


@pytest.mark.parametrize("client", SYNC, ids=lambda client: type(client).__name__)
async def test_async_with_on_a_synchronous_client(client: Any) -> None:
    module = "" if type(client) is montra_sync.Montra else ".paywall"
    name = f"{module}.{type(client).__name__}".lstrip(".")
    words = f"^montra_sync.{name} is synchronous: write `with`, or use montra_async.{name} in asynchronous code$"
    with pytest.raises(TypeError, match=words):
        async with client:
            pass
    assert not isinstance(client, AbstractAsyncContextManager)
    async with AsyncExitStack() as stack:
        with pytest.raises(TypeError, match=words):
            await stack.enter_async_context(client)


def test_the_other_objects_have_the_hints_too() -> None:
    for asynchronous in (UsageReporter, Access, paywall.Charge, paywall.GatewayResponse):
        with pytest.raises(TypeError, match=f"{asynchronous.__name__} is asynchronous"), object.__new__(asynchronous):
            pass  # type: ignore[unreachable]
    for synchronous in (montra_sync.usage.UsageReporter, montra_sync.access.Access, montra_sync.access.Hold):
        with pytest.raises(TypeError, match=f"{synchronous.__name__} is synchronous"):
            untyped: Any = object.__new__(synchronous)
            untyped.__aenter__()


def test_a_users_class_is_called_by_the_name_of_ours() -> None:
    class Mine(Montra):
        pass

    with pytest.raises(TypeError, match=r"montra_async\.Montra is asynchronous"), Mine(KEY):  # type: ignore[attr-defined]
        pass


CALLS = [
    (client, name)
    for client in ASYNC
    for name, method in inspect.getmembers(type(client), inspect.iscoroutinefunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize(("client", "name"), CALLS, ids=[f"{type(one).__name__}.{name}" for one, name in CALLS])
def test_a_call_that_was_not_awaited_warns_with_the_name_of_the_method(client: Any, name: str) -> None:
    method = getattr(client, name)
    required = [one for one in inspect.signature(method).parameters.values() if one.default is one.empty]
    given = {one.name: "x" for one in required if one.kind is one.KEYWORD_ONLY}
    positional = ["x" for one in required if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        method(*positional, **given)
    [warning] = [one for one in caught if issubclass(one.category, RuntimeWarning)]
    assert str(warning.message).endswith(f".{name}' was never awaited")


def test_a_missing_extra() -> None:
    error = missing_extra("This", "otel", ModuleNotFoundError("no", name="opentelemetry.sdk"))
    assert isinstance(error, ModuleNotFoundError)
    assert error.name == "opentelemetry"
    assert str(error) == (
        "This needs opentelemetry: pip install 'montra[otel]', or in a clone of the SDK: pip install -e '.[otel]'"
    )
    old = missing_extra("This", "flask", ImportError("cannot import name 'x'", name="flask"))
    assert (type(old), old.name) == (ImportError, "flask")
    assert str(old).startswith("This needs another version of flask (cannot import name 'x'): pip install")


def test_the_package_montra_has_both_clients_and_comes_lazily() -> None:
    code = (
        "import sys, montra, montra_async\n"
        "print(sorted({'aiohttp', 'attrs', 'asyncio'} & set(sys.modules)))\n"
        "assert set(montra.__all__) - {'AsyncMontra'} == set(montra_async.__all__)\n"
        "assert set(montra.__all__) <= set(dir(montra))\n"
        "from montra import *\n"
        "print(Montra.__module__, AsyncMontra.__module__, Customer is montra_async.Customer)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines() == ["[]", "montra_sync.client montra_async.client True"], run.stderr
