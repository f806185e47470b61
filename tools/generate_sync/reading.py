"""Reads the async client with `ast`: its modules, classes and methods, and where their names come from."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
RENAMED = {"aclose": "close"}


@dataclass
class Module:
    """A parsed source file: where each name that it uses comes from, and its classes."""

    name: str
    tree: ast.Module
    origins: dict[str, tuple[str, str]] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)


@cache
def read_module(name: str) -> Module:
    path = ROOT.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    module = Module(name, ast.parse(path.read_text(encoding="utf-8")))
    for node in with_type_checking(module.tree.body):
        if isinstance(node, ast.ImportFrom):
            origin = absolute(package, node)
            module.origins |= {alias.asname or alias.name: (origin, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            module.origins |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            module.classes[node.name] = node
            module.origins[node.name] = (name, node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            module.origins |= {one.id: (name, one.id) for one in targets if isinstance(one, ast.Name)}
    return module


def with_type_checking(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a module and those below its `if TYPE_CHECKING:`."""
    found: list[ast.stmt] = []
    for node in body:
        found += node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else [node]
    return found


def absolute(package: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


@dataclass
class Method:
    """A public method and the module whose names it uses."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    module: Module

    @property
    def name(self) -> str:
        return RENAMED.get(self.node.name, self.node.name)

    @property
    def yields(self) -> bool:
        return any(isinstance(one, ast.Yield) for one in ast.walk(self.node))

    @property
    def waits(self) -> bool:
        return isinstance(self.node, ast.AsyncFunctionDef)

    @property
    def role(self) -> str:
        """What decorators make of it: `property`, `setter`, or nothing."""
        names = [ast.unparse(one).rpartition(".")[2] for one in self.node.decorator_list]
        return names[0] if names else ""


def lineage(class_name: str, module: Module) -> list[tuple[ast.ClassDef, Module]]:
    """A class and its bases, the bases first, each once."""
    node = module.classes[class_name]
    found: list[tuple[ast.ClassDef, Module]] = []
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in module.origins:
            origin, name = module.origins[base.id]
            if (ROOT / Path(*origin.split("."))).with_suffix(".py").exists():
                found += lineage(name, read_module(origin))
    found.append((node, module))
    return list({one.name: (one, where) for one, where in found}.values())


def methods_of(class_name: str, module: Module) -> list[Method]:
    """The public methods of a class: those of its bases first, in their order; an overridden one where it was first."""
    found: dict[tuple[str, str], Method] = {}
    for node, where in lineage(class_name, module):
        for one in node.body:
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) and not one.name.startswith("_"):
                method = Method(one, where)
                found[one.name, method.role] = method
    return list(found.values())


def attributes_of(node: ast.ClassDef) -> list[ast.AnnAssign]:
    """The public attributes that a class declares for its objects."""
    return [
        one
        for one in node.body
        if isinstance(one, ast.AnnAssign)
        and not ast.unparse(one.target).startswith("_")
        and not ast.unparse(one.annotation).startswith("ClassVar")
    ]


def exported(package: str) -> list[str]:
    """The `__all__` of a package."""
    return next(
        ast.literal_eval(node.value)
        for node in read_module(package).tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
