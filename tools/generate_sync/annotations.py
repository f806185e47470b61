"""Reads annotations: where a facaded class, an asynchronous object or a callback stands in a type."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .known_types import (
    ANNOTATED,
    AWAITABLE,
    CALLABLE,
    CONTAINERS,
    ITEMS,
    LITERAL,
    LOOP_BOUND,
    MANAGERS,
    OPTIONAL,
    SELF,
    UNION,
    UNPACK,
)
from .leaks import Leaks
from .source import Definition, Module, Refusal, Source, dotted, parsed


@dataclass(frozen=True)
class Type:
    """An annotation.

    Attributes:
        node: as written.
        module: whose names it uses.
    """

    node: ast.expr
    module: Module

    @property
    def parts(self) -> tuple[Type, ...]:
        """The types that it is made of."""
        return ()

    def walk(self) -> Iterator[Type]:
        """This type and those it is made of."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Plain(Type):
    """A type that is the same in the facade.

    Attributes:
        leak: what makes it asynchronous, so that it must not be returned; empty when nothing does.
    """

    leak: str = ""


@dataclass(frozen=True)
class Facaded(Type):
    """An object that has a facade.

    Attributes:
        name: of the facade's class.
        own: whether it was written as `Self`.
        depth: how many classes the class inherits from one below the other: a derived class has more than its base.
    """

    name: str
    own: bool = False
    depth: int = 0


@dataclass(frozen=True)
class LoopBound(Type):
    """An object that belongs to one event loop."""


@dataclass(frozen=True)
class Compound(Type):
    """A type made of others, at least one of which is not plain.

    Attributes:
        head: what it is: `union`, `list`, `dict`, `awaitable`, `AsyncIterator`, ...
        arguments: the others; of `callable` the parameters, then the result.
        any_arguments: of `callable`, whether its parameters are `...`.
    """

    head: str
    arguments: tuple[Type, ...]
    any_arguments: bool = False

    @property
    def parts(self) -> tuple[Type, ...]:
        return self.arguments


@dataclass(frozen=True)
class Scope:
    """The class in which an annotation stands.

    Attributes:
        own: the facade's class, for which `Self` stands.
        self_names: type variables that annotate `self` or `cls`, and stand for `Self`, too.
        type_variables: the class's own, which a facade does not have.
    """

    own: str = ""
    self_names: frozenset[str] = frozenset()
    type_variables: frozenset[Definition] = frozenset()


class Reader:
    """Reads the annotations of one facade.

    Args:
        source: the modules.
        facades: the name of the facade of each class that has one in this file.
        elsewhere: classes that have one in another file.
    """

    def __init__(
        self, source: Source, facades: Mapping[Definition, str], elsewhere: frozenset[Definition] = frozenset()
    ) -> None:
        self.source = source
        self.facades = facades
        self.leaks = Leaks(source, frozenset(facades) | elsewhere)
        self.under_way: set[Definition] = set()  # aliases may be recursive

    def read(self, node: ast.expr, module: Module, scope: Scope) -> Type:
        """An annotation.

        Args:
            node: as written.
            module: whose names it uses.
            scope: the class in which it stands.

        Raises:
            Refusal: it is not one of those that are understood.
        """
        return _Reading(self, module, scope).read(node)


