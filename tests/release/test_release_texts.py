"""The texts that a release changes: pure functions."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given, strategies as st
from make_release.removals import deprecations_in, deprecations_of, earliest_removal, problems_of
from make_release.texts import (
    ReleaseError,
    checked_version,
    notes_of,
    version_of,
    with_release,
    with_version,
    with_wheel_name,
)
from packaging.version import Version

from . import ROOT

DAY = date(2026, 12, 1)
CHANGELOG = """# Changelog

The format.

## Unreleased

### Added

- One thing.

## 0.1.0 - 2026-11-01

- Another.
"""

numbers = st.integers(0, 50)
suffixes = st.sampled_from(["", "a1", "b2", "rc1", ".post1"])
versions = st.builds(lambda a, b, c, end: f"{a}.{b}.{c}{end}", numbers, numbers, numbers, suffixes)


def test_what_was_unreleased_belongs_to_the_version_then() -> None:
    found = with_release(CHANGELOG, "0.2.0", DAY)
    assert "## Unreleased\n\n## 0.2.0 - 2026-12-01\n\n### Added\n\n- One thing.\n\n## 0.1.0 - 2026-11-01" in found
    assert notes_of(found, "0.2.0") == "### Added\n\n- One thing."
    assert notes_of(found, "Unreleased") == ""
    assert notes_of(found, "0.1.0") == "- Another."


lines = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30).map(lambda one: f"- {one}\n")


@given(before=st.lists(lines), new=st.lists(lines, min_size=1), after=st.lists(lines), version=versions)
def test_no_line_of_a_changelog_is_lost_and_a_second_release_is_refused(
    before: list[str], new: list[str], after: list[str], version: str
) -> None:
    text = "".join([*before, "\n## Unreleased\n", *new, "\n## 99.0.0 - 2026-01-01\n", *after])
    found = with_release(text, version, DAY)
    assert found.replace(f"\n\n## {version} - 2026-12-01", "") == text
    assert notes_of(found, version) == notes_of(text, "Unreleased")
    with pytest.raises(ReleaseError, match="already|nothing under"):  # noqa: RUF043
        with_release(found, version, DAY)
    with pytest.raises(ReleaseError, match="nothing under"):
        with_release(found, "100.0.0", DAY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Changelog\n", "no section `## Unreleased`"),
        ("## Unreleased\n\n## 0.1.0\n\n- Old.\n", "nothing under"),
        ("## Unreleased\n\n### Added\n\n### Changed\n", "nothing under"),
        ("## Unreleased\n\n- New.\n\n## 0.2.0 - 2026-01-01\n", "already"),
    ],
)
def test_a_changelog_that_is_not_ready_is_refused(text: str, message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        with_release(text, "0.2.0", DAY)


@given(wanted=versions, current=versions, released=st.lists(versions, max_size=4))
def test_a_version_is_greater_than_all_that_were_released_and_not_below_the_current_one(
    wanted: str, current: str, released: list[str]
) -> None:
    fits = all(Version(wanted) > Version(one) for one in released) and Version(wanted) >= Version(current)
    if fits:
        assert checked_version(wanted, current, released) == wanted
    else:
        with pytest.raises(ReleaseError, match="not greater|smaller"):  # noqa: RUF043
            checked_version(wanted, current, released)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("next", "is no version"),
        ("", "is no version"),
        ("1.0", "form that we use"),
        ("v1.0.0", "form that we use"),
        ("1.0.0-rc1", "form that we use"),
        ("1.0.0+local", "form that we use"),
        ("1!1.0.0", "form that we use"),
        ("1.0.0.dev1", "form that we use"),
        ("01.0.0", "form that we use"),
    ],
)
def test_what_is_no_version_of_ours_is_refused(wanted: str, message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        checked_version(wanted, "0.1.0", [])


def test_the_first_release_may_have_the_version_that_is_written() -> None:
    assert checked_version("0.1.0", "0.1.0", []) == "0.1.0"


def test_the_version_is_written_where_it_is_read() -> None:
    text = (ROOT / "montra_async/_version.py").read_text()
    assert version_of(with_version(text, "7.8.9")) == "7.8.9"
    with pytest.raises(ReleaseError, match="has no line"):
        version_of("version = 1\n")


def test_names_of_wheels_in_the_documentation_follow() -> None:
    text = "`pip install 'dist/montra-0.1.0-py3-none-any.whl[fastapi]'`, other-0.1.0-py3-none-any.whl"
    assert with_wheel_name(text, "0.2.0rc1") == text.replace("montra-0.1.0", "montra-0.2.0rc1")


SOURCE = """
@deprecated("Since 0.2.0, removed in 0.4.0: use `a`.")
def one(): ...

@core.deprecation.deprecated_parameter("limit", "Since 0.2.0, removed in 0.3.0: use `b`.")
async def two(): ...

DEPRECATED_NAMES: dict = {"Old": ("New", "Since 0.1.0, removed in 1.0.0: use `New`.")}
OTHER = {"Old": ("New", "Since 0.1.0, removed in 0.1.1: of somebody else.")}
"""


def test_deprecations_are_found_wherever_they_are_written() -> None:
    found = list(deprecations_of(SOURCE, "client.py"))
    assert [(one.where, str(one.removed_in)) for one in found] == [
        ("client.py:8", "1.0.0"),
        ("client.py:2", "0.4.0"),
        ("client.py:5", "0.3.0"),
    ]


def test_what_is_overdue_or_too_soon_stands_in_the_way_of_a_release() -> None:
    found = list(deprecations_of(SOURCE, "client.py"))
    too_soon = "client.py:5: may be removed in 0.4.0 at the earliest: Since 0.2.0, removed in 0.3.0: use `b`."
    assert list(problems_of(found, "0.2.9")) == [too_soon]
    overdue = "client.py:2: should be gone in 0.4.0: Since 0.2.0, removed in 0.4.0: use `a`."
    for version in ("0.4.0", "0.4.0rc1", "0.5.0"):
        assert overdue in list(problems_of(found, version))
    assert len(list(problems_of(found, "1.0.0"))) == 4


@given(since=st.tuples(numbers, numbers, numbers))
def test_something_stays_for_two_minor_versions(since: tuple[int, int, int]) -> None:
    removal = earliest_removal(Version(".".join(map(str, since))))
    assert (removal.major, removal.minor, removal.micro) == (since[0], since[1] + 2, 0)


def test_nothing_in_the_project_is_overdue() -> None:
    """Fails as soon as the version of the project reaches one in which something should be gone."""
    packages = [package.name for package in ROOT.glob("montra*") if (package / "__init__.py").exists()]
    assert len(packages) >= 5
    version = version_of((ROOT / "montra_async/_version.py").read_text())
    assert list(problems_of(deprecations_in(ROOT, packages), version)) == []


def test_the_changelog_of_the_project_can_be_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## Unreleased$", text, re.MULTILINE)
    notes_of(text, "Unreleased")
