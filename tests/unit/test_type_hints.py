"""`typing.get_type_hints` works on every public callable: frameworks and documentation tools call it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

MODULES = (
    *("montra_async", "montra_async.paywall", "montra_async.webhooks"),
    *("montra_sync", "montra_sync.paywall", "montra_sync.webhooks"),
)

NOT_YET = {
    *(f"montra_async.paywall.{client}.__init__" for client in ("ApiGatewayClient", "AuthClient", "BillingClient")),
    *(f"montra_sync.paywall.{client}.__init__" for client in ("ApiGatewayClient", "AuthClient", "BillingClient")),
    *(f"montra_async.paywall.{client}.with_options" for client in ("ApiGatewayClient", "AuthClient", "BillingClient")),
    *("montra_async.paywall.ApiGatewayClient.for_user", "montra_async.paywall.BillingClient.for_user"),
    "montra_async.paywall.AuthClient.with_storage",
}
"""Those whose annotations name `Unpack` or `Self` of typing_extensions, which is not installed with the SDK."""


def _function(member: Any) -> Any:
    """The function of a method, property, static or class method; anything else as it is."""
    if isinstance(member, property):
        return member.fget
    return member.__func__ if isinstance(member, (staticmethod, classmethod)) else member


def _parameter(function: Any, name: str) -> Any:
    marks = [pytest.mark.xfail(raises=NameError)] if name in NOT_YET else []
    return pytest.param(function, id=name, marks=marks)


def _callables() -> Iterator[Any]:
    for name in MODULES:
        module = import_module(name)
        for public in module.__all__:
            found = getattr(module, public)
            if inspect.isfunction(found):
                yield _parameter(found, f"{name}.{public}")
            for member in dir(found) if inspect.isclass(found) else ():
                function = _function(inspect.getattr_static(found, member))
                if inspect.isfunction(function) and (member == "__init__" or not member.startswith("_")):
                    yield _parameter(function, f"{name}.{public}.{member}")


@pytest.mark.parametrize("function", list(_callables()))
def test_type_hints_can_be_resolved(function: Any) -> None:
    hints = typing.get_type_hints(function)
    named = {name for name, one in inspect.signature(function).parameters.items() if one.annotation is not one.empty}
    assert set(hints) >= named
