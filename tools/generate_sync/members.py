"""Lists the public members of a class, inherited ones included, and refuses those that can't be translated."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from .deprecations import Function, check_order, deprecations_of
from .docstrings import description
from .source import Definition, Module, Refusal, Source, defined_names, dotted, statements

ClassId = tuple[str, str]

RENAMED = {"aclose": "close"}
CONTEXT = ("__aenter__", "__aexit__")
"""The special methods that are translated, beside the constructor."""
OWN = frozenset(
    {"__init__", "__repr__", "__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__"}
)
"""Special methods for which the facade has its own, or whose default reaches the object behind the facade."""
NEUTRAL = frozenset({"__slots__", "__init_subclass__", "__class_getitem__", "__del__", "__match_args__", "__doc__"})
"""Names in a class body that a facade needs nothing of."""


class Kind(Enum):
    """What a member is."""

    METHOD = "method"
    STATIC = "staticmethod"
    CLASS = "classmethod"
    PROPERTY = "property"
    ASYNC_MANAGER = "asynccontextmanager"
    MANAGER = "contextmanager"
    ATTRIBUTE = "attribute"
    CLASS_ATTRIBUTE = "class attribute"


DECORATORS = {
    Definition("builtins", "staticmethod"): Kind.STATIC,
    Definition("builtins", "classmethod"): Kind.CLASS,
    Definition("builtins", "property"): Kind.PROPERTY,
    Definition("functools", "cached_property"): Kind.PROPERTY,
    Definition("contextlib", "asynccontextmanager"): Kind.ASYNC_MANAGER,
    Definition("contextlib", "contextmanager"): Kind.MANAGER,
}
_TYPING = ("typing", "typing_extensions")
WITHOUT_EFFECT = {Definition(module, name) for module in _TYPING for name in ("final", "override")}
OVERLOADS = {Definition(module, "overload") for module in _TYPING}
CLASS_DECORATORS = WITHOUT_EFFECT | {
    Definition(module, name) for module in ("attrs", "attr") for name in ("define", "frozen", "mutable", "s")
}
BASES = {
    Definition("builtins", "object"),
    Definition("abc", "ABC"),
    *(Definition(module, name) for module in _TYPING for name in ("Generic", "Protocol")),
}
"""Bases outside the source that have no public methods."""


@dataclass
class Member:
    """A public member of a class.

    Attributes:
        name: in the source.
        kind: what it is.
        node: the function, or the declaration of an attribute.
        module: whose names it uses.
        overloads: the signatures declared with `@overload`, in order.
        setter: the function that sets a property.
        deleter: the function that deletes a property.
        description: of an attribute, from the docstring of its class.
        frozen: whether its class is an attrs class whose attributes can't be set.
        deprecations: the decorators that deprecate it or its parameters, in order.
    """

    name: str
    kind: Kind
    node: Function | ast.AnnAssign
    module: Module
    overloads: list[Function] = field(default_factory=list[Function])
    setter: Function | None = None
    deleter: Function | None = None
    description: str = ""
    frozen: bool = False
    deprecations: list[ast.Call] = field(default_factory=list[ast.Call])

    @property
    def new_name(self) -> str:
        """Its name in the facade."""
        return RENAMED.get(self.name, self.name)

    @property
    def function(self) -> Function:
        """The function of a member that is one."""
        assert isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef))
        return self.node


def linearized(source: Source, node: ast.ClassDef, module: Module) -> list[tuple[ast.ClassDef, Module]]:
    """A class and its bases below the root, in the order in which Python looks for attributes (C3)."""
    found: dict[ClassId, tuple[ast.ClassDef, Module]] = {}
    order = _order(source, node, module, found)
    return [found[one] for one in order]


def _order(
    source: Source, node: ast.ClassDef, module: Module, found: dict[ClassId, tuple[ast.ClassDef, Module]]
) -> list[ClassId]:
    own = (module.name, node.name)
    found[own] = (node, module)
    bases = [base for base in (_base(source, one, module) for one in node.bases) if base is not None]
    lists = [_order(source, base, where, found) for base, where in bases]
    lists.append([(where.name, base.name) for base, where in bases])
    merged = [own]
    while lists := [one for one in lists if one]:
        heads = [one[0] for one in lists]
        fits = [head for head in heads if not any(head in one[1:] for one in lists)]
        if not fits:
            raise Refusal(module, node, f"class {node.name}: its bases have no consistent order")
        merged.append(fits[0])
        lists = [[name for name in one if name != fits[0]] for one in lists]
    return merged


def _base(source: Source, node: ast.expr, module: Module) -> tuple[ast.ClassDef, Module] | None:
    """A base class below the root; None for one that has no public methods."""
    name = dotted(node.value if isinstance(node, ast.Subscript) else node)
    definition = None if name is None else source.resolve(name, module)
    found = source.class_of(definition)
    if found is None and definition not in BASES:
        raise Refusal(module, node, f"base class `{ast.unparse(node)}`: its source is not read")
    return found


def members_of(source: Source, node: ast.ClassDef, module: Module) -> list[Member]:
    """The public members of a class and its bases: each as Python would find it, those of bases first.

    Raises:
        Refusal: a member, a base or the class itself can't be translated.
    """
    found: dict[ClassId, tuple[ast.ClassDef, Module]] = {}
    order = _order(source, node, module, found)
    own: dict[ClassId, list[Member]] = {}
    for key, (one, where) in found.items():
        _check_class(source, one, where)
        own[key] = list(_members(source, one, where))
        for member in own[key]:
            member.frozen = _is_frozen(one)
    for key in order:
        own[key] += _instance_attributes(*found[key], {one.name for members in own.values() for one in members})
    effective = {member.name: member for key in reversed(order) for member in own[key]}
    shown = dict.fromkeys(member.name for key in _bases_first(source, node, module) for member in own[key])
    names: dict[str, str] = {}
    for name in shown:
        member = effective[name]
        if member.new_name in names:
            what = f"`{names[member.new_name]}` and `{name}` would both be called `{member.new_name}`"
            raise Refusal(member.module, member.node, what)
        names[member.new_name] = name
    return [effective[name] for name in shown]


def _instance_attributes(node: ast.ClassDef, module: Module, declared: set[str]) -> Iterator[Member]:
    """The public attributes that methods assign without a declaration in the class.

    Raises:
        Refusal: one has no annotation.
    """
    functions = [one for one in statements(node.body) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
    stored = [
        (target.attr, one)
        for function in functions
        if not any(dotted(one) == "staticmethod" for one in function.decorator_list)
        for target, one in stored_attributes(function)
        if not target.attr.startswith("_") and target.attr not in declared
    ]
    annotated = {name: one for name, one in stored if isinstance(one, ast.AnnAssign)}
    for name, one in stored:
        if name not in annotated:
            raise Refusal(module, one, f"attribute `{name}` without an annotation")
    for name, one in annotated.items():
        text = description(ast.get_docstring(node) or "", name)
        yield Member(name, Kind.ATTRIBUTE, one, module, description=text)


def _bases_first(source: Source, node: ast.ClassDef, module: Module) -> list[ClassId]:
    """A class and its bases as a reader meets them: bases first, in the order in which they are named."""
    bases = [base for base in (_base(source, one, module) for one in node.bases) if base is not None]
    return [*(key for base, where in bases for key in _bases_first(source, base, where)), (module.name, node.name)]


def special_method(source: Source, node: ast.ClassDef, module: Module, name: str) -> Member | None:
    """A method such as `__init__` or `__aexit__` of a class or its nearest base that has one."""
    for one, where in linearized(source, node, module):
        functions = [part for part in statements(one.body) if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))]
        found = [part for part in functions if part.name == name]
        decorated = next((part for part in found if part.decorator_list), None)
        if decorated is not None:
            raise Refusal(where, decorated.decorator_list[0], f"decorator of {name}")
        if len(found) > 1:
            raise Refusal(where, found[-1], f"`{name}`: defined several times in its class")
        if found:
            return Member(name, Kind.METHOD, found[0], where)
    return None


def _check_class(source: Source, node: ast.ClassDef, module: Module) -> None:
    if node.name in module.redefined:
        raise Refusal(module, node, f"class {node.name}: its name is defined several times")
    if node.name in module.changed:
        raise Refusal(module, module.changed[node.name], f"class {node.name} is changed after its definition")
    if node.keywords:
        raise Refusal(module, node, f"class {node.name}: `{ast.unparse(node.keywords[0])}`")
    for one in node.decorator_list:
        name = dotted(one.func if isinstance(one, ast.Call) else one)
        if name is None or source.resolve(name, module) not in CLASS_DECORATORS:
            raise Refusal(module, one, f"class {node.name}: unknown decorator `@{ast.unparse(one)}`")
    _check_defaults(node, module)


def _is_frozen(node: ast.ClassDef) -> bool:
    """Whether the decorators of an attrs class freeze its objects."""
    written = [ast.unparse(one) for one in node.decorator_list]
    return any("frozen" in one and "frozen=False" not in one for one in written)


def _check_defaults(node: ast.ClassDef, module: Module) -> None:
    """Refuse defaults that name what the class body defines: the facade takes them from the module."""
    functions: list[Function] = []
    names: set[str] = set()
    for one in statements(node.body):
        names |= set(defined_names(one))
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions.append(one)
    for function in functions:
        if is_private(function.name) and function.name != "__init__":
            continue
        for default in [*function.args.defaults, *(one for one in function.args.kw_defaults if one is not None)]:
            used = [one for one in ast.walk(default) if isinstance(one, ast.Name) and one.id in names]
            if used:
                what = f"`{function.name}`: default `{ast.unparse(default)}` is a name of the class body"
                raise Refusal(module, default, what)


def is_private(name: str) -> bool:
    """Whether a name in a class body is the class's own business."""
    return name in NEUTRAL or name in OWN or (name.startswith("_") and not name.endswith("__"))


