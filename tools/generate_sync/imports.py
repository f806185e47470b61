"""What a generated file imports, and under which names."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping

from .known_types import LITERAL
from .source import Definition, Module, Refusal, Source, dotted, parsed


class Imports:
    """The imports of one generated file. No name is imported for two different things.

    Args:
        source: the modules that the names come from.
        taken: names that the file defines itself.
        public: the package from which a definition is imported, where it is not its own module.
    """

    def __init__(
        self, source: Source, taken: Iterable[str] = (), public: Mapping[Definition, Definition] | None = None
    ) -> None:
        self._source = source
        self._public = public or {}
        self._names: dict[str, Definition | None] = dict.fromkeys(taken)

    def need(self, module: str, name: str, bound: str = "") -> str:
        """Import a name.

        Args:
            module: from which it is imported; with an empty `name` the module itself is.
            name: of the object.
            bound: what it is to be called here, by default as there.

        Returns:
            What it is called here: a name that is taken gets its module's before it.
        """
        wanted = Definition(module, name)
        bound = bound or name or module
        if self._names.setdefault(bound, wanted) == wanted:
            return bound
        prefix = "".join(part.capitalize() for part in module.rpartition(".")[2].split("_"))
        other = f"{prefix}{bound[0].upper()}{bound[1:]}"
        if self._names.setdefault(other, wanted) != wanted:
            raise ValueError(f"neither `{bound}` nor `{other}` is free for `{module}.{name}`")
        return other

    def local(self, node: ast.expr, module: Module) -> str:
        """Import what a dotted name stands for.

        Args:
            node: a name, or an attribute of one.
            module: whose name it is.

        Returns:
            How to write it here.

        Raises:
            Refusal: nothing defines it, or its name can't be had here.
        """
        name = dotted(node) or ""
        found = self._source.resolve(name, module)
        if found is None:
            raise Refusal(module, node, f"name `{name}`: not defined in this module")
        self._source.check_defined_once(name, found, module, node)
        if found.module == "builtins" and hasattr(builtins, found.name.partition(".")[0]):
            if self._names.setdefault(name.partition(".")[0], found) != found:
                raise Refusal(module, node, f"name `{name}`: stands for something else in the generated file")
            return name
        found = self._public.get(found, found)
        try:
            return self._need_dotted(found, name, module)
        except ValueError as error:
            raise Refusal(module, node, str(error)) from None

    def _need_dotted(self, found: Definition, name: str, module: Module) -> str:
        first, _, rest = name.partition(".")
        origin = module.imports.get(first)
        if origin is not None and not origin.name and self._source.find(origin.module) is None:
            here = self.need(origin.module, "", first)  # import aiohttp
            return f"{here}.{rest}" if rest else here
        top, _, below = found.name.partition(".")
        here = self.need(found.module, top, first if not rest else "")
        return f"{here}.{below}" if below else here

    def annotation(self, node: ast.expr, module: Module) -> str:
        """An annotation as text, its names imported, and without quotes."""
        return ast.unparse(_Renamed(self, self._source, module, unquote=True).visit(_copied(node)))

    def expression(self, node: ast.expr, module: Module) -> str:
        """An expression as text, its names imported."""
        return ast.unparse(_Renamed(self, self._source, module, unquote=False).visit(_copied(node)))

    def lines(self) -> str:
        """The import statements, for the formatter to sort."""
        written: list[str] = []
        checking: list[str] = []
        for bound, origin in self._names.items():
            if origin is None or origin.module == "builtins":
                continue
            asked = origin.name if bound == origin.name else f"{origin.name} as {bound}"
            if not origin.name:
                written.append(f"import {origin.module}" + (f" as {bound}" if bound != origin.module else ""))
            elif origin.module == "typing_extensions":  # not installed with us, but every type checker knows it
                checking.append(f"    from {origin.module} import {asked}")
            else:
                written.append(f"from {origin.module} import {asked}")
        if checking:
            written += ["from typing import TYPE_CHECKING", "if TYPE_CHECKING:", *checking]
        return "\n".join(written) + "\n"


def _copied(node: ast.expr) -> ast.expr:
    """A copy that may be changed."""
    found = ast.parse(ast.unparse(node), mode="eval").body
    for one in ast.walk(found):
        if isinstance(one, (ast.expr, ast.keyword)):
            ast.copy_location(one, node)
    return found


class _Renamed(ast.NodeTransformer):
    """Replaces names by what they are called in the generated file."""

    def __init__(self, imports: Imports, source: Source, module: Module, *, unquote: bool) -> None:
        self.imports, self.source, self.module, self.unquote = imports, source, module, unquote

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.parse(self.imports.local(node, self.module), mode="eval").body

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if dotted(node) is None:
            raise Refusal(self.module, node, f"expression `{ast.unparse(node)}`")
        return ast.parse(self.imports.local(node, self.module), mode="eval").body

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        inner = parsed(node) if self.unquote and isinstance(node.value, str) else []
        return self.visit(inner[0]) if inner else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if self.source.resolve(dotted(node.value) or "", self.module) in LITERAL:
            node.value = self.visit(node.value)
            return node
        return self.generic_visit(node)  # type: ignore[return-value]
