"""Finds what makes a type asynchronous, so that its objects must not pass between the facade and the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .known_types import (
    ANNOTATED_METHODS,
    ARGUMENTS,
    ASYNC_LIBRARIES,
    ASYNC_METHODS,
    AWAITABLE,
    CALLABLE,
    CONSTRUCTION,
    ITEMS,
    LITERAL,
    MANAGERS,
    SECRET,
)
from .members import expressions_of, stored_attributes
from .source import Definition, Module, Source, dotted, parsed, statements


class Leaks:
    """What the types of one facade mention.

    Args:
        source: the modules.
        facades: the classes that have a facade, in whichever file.
    """

    def __init__(self, source: Source, facades: frozenset[Definition]) -> None:
        self._source = source
        self._facades = facades
        self._found: dict[Definition, str] = {}
        self._open: set[Definition] = set()

    def is_secret(self, node: ast.expr, module: Module) -> bool:
        """Whether an annotation, or an alias or `TypedDict` that it names, mentions `SecretText`.

        A function that takes or returns secrets is not a secret itself.
        """
        return any(definition == SECRET for definition in self.mentioned(node, module, functions=False))

    def mentioned(
        self,
        node: ast.AST,
        module: Module,
        *,
        functions: bool = True,
        without: frozenset[Definition] = frozenset(),
    ) -> Iterator[Definition]:
        """The definitions that an annotation names, through aliases and the fields of a `TypedDict`.

        Args:
            node: the annotation.
            module: whose names it uses.
            functions: whether the parameters and the result of a `Callable` count.
            without: definitions that do not count.
        """
        pending, seen = [(node, module)], set(without)
        while pending:
            top, where = pending.pop()
            for one in self._nodes(top, where, functions=functions):
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    pending += [(inner, where) for inner in parsed(one)]
                name = dotted(one) if isinstance(one, ast.expr) else None
                definition = None if name is None else self._source.resolve(name, where)
                if definition is None or definition in seen:
                    continue
                seen.add(definition)
                yield definition
                pending += self._inner(definition)

    def _nodes(self, top: ast.AST, module: Module, *, functions: bool) -> Iterator[ast.AST]:
        """The nodes of an annotation, without the strings of a `Literal`."""
        pending = [top]
        while pending:
            one = pending.pop()
            yield one
            if isinstance(one, ast.Subscript):
                name = dotted(one.value)
                head = None if name is None else self._source.resolve(name, module)
                if head in LITERAL or (head in CALLABLE and not functions):
                    pending.append(one.value)
                    continue
            if not isinstance(one, ast.Attribute) or dotted(one) is None:
                pending += ast.iter_child_nodes(one)

    def _inner(self, definition: Definition) -> list[tuple[ast.AST, Module]]:
        """The annotations behind a name: the value of an alias, the fields of a `TypedDict`."""
        module = self._source.find(definition.module)
        if module is None or definition == SECRET:
            return []
        if definition.name in module.values:
            return [(module.values[definition.name], module)]
        node = module.classes.get(definition.name)
        if node is None or not any((dotted(base) or "").endswith("TypedDict") for base in node.bases):
            return []
        return [(one.annotation, module) for one in node.body if isinstance(one, ast.AnnAssign)]

    def of(self, definition: Definition) -> str:
        """Why an object of a class must not reach a user of the facade; empty when it may."""
        if definition not in self._found:
            outermost = not self._open
            self._open.add(definition)
            self._found[definition] = ""  # while it is being looked at: classes may refer to each other
            self._found[definition] = leak = self._find(definition)
            self._open.discard(definition)
            if leak and outermost:  # those found free of leaks may refer to it
                self._found = {one: found for one, found in self._found.items() if found}
        return self._found[definition]

    def _find(self, definition: Definition) -> str:
        if definition.module.partition(".")[0] in ASYNC_LIBRARIES:
            return f"`{definition.module}.{definition.name}` is asynchronous"
        if definition in ITEMS or definition in AWAITABLE or definition in MANAGERS:
            return f"`{definition.name}` is asynchronous"
        if definition in self._facades:
            return f"`{definition.name}` has a facade"
        found = self._source.class_of(definition)
        if found is None:
            return self._in_call(definition)
        node, module = found
        for base in node.bases:
            name = dotted(base.value if isinstance(base, ast.Subscript) else base)
            behind = None if name is None else self._source.resolve(name, module)
            if behind is not None and (leak := self.of(behind)):
                return f"`{definition.name}` is a {name}: {leak}"
        found_leaks = (self._in_statement(one, definition, module) for one in statements(node.body))
        return next((leak for leak in found_leaks if leak), "") or self._in_init(node, definition, module)

    def _in_init(self, node: ast.ClassDef, definition: Definition, module: Module) -> str:
        """Why a public attribute that the constructor sets makes its class asynchronous."""
        init = next((one for one in statements(node.body) if getattr(one, "name", "") == "__init__"), None)
        if not isinstance(init, ast.FunctionDef):
            return ""
        for target, one in stored_attributes(init):
            for expression in expressions_of(one, init):
                for inner in () if target.attr.startswith("_") else self.mentioned(expression, module):
                    if leak := self.of(inner):
                        return f"`{definition.name}.{target.attr}`: {leak}"
        return ""

    def in_argument(self, node: ast.expr, module: Module) -> str:
        """Why a user of the facade can't give an object of a type that stays as it is; empty when they can."""
        found = (self.of(one) for one in self.mentioned(node, module, without=ARGUMENTS))
        return next((leak for leak in found if leak), "")

    def _in_call(self, definition: Definition) -> str:
        """Why a name that is assigned a call, e.g. of `TypeVar` or `NewType`, stands for something asynchronous."""
        module = self._source.find(definition.module)
        value = None if module is None else module.values.get(definition.name)
        if module is None or not isinstance(value, ast.Call):
            return ""
        given = [*value.args, *(one.value for one in value.keywords)]
        found = (self.of(inner) for one in given for inner in self.mentioned(one, module))
        leak = next((leak for leak in found if leak), "")
        return f"`{definition.name}`: {leak}" if leak else ""

    def _in_statement(self, one: ast.stmt, definition: Definition, module: Module) -> str:
        """Why a public attribute or method makes its class asynchronous."""
        name, said = _public(one)
        if not name:
            return ""
        if isinstance(one, ast.AsyncFunctionDef):
            return f"`{definition.name}.{name}` is a coroutine"
        if name in ASYNC_METHODS:
            return f"`{definition.name}.{name}` is asynchronous"
        if said is None and (not name.startswith("__") or name in ANNOTATED_METHODS):
            return f"`{definition.name}.{name}` has no return annotation"
        for inner in () if said is None else self.mentioned(said, module):
            if leak := self.of(inner):
                return f"`{definition.name}.{name}`: {leak}"
        return ""


def _public(one: ast.stmt) -> tuple[str, ast.expr | None]:
    """The name that a statement of a class body gives to users, if any, and what says of which type it is."""
    said: ast.expr | None = None
    name = ""
    if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
        name, said = one.name, one.returns
    elif isinstance(one, ast.AnnAssign):
        name, said = ast.unparse(one.target), one.annotation
    elif isinstance(one, ast.Assign):
        name, said = ast.unparse(one.targets[0]), one.value
    private = name in CONSTRUCTION or (name.startswith("_") and not name.endswith("__"))
    return ("", None) if private else (name, said)
