"""Finds what the source deprecates, and writes the same for the facade."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from .imports import Imports
from .source import Definition, Module, Refusal, Source, dotted

Function = ast.FunctionDef | ast.AsyncFunctionDef

DEPRECATION = "montra_async.core.deprecation"
DEPRECATIONS = {
    Definition("typing_extensions", "deprecated"),  # what `DEPRECATION.deprecated` is to type checkers, and so here
    Definition(DEPRECATION, "deprecated"),
    Definition(DEPRECATION, "deprecated_parameter"),
}


def deprecations_of(source: Source, node: Function, module: Module) -> list[ast.Call]:
    """The decorators of a function that deprecate it, or a parameter.

    Raises:
        Refusal: what they say is not a literal.
    """
    found: list[ast.Call] = []
    for one in node.decorator_list:
        name = dotted(one.func) if isinstance(one, ast.Call) else None
        if not isinstance(one, ast.Call) or name is None or source.resolve(name, module) not in DEPRECATIONS:
            continue
        if one.keywords or not all(isinstance(given, ast.Constant) for given in one.args):
            raise Refusal(module, one, f"`{node.name}`: the text of a deprecation is one literal")
        found.append(one)
    return found


def check_order(node: Function, module: Module, deprecations: list[ast.Call], other: str, *, above: bool) -> None:
    """Refuse a deprecation on the wrong side of another decorator: it would not work, or warn at another time.

    Args:
        node: the function.
        module: where it is.
        deprecations: its decorators that deprecate.
        other: name of its other decorator.
        above: whether the deprecations belong above that.
    """
    count = len(deprecations)
    expected = node.decorator_list[:count] if above else node.decorator_list[len(node.decorator_list) - count :]
    if deprecations != expected:
        where = "above" if above else "below"
        raise Refusal(module, deprecations[0], f"`{node.name}`: a deprecation stands {where} @{other}")


def decorators_of(deprecations: Iterable[ast.Call], imports: Imports) -> str:
    """The decorators of a member of the facade: those of the source."""
    text = ""
    for one in deprecations:
        name = imports.need(DEPRECATION, "deprecated" if len(one.args) == 1 else "deprecated_parameter")
        text += f"    @{name}({', '.join(map(ast.unparse, one.args))})\n"
    return text


def deprecated_names(source: Source, package: str) -> Mapping[str, tuple[str, str]]:
    """The `DEPRECATED_NAMES` of a package: for each name, the one that it stands for, and the text."""
    value = source.module(package).values.get("DEPRECATED_NAMES")
    found: dict[str, tuple[str, str]] = {} if value is None else ast.literal_eval(value)
    return found
