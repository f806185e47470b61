"""Puts the Markdown of the site together: the pages of `docs/`, and those made of examples, code and other files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from .command_pages import command_pages
from .prose_references import link_targets, with_references
from .public_names import public_names
from .reference_pages import reference_pages
from .repository_links import with_site_links
from .tabs import with_tabs

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
OTHER_PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
}
"""Files beside `docs/` that are pages of the site, if they exist."""
EXAMPLES = "examples"
NO_NAVIGATION = "---\nhide:\n  - navigation\n---\n\n"
"""Begins a page that is alone in its part of the navigation."""


class SiteError(Exception):
    """The site can't be built; the message says what to do."""


class Staging:
    """The source of a site, for the program that builds it.

    Args:
        folder: an empty folder, in which `docs/` and `mkdocs.yml` are made.
        version: of the documentation.
        url: where the built site will be. Default: unknown.
    """

    def __init__(self, folder: Path, version: str, url: str = "") -> None:
        self.folder = folder
        self.docs = folder / "docs"
        self.config = folder / "mkdocs.yml"
        self._version = version
        self._url = url

    def write(self) -> None:
        """Write all pages and the configuration. A file that would not change is left alone.

        Raises:
            SiteError: a page is not in the navigation, or the navigation names one that does not exist.
        """
        pages = self.pages()
        settings = self.settings(pages)
        check_navigation(settings["nav"], pages)
        alone = {page for entry in settings["nav"] for page in entry.values() if isinstance(page, str)}
        for path, text in pages.items():
            _write(self.docs / path, f"{NO_NAVIGATION * (path in alone)}{text}".encode())
        for source in sorted(ROOT.joinpath("docs").rglob("*")):
            if source.is_file() and source.suffix != ".md":
                _write(self.docs / source.relative_to(ROOT / "docs"), source.read_bytes())
        for asset in sorted((HERE / "theme").iterdir()):
            _write(self.docs / "assets" / asset.name, asset.read_bytes())
        _write(self.config, json.dumps(settings, indent=2).encode())  # JSON is YAML
        for stale in {one.relative_to(self.docs).as_posix() for one in self.docs.rglob("*.md")} - pages.keys():
            (self.docs / stale).unlink()

    def pages(self) -> dict[str, str]:
        """All pages, by their path below `docs/`."""
        sources = _sources()
        places = {"README.md": "index.md", **sources, f"{EXAMPLES}/tests": f"{EXAMPLES}/tests.md"}
        places |= {one.relative_to(ROOT).as_posix(): one.relative_to(ROOT / "docs").as_posix() for one in _assets()}
        pages: dict[str, str] = {}
        for source, place in sources.items():
            text = _text_of(source)
            text = with_tabs(text, source)
            text = with_site_links(text, source, place, places, ROOT)
            pages[place] = text if place.startswith("project/") else with_references(text, self._targets)
        pages[f"{EXAMPLES}/tests.md"] = _tests_page()
        return {**pages, **self._generated}

    @cached_property
    def _targets(self) -> dict[str, str]:
        return link_targets(public_names())

    @cached_property
    def _generated(self) -> dict[str, str]:
        return {**reference_pages(), **command_pages()}

    def settings(self, pages: dict[str, str]) -> dict[str, Any]:
        """The configuration of the site.

        Args:
            pages: its pages.
        """
        settings: dict[str, Any] = yaml.safe_load((HERE / "site.yml").read_text(encoding="utf-8"))
        settings["site_dir"] = "site"
        settings |= {"site_url": self._url} if self._url else {}
        plugins = {name: given for one in settings["plugins"] if isinstance(one, dict) for name, given in one.items()}
        plugins["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
        settings["nav"] = [_expanded(one, pages) for one in settings["nav"]]
        settings["copyright"] = f"Version {self._version}"
        return settings


def _sources() -> dict[str, str]:
    """The files of the project that pages are made of, and the places of the pages."""
    found = {
        page.relative_to(ROOT).as_posix(): page.relative_to(ROOT / "docs").as_posix()
        for page in sorted((ROOT / "docs").rglob("*.md"))
    }
    found |= {source: place for source, place in OTHER_PAGES.items() if (ROOT / source).exists()}
    for example in sorted((ROOT / EXAMPLES).glob("*.py")):
        found[f"{EXAMPLES}/{example.name}"] = f"{EXAMPLES}/{example.stem}.md"
    return found


def _assets() -> Iterator[Path]:
    return (one for one in (ROOT / "docs").rglob("*") if one.is_file() and one.suffix != ".md")


def _text_of(source: str) -> str:
    """The Markdown of a page; that of an example is its code."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".py"):
        return f"# {Path(source).name}\n\n`{source}` in the project:\n\n```python no-sync\n{text}```\n"
    return text


def _tests_page() -> str:
    parts = ["# Tests of applications", "`examples/tests` in the project: tests with the fixtures of `montra_pytest`."]
    for file in sorted((ROOT / EXAMPLES / "tests").iterdir()):
        if file.suffix in (".py", ".ini", ".toml"):
            language = {".py": "python"}.get(file.suffix, file.suffix[1:])
            parts.append(f"## {file.name}\n\n```{language}\n{file.read_text(encoding='utf-8')}```")
    return "\n\n".join(parts) + "\n"


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _expanded(entry: Any, pages: dict[str, str]) -> Any:
    """An entry of the navigation with the generated pages in the place of `@reference` and the like."""
    if isinstance(entry, str):
        return {_title_of(pages[entry]): entry} if entry in pages else entry
    [(title, value)] = entry.items()
    if isinstance(value, list):
        return {title: [_expanded(one, pages) for one in value]}
    if value == "@reference":
        return {title: _reference_navigation(pages)}
    if value.startswith("@"):
        folder = value[1:]
        own = sorted(page for page in pages if page.startswith(f"{folder}/") and page != f"{folder}/index.md")
        index = [f"{folder}/index.md"] if f"{folder}/index.md" in pages else []
        return {title: [*index, *({_title_of(pages[page]): page} for page in own)]}
    return entry


def _reference_navigation(pages: dict[str, str]) -> list[Any]:
    from .reference_plan import GROUPS

    rest = [page for page in pages if page.startswith("reference/")]
    found: list[Any] = []
    for title, slugs in GROUPS.items():
        own = [f"reference/{slug}.md" for slug in slugs]
        found.append({title: [{_title_of(pages[page]): page} for page in own if page in pages]})
        rest = [page for page in rest if page not in own]
    return [*found, *({_title_of(pages[page]): page} for page in rest)]


def _title_of(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return re.sub(r"[`*]", "", found[1]) if found else "Untitled"


def navigation_pages(entries: Any) -> Iterator[str]:
    """The pages that a navigation names.

    Args:
        entries: the navigation, or a part of it.
    """
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, dict):
        for one in entries.values():
            yield from navigation_pages(one)
    else:
        for one in entries:
            yield from navigation_pages(one)


def check_navigation(nav: Any, pages: dict[str, str]) -> None:
    """Every page is in the navigation once, and the navigation names nothing else.

    Args:
        nav: the navigation.
        pages: all pages.

    Raises:
        SiteError: it is not so.
    """
    named = list(navigation_pages(nav))
    where = "`nav` of tools/build_docs/site.yml"
    problems = [f"docs/{page} is not in {where}: add it there" for page in pages if page not in named]
    problems += [f"{where} names {page}, which does not exist" for page in named if page not in pages]
    problems += [f"{where} names {page} twice" for page in sorted(set(named)) if named.count(page) > 1]
    if problems:
        raise SiteError("\n".join(problems))
