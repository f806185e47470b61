"""Links of pages that lead out of `docs/`: to pages made of other files, or to what a reader of the site hasn't got."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from .fences import outside_fences

LINK = re.compile(r"(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?\)")


def with_site_links(text: str, source: str, target: str, places: dict[str, str], root: Path) -> str:
    """Rewrite the links of a page for its place on the site.

    Args:
        text: Markdown.
        source: the page's file, from the root of the project, e.g. `docs/guides/usage.md`.
        target: its place below the `docs/` of the site.
        places: the places of all files that are on the site.
        root: the directory of the project.

    Returns:
        The same text. A link to a file of the project that is not on the site is its text only; a link to nothing
        stays, so that the build refuses it.
    """
    folder = PurePosixPath(source).parent

    def rewritten(match: re.Match[str]) -> str:
        wanted, text = match["target"], LINK.sub(rewritten, match["text"])
        if re.match(r"[a-z+.-]+:", wanted):
            return match[0]
        path = os.path.normpath(folder / wanted)
        if path in places:
            relative = os.path.relpath(places[path], PurePosixPath(target).parent)
            return f"{match['mark']}[{text}]({relative}{match['anchor'] or ''})"
        return text if (root / path).exists() else match[0]

    return "".join(LINK.sub(rewritten, part) if is_prose else part for is_prose, part in outside_fences(text))
