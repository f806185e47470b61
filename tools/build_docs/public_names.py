"""What the packages offer: each public name, where it is exported and where it is defined."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

PACKAGES = ("montra_async", "montra_sandbox", "montra_sync", "montra")
FRAMEWORKS = ("montra_async.frameworks", "montra_sync.frameworks")
INTERNAL = (
    *("montra_sandbox.", "montra_sync.frameworks.guards", "montra_sync.frameworks.metering"),
    *("montra_async.frameworks.guards", "montra_async.frameworks.metering", "montra_async.frameworks.request_body"),
    "montra_async.frameworks.bypassed_guards",
)
"""Beginnings of the names of modules that are not for users, although some of them have an `__all__`."""


@dataclass(frozen=True)
class PublicName:
    """A name that users import.

    Attributes:
        path: where they import it from, e.g. `montra_async.Customer`.
        source: the module that defines it, e.g. `montra_async.resources.customers`.
    """

    path: str
    source: str

    @property
    def module(self) -> str:
        """The module that exports it."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name in that module."""
        return self.path.rpartition(".")[2]


def public_names() -> list[PublicName]:
    """All public names, sorted; of a name that several modules export, each of its paths."""
    return [one for module in _public_modules() for one in _names_of(module)]


def _public_modules() -> Iterator[ModuleType]:
    for name in [name for name in PACKAGES if importlib.util.find_spec(name)]:
        package = importlib.import_module(name)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if found.name.startswith(INTERNAL) or ".__" in found.name or "._" in found.name:
                continue
            module = importlib.import_module(found.name)
            if hasattr(module, "__all__") or found.name.rpartition(".")[0] in FRAMEWORKS:
                yield module


def _names_of(module: ModuleType) -> Iterator[PublicName]:
    imports = _imports_of(module)
    names = getattr(module, "__all__", None) or sorted(_own_names(module, imports))
    for name in names:
        if not name.startswith("__"):
            yield PublicName(f"{module.__name__}.{name}", _source_of(module, name, imports))


def _own_names(module: ModuleType, imports: dict[str, str]) -> Iterator[str]:
    """The names of a module for a framework, which has no `__all__`: what it defines itself."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_") and name not in imports)


def _source_of(module: ModuleType, name: str, imports: dict[str, str]) -> str:
    source = getattr(getattr(module, name), "__module__", None)
    if isinstance(source, str) and source.startswith("montra"):
        return source
    origin = imports.get(name, module.__name__)  # an alias of a type, or a constant: it does not know where it is from
    if origin == module.__name__ or not origin.startswith("montra_"):
        return module.__name__
    return _source_of(importlib.import_module(origin), name, _imports_of(importlib.import_module(origin)))


def _imports_of(module: ModuleType) -> dict[str, str]:
    """The module that each imported name comes from, also if it is imported when it is first used."""
    found: dict[str, str] = {}
    sources = [module]
    if importlib.util.find_spec(f"{module.__name__}._public") if hasattr(module, "__path__") else None:
        sources.append(importlib.import_module(f"{module.__name__}._public"))
    for one in sources:
        package = one.__name__ if hasattr(one, "__path__") else one.__name__.rpartition(".")[0]
        for node in ast.walk(ast.parse(inspect.getsource(one))):
            if isinstance(node, ast.ImportFrom):
                origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                found.update({alias.asname or alias.name: origin for alias in node.names})
    return found
