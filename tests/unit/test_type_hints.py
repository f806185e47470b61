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


def _function(member: Any) -> Any:
    """The function of a method, property, static or class method; anything else as it is."""
    if isinstance(member, property):
        return member.fget
    return member.__func__ if isinstance(member, (staticmethod, classmethod)) else member


def _parameter(function: Any, name: str) -> Any:
    return pytest.param(function, id=name)


def _callables() -> Iterator[Any]:
    for name in MODULES:
        module = import_module(name)
        for public in module.__all__:
            found = getattr(module, public)
            if inspect.isfunction(found):
                yield _parameter(found, f"{name}.{public}")
            for member in dir(found) if inspect.isclass(found) else ():
                function = _function(inspect.getattr_static(found, member, None))
                if inspect.isfunction(function) and (member == "__init__" or not member.startswith("_")):
                    yield _parameter(function, f"{name}.{public}.{member}")


@pytest.mark.parametrize("function", list(_callables()))
def test_type_hints_can_be_resolved(function: Any) -> None:
    hints = typing.get_type_hints(function)
    named = {name for name, one in inspect.signature(function).parameters.items() if one.annotation is not one.empty}
    assert set(hints) >= named
