"""Translates types, and writes the expressions that turn asynchronous objects into facades and back."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from .annotations import Compound, Facaded, LoopBound, Plain, Type
from .imports import Imports
from .source import Refusal

LISTS = ("list", "Sequence", "Collection")
LAZY = ("Iterable", "Iterator")
DICTS = ("dict", "Mapping")
ITEMS = ("AsyncIterator", "AsyncIterable", "AsyncGenerator")
PLACE = "_parameter"
"""Stands for a parameter in an expression whose other names are asked for."""


@dataclass
class Argument:
    """A parameter's type in the facade.

    Attributes:
        text: the annotation; empty when nothing is left of it, and the parameter with it.
        value: what is passed on, an expression.
        narrowed: the part of the type that the facade does not offer.
    """

    text: str
    value: str
    narrowed: str = ""


class Translator:
    """Translates the types of one method.

    Args:
        imports: of the file.
        wrap: how the method makes a facade of its own class where the source says `Self`, e.g. `self._view`.
    """

    def __init__(self, imports: Imports, wrap: str) -> None:
        self._imports = imports
        self._wrap = wrap

    def text(self, kind: Type) -> str:
        """A type's annotation in the facade, for what is returned.

        Raises:
            Refusal: it has none.
        """
        if isinstance(kind, Plain):
            return self._imports.annotation(kind.node, kind.module)
        if isinstance(kind, Facaded):
            return kind.name
        if isinstance(kind, Compound) and kind.head == "union":
            return " | ".join(dict.fromkeys(self.text(one) for one in kind.arguments))
        if isinstance(kind, Compound) and kind.head in (*LISTS, *LAZY, *DICTS, "tuple"):
            return f"{self._head(kind)}[{', '.join(self.text(one) for one in kind.arguments)}]"
        raise self._refused(kind)

    def result(self, kind: Type, value: str) -> str:
        """The expression that makes `value`, of this type, an object for users of the facade.

        Args:
            kind: the type.
            value: an expression that may be evaluated several times.

        Raises:
            Refusal: an asynchronous object would be in it.
        """
        if isinstance(kind, Plain):
            if kind.leak:
                raise Refusal(kind.module, kind.node, f"returns an asynchronous object: {kind.leak}")
            return value
        if isinstance(kind, Facaded):
            return f"{self._maker(kind)}({value})"
        if not isinstance(kind, Compound):
            raise self._refused(kind)
        return self._union_result(kind, value) if kind.head == "union" else self._container_result(kind, value)

    def _container_result(self, kind: Compound, value: str) -> str:
        if kind.head in LISTS:
            return f"[{self.result(kind.arguments[0], 'item')} for item in {value}]"
        if kind.head in LAZY:
            return f"({self.result(kind.arguments[0], 'item')} for item in {value})"
        if kind.head in DICTS:
            self._plain_key(kind)
            return f"{{key: {self.result(kind.arguments[1], 'item')} for key, item in {value}.items()}}"
        if kind.head == "tuple":
            if len(kind.arguments) == 2 and self._is_ellipsis(kind.arguments[1]):
                return f"tuple({self.result(kind.arguments[0], 'item')} for item in {value})"
            parts = [self.result(one, f"{value}[{index}]") for index, one in enumerate(kind.arguments)]
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        raise self._refused(kind)

    def make(self, kind: Type) -> str:
        """A function that does what `result` does; empty for a type that stays as it is."""
        if isinstance(kind, Facaded):
            return self._maker(kind)
        converted = self.result(kind, "one")
        return "" if converted == "one" else f"lambda one: {converted}"

    def repeats(self, kind: Type) -> bool:
        """Whether `result` evaluates its value several times."""
        return isinstance(kind, Compound) and kind.head in ("union", "tuple") and not self._is_row(kind)

    def argument(self, kind: Type, value: str) -> Argument:
        """How a parameter of this type is declared and passed on.

        Args:
            kind: the type.
            value: the parameter's name.

        Raises:
            Refusal: a user of the facade could not give such an object.
        """
        if isinstance(kind, Plain):
            return Argument(self._imports.annotation(kind.node, kind.module), value)
        if isinstance(kind, Facaded):
            return Argument(kind.name, f"{self._imports.need('.portal', 'unwrap')}({value})")
        if isinstance(kind, LoopBound):
            return Argument("", value, self._written(kind))
        assert isinstance(kind, Compound)
        if kind.head == "union":
            return self._union_argument(kind, value)
        if kind.head == "callable":
            return self._callback(kind, value)
        if kind.head in ITEMS:
            return Argument("", value, self._written(kind))
        if kind.head in (*LISTS, *LAZY, *DICTS, "tuple"):
            return self._container_argument(kind, value)
        raise self._refused(kind)

    def _container_argument(self, kind: Compound, value: str) -> Argument:
        parts = [self.argument(one, "item") for one in kind.arguments]
        if any(one.narrowed for one in parts):
            raise self._refused(kind)
        if kind.head == "tuple" and not (len(parts) == 2 and self._is_ellipsis(kind.arguments[1])):
            rows = [self.argument(one, f"{value}[{index}]").value for index, one in enumerate(kind.arguments)]
            passed = f"({', '.join(rows)}{',' if len(rows) == 1 else ''})"
        elif kind.head in DICTS:
            self._plain_key(kind)
            passed = f"{{key: {parts[1].value} for key, item in {value}.items()}}"
        elif kind.head == "tuple":
            passed = f"tuple({parts[0].value} for item in {value})"
        elif kind.head == "Iterator":
            passed = f"({parts[0].value} for item in {value})"
        else:
            passed = f"[{parts[0].value} for item in {value}]"
        return Argument(f"{self._head(kind)}[{', '.join(one.text for one in parts)}]", passed)

    def _union_result(self, kind: Compound, value: str) -> str:
        """`... if value is None else ...`, and `isinstance` for facades."""
        rows = [one for one in kind.arguments if isinstance(one, Compound)]
        others = [one for one in kind.arguments if isinstance(one, Plain) and not self._is_none(one)]
        if len(rows) > 1 or (rows and others):
            raise Refusal(kind.module, kind.node, f"type `{self._written(kind)}`: containers beside other types")
        for plain in others:
            self.result(plain, value)
        facaded = [one for one in kind.arguments if isinstance(one, Facaded)]
        facaded.sort(key=lambda one: -one.depth)  # `isinstance` is also true of a derived class
        if any(isinstance(one, LoopBound) for one in kind.arguments):
            raise self._refused(kind)
        rest = self.result(rows[0], value) if rows else value
        if not rows and not others:  # the last facade needs no look at its class
            *facaded, last = facaded
            rest = self.result(last, value)
        for one in reversed(facaded):
            rest = f"{self.result(one, value)} if isinstance({value}, Async{one.name}) else {rest}"
        if rest != value and any(self._is_none(one) for one in kind.arguments):
            rest = f"None if {value} is None else {rest}"
        return rest

    def _union_argument(self, kind: Compound, value: str) -> Argument:
        parts = [(one, self.argument(one, value)) for one in kind.arguments]
        kept = [(one, part) for one, part in parts if not part.narrowed]
        narrowed = ", ".join(part.narrowed for _, part in parts if part.narrowed)
        if all(self._is_none(one) for one, _ in kept):
            return Argument("", value, narrowed)
        text = " | ".join(dict.fromkeys(part.text for _, part in kept))
        changed = {part.value for one, part in kept if not isinstance(one, Plain)} - {value}
        if not changed:
            return Argument(text, value, narrowed)
        if all(isinstance(one, (Plain, Facaded)) for one, _ in kept):  # `unwrap` leaves everything else as it is
            return Argument(text, changed.pop(), narrowed)
        if len(changed) > 1 or any(isinstance(one, Plain) and not self._is_none(one) for one, _ in kept):
            raise Refusal(kind.module, kind.node, f"type `{self._written(kind)}`: containers beside other types")
        passed = changed.pop()
        if any(self._is_none(one) for one, _ in kept):
            passed = f"None if {value} is None else {passed}"
        return Argument(text, passed, narrowed)

    def _callback(self, kind: Compound, value: str) -> Argument:
        """A function of the user: a plain one, whatever the source takes."""
        *parameters, result = kind.arguments
        waits = isinstance(result, Compound) and result.head == "awaitable"
        if isinstance(result, Compound) and waits:
            result = result.arguments[0]
        if isinstance(result, Compound) and result.head == "union" and self._may_wait(result):
            # a plain function or a coroutine function: here a plain one
            others = [one for one in result.arguments if not self._is_awaitable(one)]
            plain = [one for one in others if isinstance(one, Plain)]
            if not plain or len(plain) != len(others):
                raise self._refused(kind)
            text = " | ".join(self._imports.annotation(one.node, one.module) for one in plain)
            back = Argument(text, "result")
        elif isinstance(result, LoopBound):  # it is called on the event loop
            back = Argument(self._imports.annotation(result.node, result.module), "result")
        else:
            back = self.argument(result, "result")
        if not back.text or back.narrowed:
            raise self._refused(kind)
        names = [f"argument{index}" for index in range(len(parameters))]
        given = [self.result(one, name) for one, name in zip(parameters, names, strict=True)]
        callable_ = self._imports.need("collections.abc", "Callable")
        head = "..." if kind.any_arguments else f"[{', '.join(self.text(one) for one in parameters)}]"
        text = f"{callable_}[{head}, {back.text}]"
        call = value
        if given != names or back.value != "result":
            in_loop = not value.isidentifier() or value == "item"  # a function made there would call the last one
            if in_loop or kind.any_arguments:
                raise self._refused(kind)
            call = f"{value}({', '.join(given)})"
            if back.value != "result":  # the user's function is called once, however often its result is looked at
                call = f"(lambda result: {back.value})({call})"
            call = f"lambda {', '.join(names)}: {call}"
        return Argument(text, f"{self._imports.need('.portal', 'in_thread')}({call})" if waits else call)

    @staticmethod
    def _is_awaitable(kind: Type) -> bool:
        return isinstance(kind, Compound) and kind.head == "awaitable"

    def _may_wait(self, kind: Compound) -> bool:
        return any(self._is_awaitable(one) for one in kind.arguments)

    def _head(self, kind: Compound) -> str:
        """The name of a container's type, imported."""
        return kind.head if kind.head in ("list", "dict", "tuple") else self._imports.need("collections.abc", kind.head)

    def _maker(self, kind: Facaded) -> str:
        return self._wrap if kind.own else f"{kind.name}._wrap"

    def _plain_key(self, kind: Compound) -> None:
        if not isinstance(kind.arguments[0], Plain):
            raise self._refused(kind)

    def _is_row(self, kind: Compound) -> bool:
        return kind.head == "tuple" and len(kind.arguments) == 2 and self._is_ellipsis(kind.arguments[1])

    @staticmethod
    def _is_ellipsis(kind: Type) -> bool:
        return getattr(kind.node, "value", None) is ...

    @staticmethod
    def _is_none(kind: Type) -> bool:
        return isinstance(kind, Plain) and getattr(kind.node, "value", 0) is None

    @staticmethod
    def _written(kind: Type) -> str:
        return ast.unparse(kind.node)

    def _refused(self, kind: Type) -> Refusal:
        return Refusal(kind.module, kind.node, f"type `{self._written(kind)}` can't be translated here")


def names_of(lines: list[str]) -> set[str]:
    """The names that statements use, without those that their comprehensions bind."""
    tree = ast.parse("\n".join(lines))
    loops = [one for one in ast.walk(tree) if isinstance(one, ast.comprehension)]
    bound = {one.id for loop in loops for one in ast.walk(loop.target) if isinstance(one, ast.Name)}
    return {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)} - bound - {PLACE}