def _members(source: Source, node: ast.ClassDef, module: Module) -> Iterator[Member]:
    """The public members that a class body itself defines."""
    found: dict[str, Member] = {}
    overloads: dict[str, list[Function]] = {}
    for one in statements(node.body):
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _add_function(source, one, module, found, overloads)
        elif isinstance(one, (ast.AnnAssign, ast.Assign)):
            for member in _attributes(one, module, found, ast.get_docstring(node) or ""):
                found[member.name] = member
        elif isinstance(one, ast.ClassDef) and not is_private(one.name):
            raise Refusal(module, one, f"class `{one.name}` inside of a class")
        elif not isinstance(one, ast.ClassDef) and not _is_empty(one):
            raise Refusal(module, one, f"`{type(one).__name__.lower()}` statement in a class body")
    for name, signatures in overloads.items():
        if name not in found:
            raise Refusal(module, signatures[0], f"`{name}`: @overload without an implementation")
        found[name].overloads = signatures
    yield from found.values()


def _is_empty(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _add_function(
    source: Source, node: Function, module: Module, found: dict[str, Member], overloads: dict[str, list[Function]]
) -> None:
    if is_private(node.name) or node.name in CONTEXT:
        return
    if node.name.startswith("__"):
        raise Refusal(module, node, f"special method `{node.name}`")
    deprecations = deprecations_of(source, node, module)
    decorators = [one for one in node.decorator_list if one not in deprecations]
    if _sets(node, module, found):
        return
    if any(_definition(source, one, module) in OVERLOADS for one in decorators):
        overloads.setdefault(node.name, []).append(node)
        return
    kinds: list[Kind] = []
    for one in decorators:
        definition = _definition(source, one, module)
        if definition in WITHOUT_EFFECT:
            continue
        if definition not in DECORATORS:
            raise Refusal(module, one, f"`{node.name}`: unknown decorator `@{ast.unparse(one)}`")
        kinds.append(DECORATORS[definition])
    if len(kinds) > 1:
        raise Refusal(module, node.decorator_list[0], f"`{node.name}`: several decorators")
    kind = kinds[0] if kinds else Kind.METHOD
    _check_name(node, module, found, kind)
    if kinds:
        check_order(node, module, deprecations, kind.value, above=kind in (Kind.MANAGER, Kind.ASYNC_MANAGER))
    found[node.name] = Member(node.name, kind, node, module, deprecations=deprecations)


def _definition(source: Source, decorator: ast.expr, module: Module) -> Definition | None:
    name = dotted(decorator)
    return None if name is None else source.resolve(name, module)


def _sets(node: Function, module: Module, found: dict[str, Member]) -> bool:
    """Whether a function sets or deletes a property; it is noted there."""
    for one in node.decorator_list:
        name = dotted(one)
        if name in (f"{node.name}.setter", f"{node.name}.deleter") and node.name in found:
            if len(node.decorator_list) > 1:
                raise Refusal(module, node.decorator_list[-1], f"`{node.name}`: several decorators, and `@{name}`")
            setattr(found[node.name], name.rpartition(".")[2], node)
            return True
    return False


def _check_name(node: Function, module: Module, found: Container[str], kind: Kind) -> None:
    if kind is Kind.PROPERTY and isinstance(node, ast.AsyncFunctionDef):
        raise Refusal(module, node, f"`{node.name}`: a property that is a coroutine")
    if node.name in ("property", "classmethod", "staticmethod"):
        raise Refusal(module, node, f"`{node.name}`: the facade uses the name itself")
    if node.name in found:
        raise Refusal(module, node, f"`{node.name}`: defined several times in its class")


def _attributes(
    node: ast.AnnAssign | ast.Assign, module: Module, found: dict[str, Member], documented: str
) -> Iterator[Member]:
    for target in [node.target] if isinstance(node, ast.AnnAssign) else node.targets:
        if not isinstance(target, ast.Name):
            raise Refusal(module, node, f"assignment to `{ast.unparse(target)}` in a class body")
        if is_private(target.id):
            continue
        if isinstance(node, ast.AnnAssign):
            kind = Kind.CLASS_ATTRIBUTE if class_variable(node.annotation) is not None else Kind.ATTRIBUTE
            yield Member(target.id, kind, node, module, description=description(documented, target.id))
        elif isinstance(node.value, ast.Name) and node.value.id in found:  # a second name of a method
            yield replace(found[node.value.id], name=target.id)
        else:
            raise Refusal(module, node, f"class attribute `{target.id}` without an annotation")


def class_variable(node: ast.expr) -> ast.expr | None:
    """The `X` of `ClassVar[X]`; None for another annotation."""
    return _inside(node, "ClassVar")


def final(node: ast.expr) -> ast.expr | None:
    """The `X` of `Final[X]`; None for another annotation."""
    return _inside(node, "Final")


def _inside(node: ast.expr, name: str) -> ast.expr | None:
    if isinstance(node, ast.Subscript) and (dotted(node.value) or "").rpartition(".")[2] == name:
        return node.slice
    return None


def own_nodes(node: Function) -> Iterator[ast.AST]:
    """What a function's body consists of, without the functions and classes inside of it."""
    pending: list[ast.AST] = list(node.body)
    while pending:
        one = pending.pop()
        yield one
        if not isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending += ast.iter_child_nodes(one)


def yields(node: Function) -> bool:
    """Whether a function is a generator: it yields itself, not only a function inside of it."""
    return any(isinstance(one, (ast.Yield, ast.YieldFrom)) for one in own_nodes(node))


def stored_attributes(node: Function) -> Iterator[tuple[ast.Attribute, ast.AST]]:
    """The attributes of its object that a method assigns, each with the statement."""
    places = [*node.args.posonlyargs, *node.args.args]
    for one in own_nodes(node) if places else ():
        if not isinstance(one, ast.stmt) or isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        parts = [one.target] if isinstance(one, (ast.AnnAssign, ast.AugAssign, ast.For, ast.AsyncFor)) else []
        parts += one.targets if isinstance(one, ast.Assign) else []
        if isinstance(one, (ast.With, ast.AsyncWith)):
            parts += [item.optional_vars for item in one.items if item.optional_vars is not None]
        for target in (inner for part in parts for inner in ast.walk(part)):
            stored = isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store)
            if isinstance(target, ast.Attribute) and stored and dotted(target.value) == places[0].arg:
                yield target, one


def expressions_of(statement: ast.AST, node: Function) -> list[ast.expr]:
    """What says of which type an assigned value is: its annotation, else the value and its parameters' annotations."""
    if isinstance(statement, ast.AnnAssign):
        return [statement.annotation]
    value = getattr(statement, "value", None)
    if not isinstance(value, ast.expr):
        return []
    names = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
    parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [value, *(one.annotation for one in parameters if one.arg in names and one.annotation is not None)]
