"""The public surface of webhooks and of the framework integrations: every parameter is documented and typed."""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest

PACKAGES = [
    "montra_async.webhooks",
    *(f"montra_async.frameworks.{name}" for name in ("aiohttp", "django", "fastapi", "starlette")),
    *(f"montra_sync.frameworks.{name}" for name in ("django", "flask")),
]


def public_callables() -> Iterator[tuple[str, Any]]:
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", vars(module)):
            found = getattr(module, name)
            ours = str(getattr(found, "__module__", "")).startswith(("montra_async.webhooks", package))
            if name.startswith("_") or not ours or not callable(found):
                continue
            yield f"{package}.{name}", found
            if inspect.isclass(found):
                for part, method in vars(found).items():
                    function = getattr(method, "__func__", method)
                    if not part.startswith("_") and inspect.isfunction(function):
                        yield f"{package}.{name}.{part}", function


CALLABLES = dict(public_callables())


def test_the_walk_finds_what_there_is() -> None:
    assert {"montra_async.webhooks.WebhookReceiver.handle", "montra_sync.frameworks.flask.MontraFlask"} <= {*CALLABLES}


@pytest.mark.parametrize("name", CALLABLES)
def test_type_hints_can_be_resolved(name: str) -> None:
    one = CALLABLES[name]
    hints = typing.get_type_hints(one)
    if inspect.isclass(one):
        if not inspect.isfunction(vars(one).get("__init__")) or getattr(one, "_is_protocol", False):
            return
        hints = typing.get_type_hints(one.__init__)
    assert {name for name in inspect.signature(one).parameters if name != "self"} <= set(hints)


@pytest.mark.parametrize("name", CALLABLES)
def test_every_parameter_is_documented(name: str) -> None:
    one = CALLABLES[name]
    if getattr(one, "_is_protocol", False) or (inspect.isclass(one) and issubclass(one, (str, Exception))):
        return
    if inspect.isclass(one) and not getattr(one.__init__, "__module__", "montra_").startswith("montra_"):
        return  # a subclass of a framework's class, which is made by the framework
    documentation = inspect.getdoc(one) or ""
    assert documentation, "no docstring"
    event_class = (
        inspect.isclass(one) and "data" in getattr(one, "__annotations__", {}) and "Attributes" not in documentation
    )
    for parameter in inspect.signature(one).parameters.values():
        if parameter.name in ("self", "extra") or event_class:
            continue
        stars = {parameter.VAR_POSITIONAL: r"\*", parameter.VAR_KEYWORD: r"\*\*"}.get(parameter.kind, "")
        assert parameter.kind is not parameter.VAR_KEYWORD, "parameters are spelled out"
        assert re.search(rf"^    {stars}{parameter.name}: \S", documentation, re.MULTILINE), parameter.name
