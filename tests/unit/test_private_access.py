"""Only `core/aiohttp_compat.py` touches what is private in a dependency or in asyncio."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("montra_async", "montra_sync")
ALLOWED_FILES = {"aiohttp_compat.py"}
DOCUMENTED = {
    ("loop_thread.py", "_thread"),  # a module of the standard library that its documentation describes
    ("on_demand_thread.py", "_thread"),  # the same
    ("loop_thread.py", "_current_frames"),  # of `sys`: documented, in spite of its name
}
NAMED_TUPLES = {"_replace", "_make", "_fields"}
"""Methods of named tuples: documented, in spite of their names."""

FOREIGN = ("aiohttp", "asyncio", "anyio", "concurrent.futures")
OURS_TOO = {
    ("portal.py", "_options"),  # of a client; aiohttp has an attribute of that name, too
    ("instrumenting.py", "_transport"),  # of a client; asyncio has an attribute of that name, too
    ("operation_spans.py", "_transport"),  # the same
    ("webhook_spans.py", "_handle"),  # of a receiver; the same
    ("token_provider.py", "_state"),  # of an AuthClient; asyncio has an attribute of that name, too
}


def files() -> list[Path]:
    return [file for package in OURS for file in sorted((ROOT / package).rglob("*.py"))]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def defined_in(tree: ast.AST) -> set[str]:
    """Private names that a module defines itself: functions, classes, variables, `self._name = ...`, slots."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return {name for name in names if is_private(name)}


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


@cache
def defined_by_us() -> frozenset[str]:
    return frozenset(name for file in files() for name in defined_in(ast.parse(file.read_text())))


@cache
def defined_by_others() -> frozenset[str]:
    """Private attributes of the dependencies' own objects."""
    names: set[str] = set()
    for package in FOREIGN:
        module = importlib.import_module(package)
        assert module.__file__ is not None
        for file in Path(module.__file__).parent.rglob("*.py"):
            names |= defined_in(ast.parse(file.read_text()))
    return frozenset(names)


@cache
def defined_by(kind: type) -> frozenset[str]:
    """Private attributes of a class."""
    return frozenset(defined_in(ast.parse(inspect.getsource(kind))))


def accesses(tree: ast.AST) -> Iterator[tuple[int, ast.expr, str]]:
    """Lines, objects and private names: `thing._name`, and `getattr(thing, "_name")` and its like."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.lineno, node.value, node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("attr"):
            for argument in node.args[1:2]:
                if isinstance(argument, ast.Constant) and is_private(str(argument.value)):
                    yield node.lineno, node.args[0], str(argument.value)


def foreign_accesses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """A private name of another's object. Of two meanings of a name, ours counts only in the module that defines it."""
    own = defined_in(tree)
    for line, thing, name in accesses(tree):
        known = name in own or (name in defined_by_us() and name not in defined_by_others())
        if not known and not is_self(thing):
            yield line, name


def inherited_accesses(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """A private name of a dependency's class, used in a class of ours that is derived from it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        kind = getattr(importlib.import_module(module), node.name, None)
        bases = [one for one in getattr(kind, "__mro__", ()) if one.__module__.startswith(FOREIGN)]
        if bases:
            theirs = {name for one in bases for name in defined_by(one)}
            yield from ((line, name) for line, thing, name in accesses(node) if is_self(thing) and name in theirs)


def private_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """A module or a name of another package that begins with an underscore."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom) and not node.level and not str(node.module).startswith((*OURS, "__")):
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            constants = [one.value for one in node.args if isinstance(one, ast.Constant)]
            absolute = [str(one) for one in constants if not str(one).startswith(".")]
            names = [part for one in absolute for part in one.split(".")]
        yield from ((node.lineno, name) for name in names if is_private(name))  # type: ignore[attr-defined]


def problems_of(source: str, module: str = "") -> list[tuple[int, str]]:
    tree = ast.parse(source)
    inherited = inherited_accesses(module, tree) if module else ()
    return [*foreign_accesses(tree), *private_imports(tree), *inherited]


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_other_file_touches_what_is_private_in_a_dependency(file: Path) -> None:
    if file.name in ALLOWED_FILES:
        return
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    problems = problems_of(file.read_text(), module)
    found = {(file.name, name): line for line, name in problems if name not in NAMED_TUPLES}
    assert found.keys() - DOCUMENTED - OURS_TOO == set(), (
        f"move it to aiohttp_compat.py, or rename what is ours: {found}"
    )


@pytest.mark.parametrize(
    "source",
    [
        "session._loop",
        "session._loop = 5",
        "getattr(transport, '_ssl_protocol', None)",
        "hasattr(task, '_must_cancel')",
        "setattr(response, '_connection', None)",
        "import anyio._backends._asyncio",
        "from anyio._core import _eventloop",
        "from aiohttp.client import _RequestContextManager",
        "importlib.import_module('anyio._backends._asyncio')",
        "class Mine:\n    def __init__(self): self._mine = 1\nconnector._conns",
    ],
)
def test_each_way_to_touch_something_private_is_found(source: str) -> None:
    assert problems_of(source)


@pytest.mark.parametrize(
    "source",
    [
        "class Mine:\n    def __init__(self): self._loop = 1\nmine._loop",
        "view._principal",
        "thing.__dict__",
        "getattr(facade, '_async', facade)",
        "from ._version import __version__",
        "from montra_async._lazy import lazily",
    ],
)
def test_what_is_our_own_is_not(source: str) -> None:
    assert not problems_of(source)


def test_an_attribute_of_a_base_class_is_found() -> None:
    source = "class LazyConnector(TCPConnector):\n    def f(self): return self._loop"
    assert problems_of(source, "montra_async.core.http.connector") == [(2, "_loop")]
