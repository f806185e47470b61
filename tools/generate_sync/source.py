"""Reads source files with `ast`: modules, where their names come from, and the classes that a class inherits from."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard


@dataclass(frozen=True)
class Definition:
    """Where an object is defined: a module and a name in it, or a module itself (with an empty name).

    Attributes:
        module: dotted name.
        name: dotted below the module; empty for the module itself.
    """

    module: str
    name: str = ""


@dataclass(eq=False)
class Module:
    """A parsed source file.

    Attributes:
        name: dotted name.
        path: the file, relative to the root; messages name it.
        tree: the parsed file.
        imports: what each imported name stands for.
        values: what is assigned to each name at the module's level.
        classes: the classes at the module's level.
        functions: names of the functions at the module's level.
        changed: the classes whose attributes the module's level sets after their definition, each with the statement.
        redefined: names that the module's level defines several times, so that they mean different things.
    """

    name: str
    path: str
    tree: ast.Module
    imports: dict[str, Definition] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    changed: dict[str, ast.AST] = field(default_factory=dict)
    redefined: set[str] = field(default_factory=set)


class Refusal(Exception):
    """A construct that is not on the list of those that can be translated. Its text is `file:line: what`."""

    def __init__(self, module: Module, node: ast.AST, what: str) -> None:
        super().__init__(f"{module.path}:{getattr(node, 'lineno', 1)}: {what}")


class Source:
    """The modules below a directory.

    Args:
        root: the directory that holds the top-level packages.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[str, Module | None] = {}

    def find(self, name: str) -> Module | None:
        """The module with this dotted name; None when it is not below the root."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def module(self, name: str) -> Module:
        """The module with this dotted name, which must be below the root.

        Raises:
            FileNotFoundError: it is not.
        """
        found = self.find(name)
        if found is None:
            raise FileNotFoundError(f"no module {name} below {self.root}")
        return found

    def _read(self, name: str) -> Module | None:
        path = self.root.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not name or not path.exists():
            return None
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        shown = path.relative_to(self.root).as_posix()
        module = Module(name, shown, ast.parse(path.read_text(encoding="utf-8"), shown))
        for node in statements(module.tree.body):
            _record(node, module, package)
        module.changed = _changed_classes(module.tree.body)
        module.redefined = _defined_twice(module.tree.body)
        return module

    def resolve(self, name: str, module: Module) -> Definition | None:
        """Where the object with this dotted name is defined, followed through re-exports.

        Args:
            name: as it is written in `module`, e.g. `Timeout` or `aiohttp.ClientSession`.
            module: whose name it is.

        Returns:
            The definition; one in `builtins` for those; None for a name that nothing defines.
        """
        first, _, rest = name.partition(".")
        if first in module.imports:
            origin = module.imports[first]
            return self._follow(Definition(origin.module, ".".join(part for part in (origin.name, rest) if part)))
        if first in module.classes or first in module.values or first in module.functions:
            return Definition(module.name, name)
        return Definition("builtins", name) if hasattr(builtins, first) else None

    def _follow(self, found: Definition) -> Definition:
        module = self.find(found.module)
        if module is None or not found.name:
            return found
        first, _, rest = found.name.partition(".")
        if first in module.imports:
            return self.resolve(found.name, module) or found
        inner = self.find(f"{found.module}.{first}")
        if inner is not None and first not in module.classes and first not in module.values:
            return self._follow(Definition(inner.name, rest))
        return found

    def check_defined_once(self, name: str, found: Definition, module: Module, node: ast.AST) -> None:
        """Refuse a name that means different things at different lines of a module.

        Args:
            name: as it is written in `module`.
            found: what it is resolved to.
            module: whose name it is.
            node: where it is used.

        Raises:
            Refusal: the name is defined several times.
        """
        places = [(module, name.partition(".")[0]), (self.find(found.module), found.name.partition(".")[0])]
        for where, first in places:
            if where is not None and first in where.redefined:
                raise Refusal(module, node, f"name `{name}`: defined several times in {where.path}")

    def class_of(self, definition: Definition | None) -> tuple[ast.ClassDef, Module] | None:
        """The class with this definition; None when it is not a class below the root."""
        module = None if definition is None else self.find(definition.module)
        if definition is None or module is None or definition.name not in module.classes:
            return None
        return module.classes[definition.name], module

    def depth(self, definition: Definition | None) -> int:
        """How many classes a class inherits from one below the other."""
        found = self.class_of(definition)
        if found is None:
            return 0
        node, module = found
        names = [dotted(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
        return 1 + max((self.depth(self.resolve(name, module)) for name in names if name), default=0)

    def exported(self, package: str) -> list[str]:
        """The `__all__` of a package."""
        module = self.module(package)
        if "__all__" not in module.values:
            raise Refusal(module, module.tree, "has no __all__")
        names: list[str] = ast.literal_eval(module.values["__all__"])
        return names


def _record(node: ast.stmt, module: Module, package: str) -> None:
    if isinstance(node, ast.ImportFrom):
        origin = _absolute(package, node)
        module.imports |= {one.asname or one.name: Definition(origin, one.name) for one in node.names}
    elif isinstance(node, ast.Import):
        for one in node.names:
            module.imports[one.asname or one.name.split(".")[0]] = Definition(
                one.name if one.asname else one.name.split(".")[0]
            )
    elif isinstance(node, ast.ClassDef):
        module.classes[node.name] = node
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        module.functions.add(node.name)
    elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        module.values |= {one.id: node.value for one in targets if isinstance(one, ast.Name)}


def _changed_classes(body: list[ast.stmt]) -> dict[str, ast.AST]:
    """The names of whose attributes some are set or deleted outside of functions and classes: `Client.go = go`."""
    found: dict[str, ast.AST] = {}
    pending: list[ast.AST] = list(body)
    while pending:
        one = pending.pop()
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        pending += ast.iter_child_nodes(one)
        changed: ast.expr | None = None
        if isinstance(one, ast.Attribute) and not isinstance(one.ctx, ast.Load) and not one.attr.startswith("__"):
            changed = one.value
        elif isinstance(one, ast.Call) and dotted(one.func) in ("setattr", "delattr") and one.args:
            changed = one.args[0]
        if changed is not None and (name := dotted(changed)) is not None:
            found[name] = one
    return found


def _defined_twice(body: list[ast.stmt]) -> set[str]:
    """Names that several statements define. The branches of an `if TYPE_CHECKING:` are alternatives."""
    found: set[str] = set()
    seen: set[str] = set()
    for node in body:
        if _is_type_checking(node):
            names = {name for branch in (node.body, node.orelse) for one in branch for name in defined_names(one)}
            found |= _defined_twice(node.body) | _defined_twice(node.orelse)
        else:
            names = set(defined_names(node))
        found |= names & seen
        seen |= names
    return found


def defined_names(node: ast.stmt) -> list[str]:
    """The names that a statement of a module or a class body defines; overloads of functions define none."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(one.asname or one.name).partition(".")[0] for one in node.names]
    if isinstance(node, ast.ClassDef):
        return [node.name]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        overloaded = any((dotted(one) or "").rpartition(".")[2] == "overload" for one in node.decorator_list)
        return [] if overloaded else [node.name]
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return []
    names: list[str] = []
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, (ast.Store, ast.Del)):
            names.append(one.id)
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            names += defined_names(one)
    return list(dict.fromkeys(names))


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, and those below its `if TYPE_CHECKING:`."""
    for node in body:
        if _is_type_checking(node):
            yield from statements(node.body)
            yield from statements(node.orelse)
        else:
            yield node


def _is_type_checking(node: ast.stmt) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _absolute(package: str, node: ast.ImportFrom) -> str:
    """The dotted name of the module that a relative import is from."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` for names and attributes of names; None for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def parsed(node: ast.Constant) -> list[ast.expr]:
    """The expression that a string annotation holds, at its place; nothing when it holds none."""
    try:
        found = ast.parse(str(node.value).strip(), mode="eval").body
    except SyntaxError:
        return []
    for one in ast.walk(found):
        if isinstance(one, (ast.expr, ast.keyword)):
            ast.copy_location(one, node)
    return [found]
