"""Every public callable has a summary line and a line for each of its parameters; every model one for each field."""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import re
import types
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import attrs
import pytest
import yaml

import montra_async
import montra_sandbox
import montra_sync

PACKAGES = (montra_async, montra_sync, montra_sandbox)
NAMES = tuple(package.__name__ for package in PACKAGES)
CONTRACT = Path(montra_sandbox.__file__).parent / "contract" / "montra.yaml"


_HEADER = re.compile(r"(Args|Attributes|Returns|Yields|Raises):")
_ENTRY = re.compile(r"    (?:\*{0,2})(\w+)(?: \([^)]*\))?: \S")


def entries(doc: str | None, section: str) -> set[str]:
    """The names that a section of a Google style docstring describes."""
    found: set[str] = set()
    current = ""
    for line in inspect.cleandoc(doc or "").splitlines():
        if header := _HEADER.fullmatch(line):
            current = header[1]
        elif line and not line.startswith(" "):
            current = ""
        elif current == section and (entry := _ENTRY.match(line)):
            found.add(entry[1])
    return found


def problems_of_summary(name: str, doc: str | None) -> Iterator[str]:
    lines = inspect.cleandoc(doc or "").splitlines()
    if not lines or not lines[0].strip() or _HEADER.fullmatch(lines[0]):
        yield f"{name}: no summary line"
    elif len(lines) > 1 and lines[1].strip():
        yield f"{name}: the summary is longer than one line"


def parameters_of(function: Any) -> set[str]:
    names = list(inspect.signature(function).parameters)
    return {name for i, name in enumerate(names) if not (i == 0 and name in ("self", "cls"))}


def problems_of_entries(name: str, needed: set[str], described: set[str]) -> Iterator[str]:
    for one in sorted(needed - described):
        yield f"{name}: {one} is not described"
    for one in sorted(described - needed):
        yield f"{name}: {one} is described, but does not exist"


def problems_of_function(name: str, function: Any) -> Iterator[str]:
    yield from problems_of_summary(name, function.__doc__)
    yield from problems_of_entries(name, parameters_of(function), entries(function.__doc__, "Args"))