class _Reading:
    """Reads one annotation."""

    def __init__(self, reader: Reader, module: Module, scope: Scope) -> None:
        self.reader, self.module, self.scope = reader, module, scope

    def read(self, node: ast.expr) -> Type:
        if isinstance(node, ast.Constant):
            inner = parsed(node) if isinstance(node.value, str) else []
            return self.read(inner[0]) if inner else Plain(node, self.module)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self._compound(node, "union", [self.read(one) for one in _arms(node)])
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        if (name := dotted(node)) is not None:
            return self._name(node, name)
        raise Refusal(self.module, node, f"type `{ast.unparse(node)}`")

    def _definition(self, node: ast.expr) -> Definition:
        name = dotted(node)
        found = None if name is None else self.reader.source.resolve(name, self.module)
        if name is None or found is None:
            raise Refusal(self.module, node, f"name `{ast.unparse(node)}`: not defined in this module")
        self.reader.source.check_defined_once(name, found, self.module, node)
        return found

    def _name(self, node: ast.expr, name: str) -> Type:
        own = self.scope.own
        if name in self.scope.self_names:
            return self._facaded(node, own, own=True)
        found = self._definition(node)
        if found in SELF and own:
            return self._facaded(node, own, own=True)
        if found in self.scope.type_variables:
            raise Refusal(self.module, node, f"`{name}`: a type variable of the class")
        if found in self.reader.facades:
            return self._facaded(node, self.reader.facades[found])
        if found in LOOP_BOUND:
            return LoopBound(node, self.module)
        if found in ITEMS or found in AWAITABLE or found in MANAGERS:
            raise Refusal(self.module, node, f"`{name}` without the type of its items or result")
        alias = self._alias(found)
        if alias is None or isinstance(alias, Plain):
            return Plain(node, self.module, self.reader.leaks.of(found) if alias is None else alias.leak)
        return alias

    def _facaded(self, node: ast.expr, name: str, *, own: bool = False) -> Facaded:
        definition = next((one for one, facade in self.reader.facades.items() if facade == name), None)
        return Facaded(node, self.module, name, own, self.reader.source.depth(definition))

    def _alias(self, found: Definition) -> Type | None:
        """What a name stands for that is assigned a type; None for any other name."""
        module = self.reader.source.find(found.module)
        value = None if module is None else module.values.get(found.name)
        if module is None or value is None or found in self.reader.under_way:
            return None
        if isinstance(value, ast.Constant) and not isinstance(value.value, str):
            return None
        if not isinstance(value, (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.Constant)):
            return None
        self.reader.under_way.add(found)
        try:
            return _Reading(self.reader, module, Scope()).read(value)
        finally:
            self.reader.under_way.discard(found)

    def _subscript(self, node: ast.Subscript) -> Type:
        head = self._definition(node.value)
        given = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head in LITERAL:
            return Plain(node, self.module)
        if head in UNPACK:
            leaks = (self.reader.leaks.of(one) for one in self.reader.leaks.mentioned(node, self.module))
            return Plain(node, self.module, next((leak for leak in leaks if leak), ""))
        if head in ANNOTATED:
            inner = self.read(given[0])
            return Plain(node, self.module, inner.leak) if isinstance(inner, Plain) else inner
        if head in CALLABLE:
            return self._callable(node, given)
        return self._generic(node, head, [self.read(one) for one in given])

    def _generic(self, node: ast.Subscript, head: Definition, arguments: list[Type]) -> Type:
        """`head[arguments]`."""
        if head in OPTIONAL:
            return self._compound(node, "union", [*arguments, Plain(ast.Constant(None), self.module)])
        if head in UNION:
            return self._compound(node, "union", arguments)
        if head in ITEMS:
            self._check_sent(node, arguments)
            return Compound(node, self.module, ITEMS[head], (arguments[0],))
        if head in AWAITABLE:
            return Compound(node, self.module, "awaitable", (arguments[-1],))
        if head in MANAGERS:
            return Compound(node, self.module, "manager", (arguments[0],))
        if head in CONTAINERS:
            return self._compound(node, CONTAINERS[head], arguments)
        strange = next((one for one in arguments if not isinstance(one, Plain)), None)
        if strange is not None:
            raise Refusal(self.module, node, f"type `{ast.unparse(node)}`: `{ast.unparse(strange.node)}` in it")
        if head in LOOP_BOUND:
            return LoopBound(node, self.module)
        return self._compound(node, "generic", [self._name(node.value, dotted(node.value) or ""), *arguments])

    def _check_sent(self, node: ast.Subscript, arguments: list[Type]) -> None:
        if len(arguments) > 1 and ast.unparse(arguments[1].node) != "None":
            raise Refusal(self.module, node, "an async generator to which values are sent")

    def _callable(self, node: ast.Subscript, given: list[ast.expr]) -> Type:
        if len(given) != 2:
            raise Refusal(self.module, node, f"type `{ast.unparse(node)}`")
        parameters, result = given
        if isinstance(parameters, ast.List):
            return self._compound(node, "callable", [self.read(one) for one in [*parameters.elts, result]])
        if not isinstance(parameters, ast.Constant):
            raise Refusal(self.module, node, f"type `{ast.unparse(node)}`: its parameters")
        return self._compound(node, "callable", [self.read(result)], any_arguments=True)

    def _compound(self, node: ast.expr, head: str, arguments: list[Type], *, any_arguments: bool = False) -> Type:
        """A type made of others; a plain one when all of them are."""
        plain = [one for one in arguments if isinstance(one, Plain)]
        if len(plain) == len(arguments):
            return Plain(node, self.module, next((one.leak for one in plain if one.leak), ""))
        return Compound(node, self.module, head, tuple(arguments), any_arguments)


def _arms(node: ast.expr) -> list[ast.expr]:
    """`A`, `B`, `C` of `A | B | C`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_arms(node.left), *_arms(node.right)]
    return [node]
