"""Checks of the built pages that the program which builds them does not make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

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


class _Page(HTMLParser):
    """What a page loads, where it links to, and the ids of its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag != "link" or given.get("rel") not in ("canonical", "prev", "next", "alternate"):
            self.loaded += [given[name] for name in LOADED.get(tag, ()) if name in given]


def problems_of(folder: Path) -> list[str]:
    """What is wrong with a built site: what its pages load from elsewhere, and addresses in it that lead nowhere.

    Args:
        folder: of the built site.
    """
    pages = {page: _Page(page.read_text(encoding="utf-8")) for page in sorted(folder.rglob("*.html"))}
    return [*_external_addresses(folder, pages), *_dead_addresses(folder, pages)]


def _external_addresses(folder: Path, pages: dict[Path, _Page]) -> Iterator[str]:
    for path, page in pages.items():
        for one in page.loaded:
            if EXTERNAL.match(one):
                yield f"{path.relative_to(folder)} loads {one}"
    for style in sorted(folder.rglob("*.css")):
        for one in re.findall(r"""(?:url\(|@import\s+)["']?([^"')]+)""", style.read_text(encoding="utf-8")):
            if EXTERNAL.match(one):
                yield f"{style.relative_to(folder)} loads {one}"


def _dead_addresses(folder: Path, pages: dict[Path, _Page]) -> Iterator[str]:
    for path, page in pages.items():
        if path.name == "404.html":  # shown for any address, so it has no relative ones
            continue
        for one in dict.fromkeys([*page.loaded, *page.links]):
            if EXTERNAL.match(one) or re.match(r"[a-z][a-z+.-]*:", one):
                continue
            address, _, anchor = unquote(one).partition("#")
            target = (path.parent / address.partition("?")[0]).resolve() if address else path
            if not target.exists():
                yield f"{path.relative_to(folder)}: {one} does not exist"
            elif anchor and target in pages and anchor not in pages[target].ids and not anchor.startswith("__"):
                yield f"{path.relative_to(folder)}: {one}: the page has no such anchor"


def anchors(folder: Path) -> set[str]:
    """The ids of all elements of the reference in a built site.

    Args:
        folder: of the built site.
    """
    pages = (folder / "reference").rglob("*.html")
    return {one for page in pages for one in _Page(page.read_text(encoding="utf-8")).ids}
