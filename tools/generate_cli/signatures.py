"""Reads the calls of a client from its source: names, parameters, types, documentation."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TEXT_KINDS = ("str", "SecretText")
SIMPLE_KINDS = {
    "str": "text",
    "bool": "flag",
    "int": "whole",
    "Number": "number",
    "date": "date",
    "datetime": "datetime",
    "FileSource": "file",
    "Mapping[str, Any]": "object",
    "Sequence[str]": "texts",
    "Sequence[Mapping[str, Any]]": "objects",
    "Sequence[Attachable]": "files",
    "str | int": "id",
}


class Refused(Exception):
    """A call that no command can be made of."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a call."""

    name: str
    kind: str
    positional: bool
    required: bool
    clearable: bool
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Signature:
    """A call."""

    method: str
    summary: str
    description: str
    endpoint: str
    parameters: tuple[Parameter, ...]
    result: str
    columns: tuple[str, ...]


@dataclass
class Sources:
    """The modules in which types and models are looked up."""

    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)

    def read(self, path: Path) -> None:
        """Remember the type aliases, models and classes of a module."""
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                literals = [one for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
                if "Literal[" in ast.unparse(node.value):
                    self.choices[node.target.id] = tuple(str(one.value) for one in literals)
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
                fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
                self.columns[node.name] = tuple(_wire_name(one) for one in fields)

    def calls(self, class_name: str) -> Iterator[Signature]:
        """The public calls of a class, in the order of its source.

        Raises:
            Refused: a parameter has a type that no option can have.
        """
        for node in self.classes[class_name].body:
            if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_"):
                yield self._signature(node)

    def _signature(self, node: ast.AsyncFunctionDef) -> Signature:
        doc = inspect.cleandoc(ast.get_docstring(node) or "")
        head, args = _sections(doc)
        summary, _, rest = head.partition("\n\n")
        summary, endpoint = _without_endpoint(_joined(summary))
        returns = "" if node.returns is None else ast.unparse(node.returns)
        result = re.sub(r"^AsyncGenerator\[(\w+), None\]$", r"iter[\1]", returns)
        model = re.sub(r"^(?:list|iter)\[(\w+)\]$", r"\1", result)
        return Signature(
            method=node.name,
            summary=summary,
            description=_for_people(_joined(rest)),
            endpoint=endpoint,
            parameters=tuple(self._parameters(node, args)),
            result=result,
            columns=self.columns.get(model, ()),
        )

    def _parameters(self, node: ast.AsyncFunctionDef, docs: dict[str, str]) -> Iterator[Parameter]:
        positional = node.args.args[1:]
        missing = len(positional) - len(node.args.defaults)
        defaults: list[ast.expr | None] = [*[None] * missing, *node.args.defaults]
        for number, one in enumerate(positional):
            yield self._parameter(node, one, defaults[number], docs, positional=True)
        for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            yield self._parameter(node, one, default, docs, positional=False)

    def _parameter(
        self,
        node: ast.AsyncFunctionDef,
        one: ast.arg,
        default: ast.expr | None,
        docs: dict[str, str],
        *,
        positional: bool,
    ) -> Parameter:
        annotation = "" if one.annotation is None else ast.unparse(one.annotation)
        parts = annotation.split(" | ")
        bare = " | ".join(part for part in parts if part not in ("None", "Unset"))
        choices = self.choices.get(bare, ())
        kind = "text" if choices else SIMPLE_KINDS.get(bare)
        if kind is None:
            raise Refused(f"{node.name}: no option can have the type of {one.arg}: {annotation}")
        clearable = "Unset" in parts and "None" in parts
        help_text = _for_people(docs.get(one.arg, ""))
        return Parameter(one.arg, kind, positional and kind != "flag", default is None, clearable, choices, help_text)


def _wire_name(node: ast.AnnAssign) -> str:
    found = re.search(r"wire\('(\w+)'\)", ast.unparse(node))
    return found[1] if found else ast.unparse(node.target)


def _joined(text: str) -> str:
    """Paragraphs without the line breaks of the source."""
    return "\n\n".join(" ".join(one.split()) for one in text.split("\n\n")).strip()


def _sections(doc: str) -> tuple[str, dict[str, str]]:
    """What stands before the sections, and the text of each parameter."""
    head, *rest = re.split(r"\n\n(?=(?:Args|Returns|Raises):\n)", doc)
    args: dict[str, str] = {}
    for section in rest:
        if section.startswith("Args:\n"):
            for found in re.finditer(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE):
                args[found[1]] = " ".join(found[2].split())
    return head, args


def _without_endpoint(summary: str) -> tuple[str, str]:
    found = re.search(r" \(`([^`]+)`(?:, then `[^`]+`)?\)", summary)
    return (summary, "") if found is None else (summary.replace(found[0], ""), found[1])


_WORDS = (
    (r'`?Decimal\("([^"]+)"\)`?', r"\1"),
    (r"None clears a field\.", "--clear FIELD, or an empty value, clears a field."),
    (r" ?Can't be cleared\.", ""),
    (r"an aware datetime", "a datetime with a time zone"),
    (r"a random key by default", "random by default"),
    (r" Default: (?:None|False)\.", ""),
    (r"`idempotency_key`", "idempotency key"),
    (r'`\w+="(\w+)"`', r"\1"),
    (r"`(\w+)`", lambda found: found[1]),
    (r"`([^`]+)`", r"\1"),
)


def _for_people(text: str) -> str:
    """Documentation of Python as documentation of a command."""
    for pattern, replacement in _WORDS:
        text = re.sub(pattern, replacement, text)
    return text
