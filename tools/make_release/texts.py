"""What a release changes in texts: the changelog, the version, the names of wheels in the documentation. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from itertools import zip_longest

from packaging.version import InvalidVersion, Version

UNRELEASED = "## Unreleased"
_HEADING = re.compile(r"^## (?:\[)?(?P<name>[^\]\s]+)(?:\])?(?: - (?P<date>\S+))?[ \t]*$", re.MULTILINE)
_VERSION = re.compile(r'^__version__ = "(?P<version>[^"\n]*)"$', re.MULTILINE)
_WHEEL = re.compile(r"\bmontra-[0-9][0-9A-Za-z.+!]*-py3-none-any\.whl\b")


class ReleaseError(Exception):
    """There can't be such a release. Its text says why, and what to do."""


def checked_version(wanted: str, current: str, released: Iterable[str]) -> str:
    """Check the version of a release.

    Args:
        wanted: what was asked for.
        current: the version that is written in the project; it may be one that was never released.
        released: the versions that have tags.

    Returns:
        The version.

    Raises:
        ReleaseError: it is no version, not in its normal form, or not greater than those that were released.
    """
    try:
        version = Version(wanted)
    except InvalidVersion:
        raise ReleaseError(f"{wanted!r} is no version; one is 1.4.0, or 1.4.0rc1") from None
    if str(version) != wanted or len(version.release) != 3 or version.local or version.epoch or version.dev is not None:
        raise ReleaseError(f"{wanted!r} is not in the form that we use: 1.4.0, 1.4.0a1, 1.4.0b1, 1.4.0rc1, 1.4.0.post1")
    last = max(map(Version, released), default=None)
    if last is not None and version <= last:
        raise ReleaseError(f"{wanted} is not greater than {last}, which was released")
    if version < Version(current):
        raise ReleaseError(f"{wanted} is smaller than {current}, which montra_async/_version.py says")
    return wanted


def version_of(text: str) -> str:
    """The version in the text of `_version.py`.

    Raises:
        ReleaseError: there is none.
    """
    found = _VERSION.search(text)
    if found is None:
        raise ReleaseError('_version.py has no line `__version__ = "..."`')
    return found["version"]


def with_version(text: str, version: str) -> str:
    """The text of `_version.py` with another version."""
    version_of(text)
    return _VERSION.sub(f'__version__ = "{version}"', text, count=1)


def with_wheel_name(text: str, version: str) -> str:
    """A page on which the names of our wheel have another version."""
    return _WHEEL.sub(f"montra-{version}-py3-none-any.whl", text)


def notes_of(changelog: str, name: str) -> str:
    """What a changelog says of a version; empty when it says nothing.

    Args:
        changelog: the text.
        name: a version, or `Unreleased`.

    Raises:
        ReleaseError: it has no such section.
    """
    headings = list(_HEADING.finditer(changelog))
    for index, heading in enumerate(headings):
        if heading["name"] == name:
            end = headings[index + 1].start() if index + 1 < len(headings) else len(changelog)
            return changelog[heading.end() : end].strip()
    raise ReleaseError(f"CHANGELOG.md has no section `## {name}`")


def release_days(changelog: str) -> dict[Version, date]:
    """The day of each final release that a changelog has; those without one are left out."""
    found: dict[Version, date] = {}
    for heading in _HEADING.finditer(changelog):
        if (version := _version(heading["name"])) is not None and not version.is_prerelease and heading["date"]:
            try:
                found[version] = date.fromisoformat(heading["date"])
            except ValueError:
                raise ReleaseError(f"CHANGELOG.md: {heading['date']!r} is no date such as 2026-12-01") from None
    return found


def with_release(changelog: str, version: str, day: date) -> str:
    """A changelog in which what was unreleased belongs to a version, and nothing is unreleased.

    The sections of pre-releases of the version become part of its own, each text below the heading that it had.

    Raises:
        ReleaseError: there is nothing new, or the version has a section already.
    """
    headings = list(_HEADING.finditer(changelog))
    if version in {heading["name"] for heading in headings}:
        raise ReleaseError(f"CHANGELOG.md has a section `## {version}` already")
    before = [heading["name"] for heading in headings if _prepares(heading["name"], version)]
    notes = [notes_of(changelog, name) for name in ("Unreleased", *before)]
    if not any(line.strip() and not line.startswith("#") for note in notes for line in note.splitlines()):
        raise ReleaseError("CHANGELOG.md has nothing under `## Unreleased`: what is new in this release?")
    released = f"{UNRELEASED}\n\n## {version} - {day.isoformat()}"
    text = ""
    for heading, following in zip_longest(headings, headings[1:]):
        section = changelog[heading.end() : following.start() if following else len(changelog)]
        if heading["name"] == "Unreleased":
            text += released + (f"\n\n{_merged(notes)}\n\n" if before else section)
        elif heading["name"] not in before:
            text += heading[0] + section
    return changelog[: headings[0].start()] + text


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None


def _prepares(name: str, version: str) -> bool:
    """Whether a section is that of a pre-release of a version."""
    found = _version(name)
    return found is not None and found.is_prerelease and found.base_version == version


def _merged(notes: Iterable[str]) -> str:
    """Notes as one: what stands below the same heading in several stands below it once."""
    bodies: dict[str, list[str]] = {"": []}
    for note in notes:
        for part in re.split(r"^(?=### )", note, flags=re.MULTILINE):
            heading, _, body = part.partition("\n") if part.startswith("### ") else ("", "", part)
            bodies.setdefault(heading.strip(), []).append(body.strip())
    texts = [[heading, "\n".join(body for body in parts if body)] for heading, parts in bodies.items()]
    return "\n\n".join(piece for pieces in texts for piece in pieces if piece)
