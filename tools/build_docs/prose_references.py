"""Turns names in the prose of a page, such as `Montra.create_customer`, into links to the reference."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from .fences import outside_fences
from .public_names import PublicName
from .reference_pages import resolve, shown_members
from .reference_plan import is_facade

CODE = re.compile(r"(?<![`\[])`(?P<code>[A-Za-z_][\w.]*(?:\([^`]*\))?)`(?![`\]])")
SKIPPED_LINES = re.compile(r"^(#|\s*:::|=== |\[[^\]]+\]: )")
PRIORITY = ("montra_async", "montra_sandbox", "montra_async.paywall", "montra_async.webhooks", "montra_async.usage")
COMMON_WORDS = frozenset(
    {"MONTRA", "PAYWALL", "Event", "Handler", "Interval", "Outcome", "Source", "View", "metered", "parse", "sign"}
)
"""Names that mean several things, or are words: not linked without their module."""


def link_targets(names: list[PublicName]) -> dict[str, str]:
    """What may be written in prose, and the path in the reference that it means.

    Args:
        names: all public names.
    """
    order = {module: index for index, module in enumerate(PRIORITY)}
    found: dict[str, str] = {}
    described: dict[tuple[str, str], str] = {}
    for one in sorted(names, key=lambda one: order.get(one.module, len(order))):
        if is_facade(one) or ".frameworks." in one.path:
            continue
        path = described.setdefault((one.source, one.name), one.path)
        found.setdefault(one.path, path)
        if one.name in COMMON_WORDS:
            continue
        found.setdefault(one.name, path)
        value = resolve(one.path)
        if isinstance(value, type) and not issubclass(value, BaseException):
            for member in shown_members(one):
                found.setdefault(f"{one.name}.{member}", f"{path}.{member}")
    found.update(_calls_of_the_client())
    return found


def _calls_of_the_client() -> dict[str, str]:
    """`create_customer`, also without its class."""
    calls = inspect.getmembers(resolve("montra_async.Montra"), inspect.isfunction)
    names = [name for name, _ in calls if not name.startswith("_") and "_" in name]
    return {f"{prefix}{name}": f"montra_async.Montra.{name}" for name in names for prefix in ("", "montra.")}


def with_references(text: str, targets: dict[str, str]) -> str:
    """Link the first mention of each name in each section of a page.

    Args:
        text: Markdown.
        targets: what `link_targets` returned.
    """
    seen: set[str] = set()

    def linked(match: re.Match[str]) -> str:
        target = targets.get(match["code"].partition("(")[0])
        if target is None or target in seen:
            return match[0]
        seen.add(target)
        return f"[{match[0]}][{target}]"

    parts: list[str] = []
    for is_prose, part in outside_fences(text):
        for line in part.splitlines(keepends=True) if is_prose else [part]:
            if line.startswith("## "):
                seen.clear()
            parts.append(_linked_line(line, linked) if is_prose else line)
    return "".join(parts)


def _linked_line(line: str, linked: Callable[[re.Match[str]], str]) -> str:
    """A line whose code outside of links and headings is linked."""
    if SKIPPED_LINES.match(line):
        return line
    pieces = re.split(r"(!?\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\]))", line)
    return "".join(piece if index % 2 else CODE.sub(linked, piece) for index, piece in enumerate(pieces))
