"""Reads annotations: where a facaded class, an asynchronous object or a callback stands in a type."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .members import expressions_of, stored_attributes
from .source import Definition, Module, Refusal, Source, dotted, statements

SECRET = Definition("montra_async.core.redaction", "SecretText")
"""The type that marks a parameter which holds a secret."""


def _named(names: str, *modules: str) -> dict[Definition, str]:
    return {Definition(module, name): name for module in modules for name in names.split()}


_ABC, _TYPING = ("collections.abc", "typing"), ("typing", "typing_extensions")
ITEMS = _named("AsyncIterator AsyncIterable AsyncGenerator", *_ABC)
AWAITABLE = _named("Awaitable Coroutine", *_ABC)
MANAGERS = {
    **_named("AbstractAsyncContextManager", "contextlib"),
    **_named("AsyncContextManager", *_TYPING),
}
CONTAINERS = {
    **_named("list tuple dict", "builtins"),
    **{one: one.name.lower() for one in _named("List Tuple Dict", *_TYPING)},
    **_named("Sequence Collection Iterable Iterator Mapping", *_ABC),
}
CALLABLE = _named("Callable", *_ABC)
OPTIONAL, UNION, ANNOTATED = (_named(name, *_TYPING) for name in ("Optional", "Union", "Annotated"))
LITERAL, SELF, UNPACK = (_named(name, *_TYPING) for name in ("Literal", "Self", "Unpack"))
ASYNC_LIBRARIES = ("asyncio", "aiohttp", "anyio")
LOOP_BOUND = {
    **_named("ClientSession BaseConnector TCPConnector UnixConnector ClientResponse StreamReader", "aiohttp"),
    **_named("AbstractEventLoop Future Task Event Lock Queue Semaphore StreamReader StreamWriter", "asyncio"),
}
"""Objects that belong to one event loop: a user of the facade has none to make them on."""
ARGUMENTS = frozenset(
    {
        Definition("montra_async.paywall.storage", "SessionStorage"),
        Definition("aiohttp", "Fingerprint"),
        Definition("aiohttp", "TraceConfig"),
    }
)
"""Asynchronous types that users of the facade give as they are: the SDK calls them on the event loop."""
CONSTRUCTION = frozenset(
    f"__{name}__" for name in ("init", "new", "init_subclass", "class_getitem", "post_init", "attrs_post_init")
)
"""Methods whose result no user sees."""


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
        self.elsewhere = elsewhere
        self.under_way: set[Definition] = set()  # aliases may be recursive
        self._leaks: dict[Definition, str] = {}
        self._open: set[Definition] = set()

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
                definition = None if name is None else self.source.resolve(name, where)
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
                head = None if name is None else self.source.resolve(name, module)
                if head in LITERAL or (head in CALLABLE and not functions):
                    pending.append(one.value)
                    continue
            if not isinstance(one, ast.Attribute) or dotted(one) is None:
                pending += ast.iter_child_nodes(one)

    def _inner(self, definition: Definition) -> list[tuple[ast.AST, Module]]:
        """The annotations behind a name: the value of an alias, the fields of a `TypedDict`."""
        module = self.source.find(definition.module)
        if module is None or definition == SECRET:
            return []
        if definition.name in module.values:
            return [(module.values[definition.name], module)]
        node = module.classes.get(definition.name)
        if node is None or not any((dotted(base) or "").endswith("TypedDict") for base in node.bases):
            return []
        return [(one.annotation, module) for one in node.body if isinstance(one, ast.AnnAssign)]

    def leak_of(self, definition: Definition) -> str:
        """Why an object of a class must not reach a user of the facade; empty when it may."""
        if definition not in self._leaks:
            outermost = not self._open
            self._open.add(definition)
            self._leaks[definition] = ""  # while it is being looked at: classes may refer to each other
            self._leaks[definition] = leak = self._find_leak(definition)
            self._open.discard(definition)
            if leak and outermost:  # those found free of leaks may refer to it
                self._leaks = {one: found for one, found in self._leaks.items() if found}
        return self._leaks[definition]

    def _find_leak(self, definition: Definition) -> str:
        if definition.module.partition(".")[0] in ASYNC_LIBRARIES:
            return f"`{definition.module}.{definition.name}` is asynchronous"
        if definition in ITEMS or definition in AWAITABLE or definition in MANAGERS:
            return f"`{definition.name}` is asynchronous"
        if definition in self.facades or definition in self.elsewhere:
            return f"`{definition.name}` has a facade"
        found = self.source.class_of(definition)
        if found is None:
            return self._leak_in_call(definition)
        node, module = found
        for base in node.bases:
            name = dotted(base.value if isinstance(base, ast.Subscript) else base)
            behind = None if name is None else self.source.resolve(name, module)
            if behind is not None and (leak := self.leak_of(behind)):
                return f"`{definition.name}` is a {name}: {leak}"
        found_leaks = (self._leak_in(one, definition, module) for one in statements(node.body))
        return next((leak for leak in found_leaks if leak), "") or self._leak_in_init(node, definition, module)

    def _leak_in_init(self, node: ast.ClassDef, definition: Definition, module: Module) -> str:
        """Why a public attribute that the constructor sets makes its class asynchronous."""
        init = next((one for one in statements(node.body) if getattr(one, "name", "") == "__init__"), None)
        if not isinstance(init, ast.FunctionDef):
            return ""
        for target, one in stored_attributes(init):
            for expression in expressions_of(one, init):
                for inner in () if target.attr.startswith("_") else self.mentioned(expression, module):
                    if leak := self.leak_of(inner):
                        return f"`{definition.name}.{target.attr}`: {leak}"
        return ""

    def leak_in_argument(self, node: ast.expr, module: Module) -> str:
        """Why a user of the facade can't give an object of a type that stays as it is; empty when they can."""
        found = (self.leak_of(one) for one in self.mentioned(node, module, without=ARGUMENTS))
        return next((leak for leak in found if leak), "")

    def depth(self, definition: Definition | None) -> int:
        """How many classes a class inherits from one below the other."""
        found = self.source.class_of(definition)
        if found is None:
            return 0
        node, module = found
        names = [dotted(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
        return 1 + max((self.depth(self.source.resolve(name, module)) for name in names if name), default=0)

    def _leak_in_call(self, definition: Definition) -> str:
        """Why a name that is assigned a call, e.g. of `TypeVar` or `NewType`, stands for something asynchronous."""
        module = self.source.find(definition.module)
        value = None if module is None else module.values.get(definition.name)
        if module is None or not isinstance(value, ast.Call):
            return ""
        given = [*value.args, *(one.value for one in value.keywords)]
        found = (self.leak_of(inner) for one in given for inner in self.mentioned(one, module))
        leak = next((leak for leak in found if leak), "")
        return f"`{definition.name}`: {leak}" if leak else ""

    def _leak_in(self, one: ast.stmt, definition: Definition, module: Module) -> str:
        """Why a public attribute or method makes its class asynchronous."""
        annotation: ast.expr | None = None
        name = ""
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            name, annotation = one.name, one.returns
        elif isinstance(one, ast.AnnAssign):
            name, annotation = ast.unparse(one.target), one.annotation
        if not name or name in CONSTRUCTION or (name.startswith("_") and not name.endswith("__")):
            return ""
        if isinstance(one, ast.AsyncFunctionDef):
            return f"`{definition.name}.{name}` is a coroutine"
        if annotation is None and not name.startswith("__"):
            return f"`{definition.name}.{name}` has no return annotation"
        for inner in () if annotation is None else self.mentioned(annotation, module):
            if leak := self.leak_of(inner):
                return f"`{definition.name}.{name}`: {leak}"
        return ""


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
            return Plain(node, self.module, self.reader.leak_of(found) if alias is None else alias.leak)
        return alias

    def _facaded(self, node: ast.expr, name: str, *, own: bool = False) -> Facaded:
        definition = next((one for one, facade in self.reader.facades.items() if facade == name), None)
        return Facaded(node, self.module, name, own, self.reader.depth(definition))

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
            leaks = (self.reader.leak_of(one) for one in self.reader.mentioned(node, self.module))
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


def _arms(node: ast.expr) -> list[ast.expr]:
    """`A`, `B`, `C` of `A | B | C`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_arms(node.left), *_arms(node.right)]
    return [node]
