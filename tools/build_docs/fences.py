"""The fences of a Markdown page: which code it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent

FENCE = re.compile(
    r"^(?P<indent>[ \t]*)```(?P<language>\w*)(?P<words>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
FILE_NAME = re.compile(r"# ([\w/]+\.(?:py|ini|toml))\n")


@dataclass(frozen=True)
class Fence:
    """Code in a page.

    Attributes:
        language: `python`, `console`, `text`, ...
        words: what follows the language: `no-sync`.
        code: the code, without the indentation of the fence.
        line: the number of the line that it begins with, from 1.
        output: what the `text` fence shows that follows this one directly, or None.
    """

    language: str
    words: tuple[str, ...]
    code: str
    line: int
    output: str | None = None

    @property
    def file_name(self) -> str | None:
        """The name of the file that the code is, as its first line `# name.py` says."""
        found = FILE_NAME.match(self.code)
        return found[1] if found else None


def fences(text: str) -> Iterator[Fence]:
    """The fences of a page.

    Args:
        text: Markdown.
    """
    found = list(FENCE.finditer(text))
    for index, match in enumerate(found):
        output = None
        if match["language"] == "python" and index + 1 < len(found):
            following = found[index + 1]
            directly = not text[match.end() : following.start()].strip()
            output = _code_of(following) if directly and following["language"] == "text" else None
        line = text.count("\n", 0, match.start()) + 1
        yield Fence(match["language"], tuple(match["words"].split()), _code_of(match), line, output)


def _code_of(match: re.Match[str]) -> str:
    return dedent(match["code"]) if match["indent"] else match["code"]


def outside_fences(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a page, in order, each with whether it is outside of fences. Joined, they are the page."""
    end = 0
    for match in FENCE.finditer(text):
        yield True, text[end : match.start()]
        yield False, match[0]
        end = match.end()
    yield True, text[end:]
