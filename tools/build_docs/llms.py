"""`llms.txt`, the list of all pages for language models, and `llms-full.txt`, their text with the whole reference."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from montra_async.core.deprecation import is_coroutine_function

from .fences import outside_fences

HEAD = """# Montra for Python

> The Python SDK for Montra billing: async-first (`montra_async`), with a synchronous facade (`montra_sync`), the
> command `montra`, pytest fixtures (`montra_pytest`), and a local sandbox server (`montra_sandbox`) to develop and test
> against.

Everything in one file: [llms-full.txt](llms-full.txt). All calls exist in both packages with the same names and
arguments; in `montra_sync` without `await`. Money is `Decimal` in major units, datetimes are aware and UTC, ids come
first and positional, everything else is a keyword argument.
"""
DIRECTIVE = re.compile(r"^::: (?P<path>[\w.]+)\n(?P<options>(?:    .*\n?)*)", re.MULTILINE)


def llms_txt(nav: list[Any], pages: dict[str, str]) -> str:
    """The list of pages, in the order of the navigation.

    Args:
        nav: the navigation.
        pages: the Markdown of all pages.
    """
    return HEAD + "".join(_section(entry, pages) for entry in nav)


def _section(entry: Any, pages: dict[str, str]) -> str:
    [(title, value)] = entry.items()
    links = [_link(page, pages[page]) for page in _pages_of(value)]
    return f"\n## {title}\n\n" + "\n".join(links) + "\n"


def _pages_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for one in value:
            yield from _pages_of(one if isinstance(one, str) else next(iter(one.values())))


def _link(page: str, text: str) -> str:
    """A page and its first sentence."""
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    prose = "".join(part for is_prose, part in outside_fences(text) if is_prose)
    paragraphs = [one.strip() for one in re.split(r"\n\s*\n", prose)]
    first = next((one for one in paragraphs if one and one[0] not in "#|!<:-"), "")
    sentence = re.split(r"(?<=[.!?:])\s", " ".join(_plain(first).split()), maxsplit=1)[0]
    described = f": {sentence}" if sentence else ""
    return f"- [{_plain(title[1]) if title else page}]({page.removesuffix('.md')}.html){described}"


def _plain(text: str) -> str:
    return re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)


def llms_full_txt(nav: list[Any], pages: dict[str, str]) -> str:
    """All pages as one text, with the documentation of each object of the reference.

    Args:
        nav: the navigation.
        pages: the Markdown of all pages.
    """
    parts = [HEAD]
    for entry in nav:
        for page in _pages_of(next(iter(entry.values()))):
            text = DIRECTIVE.sub(_documentation, pages[page])
            text = re.sub(r'<span id="[^"]*"></span>', "", text)
            prose = [_plain_references(part) if is_prose else part for is_prose, part in outside_fences(text)]
            parts.append(f"<!-- {page} -->\n\n{''.join(prose).strip()}\n")
    return "\n".join(parts)


def _plain_references(text: str) -> str:
    return re.sub(r"\[(`[^`]*`)\]\[[\w.]+\]", r"\1", text)


def _documentation(match: re.Match[str]) -> str:
    """What the directive of an object stands for: its signature and its docstring."""
    path = match["path"]
    value, owner = _find(path)
    members = re.search(r"^ +members: (.*)", match["options"], re.MULTILINE)
    text = _described(path, value, owner)
    for name in json.loads(members[1]) or () if members else ():
        text += _described(f"{path}.{name}", inspect.getattr_static(value, name), value)
    return text


def _described(path: str, value: Any, owner: Any) -> str:
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    name = ".".join(path.split(".")[-2:]) if isinstance(owner, type) else path.rpartition(".")[2]
    lines = [f"#### {path}\n"]
    if callable(function):
        word = "class" if isinstance(function, type) else "async def" if is_coroutine_function(function) else "def"
        lines.append(f"```text\n{word} {name}{_signature(function)}\n```\n")
    documented = isinstance(function, (type, property)) or inspect.isroutine(function)
    doc = inspect.getdoc(function) if documented else f"Value: `{function!r}`."
    return "\n".join([*lines, doc or "", "", ""])


def _signature(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return ""


def _find(path: str) -> tuple[Any, Any]:
    """The object at a path, and what it belongs to."""
    module = path
    while True:
        module = module.rpartition(".")[0]
        try:
            value: Any = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            continue
    owner: Any = None
    for name in path.removeprefix(f"{module}.").split("."):
        owner, value = value, getattr(value, name)
    return value, owner
