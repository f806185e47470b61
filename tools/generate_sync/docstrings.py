"""Docstrings of the facade: without `await`, `async` and the parameters that the facade does not have."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping

_ENTRY = re.compile(r"^(?P<indent> +)(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*): ")


def synchronous(text: str) -> str:
    """A text without `await` and `async`."""
    text = re.sub(r"\bawait (?=\w)", "", text)
    text = re.sub(r"\basync (?=with\b|for\b|def\b)", "", text)
    text = re.sub(r"\baclose\b", "close", text)
    text = text.replace("one coroutine per endpoint", "one method per endpoint")
    return text.replace("one endpoint, one coroutine", "one endpoint, one method")


def description(text: str, name: str) -> str:
    """The entry of an attribute or parameter in a class's docstring, on one line; empty when there is none."""
    found = re.search(rf"^( +){re.escape(name)}: (.*(?:\n\1 +\S.*)*)", text, re.MULTILINE)
    if found is None:
        return ""
    entry = " ".join(found[2].split())
    return entry[:1].upper() + entry[1:]


def docstring(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
    indent: str,
    *,
    without: Collection[str] = (),
    changed: Mapping[str, str] | None = None,
) -> str:
    """The docstring of a generated class or function, as source; nothing where the original has none.

    Args:
        node: the original.
        indent: before each line.
        without: parameters that are left out.
        changed: other descriptions of parameters, by name.
    """
    text = ast.get_docstring(node, clean=True)
    if text is None:
        return ""
    lines = _with_entries(synchronous(text).split("\n"), without, changed or {})
    quotes = 'r"""' if any("\\" in line for line in lines) else '"""'
    written = [f"{indent}{quotes}{lines[0]}", *(f"{indent}{line}" if line else "" for line in lines[1:])]
    return "\n".join(written) + ('"""' if len(lines) == 1 else f'\n{indent}"""') + "\n"


def _with_entries(lines: list[str], without: Collection[str], changed: Mapping[str, str]) -> list[str]:
    """The lines with the entries of `Args:` and `Attributes:` changed."""
    kept: list[str] = []
    entry: re.Match[str] | None = None
    drop = False
    for line in lines:
        found = _ENTRY.match(line)
        if found is not None and (entry is None or len(found["indent"]) <= len(entry["indent"])):
            entry = found
            names = [name for name in found["names"].split(", ") if name.lstrip("*") not in without]
            drop = not names
            if len(names) == 1 and names[0] in changed:
                kept.append(f"{found['indent']}{names[0]}: {changed[names[0]]}")
                drop = True
                continue
            line = f"{found['indent']}{', '.join(names)}: {line[found.end() :]}"
        elif entry is None or len(line) - len(line.lstrip()) <= len(entry["indent"]):
            entry, drop = None, False
        if not drop:
            kept.append(line)
    return kept
