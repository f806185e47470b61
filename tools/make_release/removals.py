"""Finds what is deprecated, in the source, and whether it is time to remove it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version

DECORATORS = ("deprecated", "deprecated_parameter")
TABLE = "DEPRECATED_NAMES"
_TEXT = re.compile(r"Since (?P<since>[0-9.]+), removed in (?P<removed_in>[0-9.]+): ")
MINORS = 2
"""How many minor versions something stays after the one that deprecates it."""


class Found(NamedTuple):
    """A deprecation.

    Attributes:
        where: file and line.
        text: what it says.
        since: the version that deprecates.
        removed_in: the version that removes.
    """

    where: str
    text: str
    since: Version
    removed_in: Version


def deprecations_in(root: Path, packages: Iterable[str]) -> list[Found]:
    """All deprecations in the packages below a folder."""
    files = (file for package in packages for file in sorted((root / package).rglob("*.py")))
    return [one for file in files for one in deprecations_of(file.read_text("utf-8"), str(file.relative_to(root)))]


def deprecations_of(source: str, name: str) -> Iterator[Found]:
    """The deprecations in a file: decorators, and the texts of its `DEPRECATED_NAMES`.

    Args:
        source: its text.
        name: its name.
    """
    for node in ast.walk(ast.parse(source)):
        texts: list[ast.Constant] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in DECORATORS:
            texts = [one for one in node.args[-1:] if isinstance(one, ast.Constant)]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(ast.unparse(one) == TABLE for one in targets):
                texts = [one for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
        for text in texts:
            found = _TEXT.match(str(text.value))
            if found is not None:
                where = f"{name}:{text.lineno}"
                yield Found(where, str(text.value), Version(found["since"]), Version(found["removed_in"]))


def problems_of(found: Iterable[Found], version: str) -> Iterator[str]:
    """What a version must not contain: what it should have removed, and what will be removed too soon.

    Args:
        found: all deprecations.
        version: of the release; of a pre-release, that for which it prepares.
    """
    now = Version(Version(version).base_version)
    for one in found:
        if one.removed_in <= now:
            yield f"{one.where}: should be gone in {one.removed_in}: {one.text}"
        if one.removed_in < earliest_removal(one.since):
            earliest = earliest_removal(one.since)
            yield f"{one.where}: may be removed in {earliest} at the earliest: {one.text}"


def earliest_removal(since: Version) -> Version:
    """The first version that may remove what a version has deprecated."""
    return Version(f"{since.major}.{since.minor + MINORS}.0")
