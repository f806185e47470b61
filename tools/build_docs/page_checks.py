"""Checks of the built pages that the program which builds them does not make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "use": ("href", "xlink:href"),
}
"""Attributes whose address a browser loads by itself."""
EXTERNAL = re.compile(r"(?:[a-z][a-z+.-]*:)?//", re.IGNORECASE)


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(str(given["id"]))
        if tag == "link" and given.get("rel") in ("canonical", "prev", "next", "alternate"):
            return
        self.loaded += [value for name in LOADED.get(tag, ()) if (value := given.get(name))]


def external_addresses(folder: Path) -> list[str]:
    """What the pages and styles of a built site load from elsewhere, each with its file; empty for a good site.

    Args:
        folder: of the built site.
    """
    return sorted(set(_external_addresses(folder)))


def _external_addresses(folder: Path) -> Iterator[str]:
    for page in folder.rglob("*.html"):
        parser = _Addresses()
        parser.feed(page.read_text(encoding="utf-8"))
        yield from (f"{page.relative_to(folder)}: {one}" for one in parser.loaded if EXTERNAL.match(one))
    for style in folder.rglob("*.css"):
        found = re.findall(r"""(?:url\(|@import\s+)["']?([^"')]+)""", style.read_text(encoding="utf-8"))
        yield from (f"{style.relative_to(folder)}: {one}" for one in found if EXTERNAL.match(one))


def anchors(folder: Path) -> set[str]:
    """The ids of all elements of the reference in a built site.

    Args:
        folder: of the built site.
    """
    found: set[str] = set()
    for page in (folder / "reference").rglob("*.html"):
        parser = _Addresses()
        parser.feed(page.read_text(encoding="utf-8"))
        found |= parser.ids
    return found