def is_ours(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").partition(".")[0] in NAMES


def problems_of_class(name: str, cls: type[Any]) -> Iterator[str]:
    yield from problems_of_summary(name, vars(cls).get("__doc__"))
    if not issubclass(cls, enum.Enum):
        yield from problems_of_constructor(name, cls)
    for attribute, value in vars(cls).items():
        if attribute.startswith("_") and attribute != "__call__":
            continue
        function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if isinstance(value, property):
            yield from problems_of_summary(f"{name}.{attribute}", value.__doc__)
        elif inspect.isfunction(function) and function.__module__ == cls.__module__:
            yield from problems_of_function(f"{name}.{attribute}", inspect.unwrap(function))


def problems_of_constructor(name: str, cls: type[Any]) -> Iterator[str]:
    """Arguments may be described by the class, by its constructor or by a base class."""
    docs = [one.__doc__ for one in cls.__mro__ if is_ours(one)]
    if attrs.has(cls):
        fields = {field.alias or field.name for field in attrs.fields(cls) if field.init}
        described = set().union(*(entries(doc, "Attributes") | entries(doc, "Args") for doc in docs))
        others = {one for one in described - fields if hasattr(cls, one)}
        yield from problems_of_entries(name, fields, described - others)
    elif is_ours(constructor := inspect.unwrap(cls.__init__)):
        described = set().union(*(entries(doc, "Args") for doc in [*docs, constructor.__doc__]))
        parameters = parameters_of(constructor)
        attributes = {one for one in described - parameters if hasattr(cls, one)}  # parameters of a base's constructor
        yield from problems_of_entries(name, parameters, described - attributes)


def problems(value: Any) -> Iterator[str]:
    check = problems_of_class if isinstance(value, type) else problems_of_function
    yield from check(value.__qualname__, value)


def public_modules() -> Iterator[types.ModuleType]:
    yield from PACKAGES
    for package in (montra_async, montra_sync):  # the parts of the sandbox are not public
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__") and hasattr(importlib.import_module(module.name), "__all__"):
                yield importlib.import_module(module.name)


def reachable(value: Any) -> Iterator[Any]:
    """A class or function, the base classes of a class, and the classes of its class attributes."""
    if not is_ours(value) or not (inspect.isfunction(value) or isinstance(value, type)):
        return
    yield value
    if isinstance(value, type):
        for one in value.__mro__[1:]:
            yield from reachable(one) if not one.__name__.startswith("_") else ()
        for name, one in vars(value).items():
            if not name.startswith("_") and is_ours(type(one)) and not isinstance(one, (enum.Enum, types.FunctionType)):
                yield from reachable(type(one))


def public_surface() -> dict[str, list[Any]]:
    """What the users of the packages can call, by the module that defines it."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for module in public_modules():
        for name in module.__all__:
            for one in reachable(getattr(module, name)):
                found[one.__module__][one.__qualname__] = one
    return {module: list(values.values()) for module, values in sorted(found.items())}


SURFACE = public_surface()


def problems_of_module(module: str) -> list[str]:
    return [problem for value in SURFACE.get(module, []) for problem in problems(value)]


@pytest.mark.parametrize("module", SURFACE)
def test_everything_public_is_documented(module: str) -> None:
    assert problems_of_module(module) == []


def test_the_public_surface_is_found() -> None:
    assert {
        *("montra_async.client", "montra_async.resources.customers", "montra_async.paywall.billing"),
        *("montra_async.webhooks.receiver", "montra_sync.client", "montra_sync.paywall", "montra_sandbox.server"),
    } <= SURFACE.keys()
    assert montra_async.Customer in SURFACE["montra_async.resources.customers"]
    assert type(montra_async.Montra.webhooks) in SURFACE["montra_async.webhooks.helpers"]


# Type hints can be resolved


def callables_of(value: Any) -> Iterator[Any]:
    """A function, or the constructor and the public methods of a class."""
    if not isinstance(value, type):
        yield value
        return
    for name, one in inspect.getmembers(value, inspect.isfunction):
        if is_ours(one) and (name == "__init__" or not name.startswith("_")):
            yield one


def unresolved_hints(module: str) -> list[str]:
    found: list[str] = []
    for one in [one for value in SURFACE.get(module, []) for one in callables_of(value)]:
        try:
            get_type_hints(one)
        except Exception as error:
            found.append(f"{one.__qualname__}: {error}")
    return found


@pytest.mark.parametrize("module", SURFACE)
def test_type_hints_can_be_resolved(module: str) -> None:
    assert unresolved_hints(module) == []


# The API calls name their endpoint


def _endpoints() -> dict[str, str]:
    """The endpoint of each operation of the contract."""
    paths: dict[str, dict[str, Any]] = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))["paths"]
    return {
        operation["operationId"]: f"{method.upper()} {re.sub(r'{[^}]*}', '{id}', path)}"
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method in ("get", "post", "patch", "delete")
    }


ENDPOINTS = _endpoints()
CALLS = [
    name
    for name, call in inspect.getmembers(montra_async.Montra, inspect.isfunction)
    if not name.startswith("_") and name not in ("aclose", "with_options", "with_raw_response")
]


@pytest.mark.parametrize("name", CALLS)
def test_every_call_names_its_endpoint(name: str) -> None:
    doc = inspect.getdoc(getattr(montra_async.Montra, name)) or ""
    named = [one.partition("?")[0] for one in re.findall(r"`((?:GET|POST|PATCH|DELETE) [^`]*)`", doc)]
    assert named
    assert set(named) <= set(ENDPOINTS.values())
    if name in ENDPOINTS:
        assert named == [ENDPOINTS[name]]


def test_every_operation_of_the_contract_has_a_call() -> None:
    assert set(ENDPOINTS) <= set(CALLS)


# The test itself


class _Sample:
    """Do a thing.

    Args:
        one: the first.
    """

    def __init__(self, one: int, two: int) -> None:
        pass

    def method(self, one: int, *, two: int, **rest: int) -> None:
        """Do a thing with `one: 1`.

        two: not in Args.

        Args:
            one: the first, which
                two: is not.
            gone: renamed.
            rest (int): others.

        Returns:
            two: nothing.
        """

    def undocumented(self) -> None: ...

    def long(self) -> None:
        """Do a thing
        on two lines."""

    @property
    def value(self) -> int:
        return 1


@attrs.frozen
class _SampleModel:
    """A model.

    Attributes:
        one: the first.
        three: a property.
    """

    one: int
    two: int

    @property
    def three(self) -> int:
        """The third."""
        return 3


def test_what_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.test_public_docs.NAMES", (__name__.partition(".")[0],))
    assert list(problems(_Sample)) == [
        "_Sample: two is not described",
        "_Sample.method: two is not described",
        "_Sample.method: gone is described, but does not exist",
        "_Sample.undocumented: no summary line",
        "_Sample.long: the summary is longer than one line",
        "_Sample.value: no summary line",
    ]
    assert list(problems(_SampleModel)) == ["_SampleModel: two is not described"]
