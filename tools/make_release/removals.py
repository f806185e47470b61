"""Finds what is deprecated, in the source, and whether it is time to remove it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version

from montra_async.core.deprecation import parse_deprecation

DECORATORS = ("deprecated", "deprecated_parameter")
TABLE = "DEPRECATED_NAMES"
MINORS = 2
"""How many minor versions something stays, with the one that deprecates it."""
DAYS = 183
"""How long something stays at least, from the release that deprecates it: six months."""


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


class Unclear(NamedTuple):
    """A deprecation that can't be read.

    Attributes:
        where: file and line.
        text: what is wrong with it.
    """

    where: str
    text: str


class History(NamedTuple):
    """What was released, and what is about to be.

    Attributes:
        now: the version of the release; of a pre-release, that for which it prepares.
        today: its day.
        days: the day of each earlier release.
    """

    now: Version
    today: date
    days: Mapping[Version, date]


def deprecations_in(root: Path, packages: Iterable[str]) -> list[Found | Unclear]:
    """All deprecations in the packages below a folder."""
    files = (file for package in packages for file in sorted((root / package).rglob("*.py")))
    return [one for file in files for one in deprecations_of(file.read_text("utf-8"), str(file.relative_to(root)))]


def deprecations_of(source: str, name: str) -> Iterator[Found | Unclear]:
    """The deprecations in a file: decorators, and the texts of its `DEPRECATED_NAMES`.

    Args:
        source: its text.
        name: its name.
    """
    for node in ast.walk(ast.parse(source)):
        texts: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in DECORATORS:
            texts = node.args[-1:] or [node]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(ast.unparse(one) == TABLE for one in targets):
                texts = list(_texts_of_table(node.value))
        for text in texts:
            yield _read(text, f"{name}:{text.lineno}")


def _texts_of_table(table: ast.expr) -> Iterator[ast.expr]:
    """The texts of `{"Old": ("New", "Since ...")}`; what has another form stands for itself."""
    if not isinstance(table, ast.Dict):
        yield table
        return
    for pair in table.values:
        yield pair.elts[1] if isinstance(pair, ast.Tuple) and len(pair.elts) == 2 else pair


def _read(text: ast.expr, where: str) -> Found | Unclear:
    if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
        return Unclear(where, f"the text of a deprecation is one literal, not {ast.unparse(text)}")
    try:
        found = parse_deprecation(text.value)
    except ValueError as error:
        return Unclear(where, str(error))
    return Found(where, text.value, Version(found.since), Version(found.removed_in))


def problems_of(found: Iterable[Found | Unclear], history: History) -> Iterator[str]:
    """What a version must not contain: what it should have removed, and what will be removed too soon.

    Args:
        found: all deprecations.
        history: the releases.
    """
    for one in found:
        if isinstance(one, Unclear):
            yield f"{one.where}: {one.text}"
            continue
        if one.removed_in < earliest_removal(one.since):
            earliest = earliest_removal(one.since)
            yield f"{one.where}: may be removed in {earliest} at the earliest: {one.text}"
        if one.removed_in <= history.now:
            early = too_early(one, history)
            what = f"can't go in {history.now} yet ({early}), so name a later version" if early else None
            yield f"{one.where}: {what or f'should be gone in {one.removed_in}'}: {one.text}"


def early_removals(
    before: Iterable[Found | Unclear], found: Iterable[Found | Unclear], history: History
) -> Iterator[str]:
    """What the last release has, this one has not, and may not have removed yet.

    Args:
        before: the deprecations of the last release.
        found: those of this one.
        history: the releases.
    """
    kept = {_key(one) for one in found if isinstance(one, Found)}
    for one in before:
        if isinstance(one, Found) and _key(one) not in kept and (early := too_early(one, history)):
            yield f"{one.where}: was removed too early ({early}): {one.text}"


def _key(one: Found) -> tuple[Version, str]:
    """What stays when a deprecation names a later version."""
    return one.since, one.text.partition(": ")[2]


def too_early(one: Found, history: History) -> str:
    """Why something can't be removed now; empty when it can.

    Args:
        one: a deprecation.
        history: the releases.
    """
    first, last = one.since.release[:2], history.now.release[:2]
    lived = {version.release[:2] for version in history.days if first <= version.release[:2] < last}
    if len(lived) < MINORS:
        return f"it was in {len(lived)} of {MINORS} minor versions"
    since = history.days.get(one.since)
    if since is not None and history.today < since + timedelta(days=DAYS):
        return f"it was deprecated on {since}, and stays for six months"
    return ""


def earliest_removal(since: Version) -> Version:
    """The first version that may remove what a version has deprecated."""
    return Version(f"{since.major}.{since.minor + MINORS}.0")
