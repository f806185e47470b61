"""The texts that a release changes: pure functions."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given, strategies as st
from make_release.removals import (
    Found,
    History,
    Unclear,
    deprecations_in,
    deprecations_of,
    earliest_removal,
    early_removals,
    problems_of,
)
from make_release.texts import (
    ReleaseError,
    checked_version,
    notes_of,
    release_days,
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


PRE = """# Changelog

## Unreleased

### Fixed

- A typo.

## 0.2.0rc2 - 2026-11-20

- In general.

### Added

- Two.

## 0.2.0rc1 - 2026-11-10

### Added

- One.

### Changed

- Three.

## 0.1.0 - 2026-11-01

- Another.
"""


def test_a_final_release_has_what_its_pre_releases_had() -> None:
    found = with_release(PRE, "0.2.0", DAY)
    assert notes_of(found, "0.2.0") == (
        "- In general.\n\n### Fixed\n\n- A typo.\n\n### Added\n\n- Two.\n- One.\n\n### Changed\n\n- Three."
    )
    assert re.findall("^## .*", found, re.MULTILINE) == [
        "## Unreleased", "## 0.2.0 - 2026-12-01", "## 0.1.0 - 2026-11-01"
    ]  # fmt: skip
    assert found.startswith("# Changelog\n\n## Unreleased\n\n## 0.2.0")
    assert found.endswith("- Three.\n\n## 0.1.0 - 2026-11-01\n\n- Another.\n")
    assert list(release_days(found)) == [Version("0.2.0"), Version("0.1.0")]


def test_a_final_release_needs_nothing_new_behind_its_pre_release_but_another_does() -> None:
    text = PRE.replace("### Fixed\n\n- A typo.\n\n", "")
    assert "- Two." in notes_of(with_release(text, "0.2.0", DAY), "0.2.0")
    for version in ("0.2.0rc3", "0.2.1", "0.3.0", "0.2.0.post1"):
        with pytest.raises(ReleaseError, match="nothing under"):
            with_release(text, version, DAY)
        assert "## 0.2.0rc2 - 2026-11-20" in with_release(PRE, version, DAY)


def test_a_day_that_is_none_is_told() -> None:
    with pytest.raises(ReleaseError, match="'soon' is no date"):
        release_days("## 0.1.0 - soon\n")


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


DAYS = {Version(f"0.{minor}.0"): date(2025, 1, minor + 1) for minor in range(10)}


def history(now: str, today: date = DAY, days: dict[Version, date] = DAYS) -> History:
    return History(Version(now), today, {version: day for version, day in days.items() if version < Version(now)})


def test_deprecations_are_found_wherever_they_are_written() -> None:
    found = [one for one in deprecations_of(SOURCE, "client.py") if isinstance(one, Found)]
    assert [(one.where, str(one.removed_in)) for one in found] == [
        ("client.py:8", "1.0.0"),
        ("client.py:2", "0.4.0"),
        ("client.py:5", "0.3.0"),
    ]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("@deprecated(TEXT)\ndef one(): ...", "one literal, not TEXT"),
        ("@deprecated()\ndef one(): ...", "one literal, not deprecated()"),
        ("@deprecated_parameter('a', f'Since {x}')\ndef one(): ...", "one literal, not f'Since {x}'"),
        ("@deprecated('Since 1..2, removed in 1.4.0: use `a`.')\ndef one(): ...", "a deprecation reads"),
        ("@deprecated('Since 0.2, removed in 0.4: use `a`.')\ndef one(): ...", "a deprecation reads"),
        ("@deprecated('Old.')\ndef one(): ...", "a deprecation reads"),
        ("DEPRECATED_NAMES = {'Old': ('New', TEXT)}", "one literal, not TEXT"),
        ("DEPRECATED_NAMES = {'Old': 'New'}", "a deprecation reads"),
        ("DEPRECATED_NAMES = {**OTHERS}", "one literal, not OTHERS"),
        ("DEPRECATED_NAMES = names()", "one literal, not names()"),
    ],
)
def test_a_deprecation_that_can_not_be_read_stands_in_the_way(source: str, what: str) -> None:
    found = list(deprecations_of(source, "client.py"))
    assert [type(one) for one in found] == [Unclear]
    (problem,) = problems_of(found, history("0.9.0"))
    assert problem.startswith("client.py:1: ")
    assert what in problem


def test_what_is_overdue_or_too_soon_stands_in_the_way_of_a_release() -> None:
    found = list(deprecations_of(SOURCE, "client.py"))
    too_soon = "client.py:5: may be removed in 0.4.0 at the earliest: Since 0.2.0, removed in 0.3.0: use `b`."
    assert list(problems_of(found, history("0.2.9"))) == [too_soon]
    overdue = "client.py:2: should be gone in 0.4.0: Since 0.2.0, removed in 0.4.0: use `a`."
    for version in ("0.4.0", "0.5.0"):
        assert overdue in list(problems_of(found, history(version)))
    assert len(list(problems_of(found, history("1.0.0")))) == 4


def _deprecated(since: str, removed_in: str) -> list[Found | Unclear]:
    return list(
        deprecations_of(f'@deprecated("Since {since}, removed in {removed_in}: use `a`.")\ndef f(): ...', "a.py")
    )


def test_nothing_goes_with_the_next_major_version_when_that_comes_too_soon() -> None:
    """From 0.9 to 1.0 is no minor version: the number alone does not tell."""
    found = _deprecated("0.9.0", "1.0.0")
    why = "it was in 1 of 2 minor versions"
    text = "Since 0.9.0, removed in 1.0.0: use `a`."
    assert list(problems_of(found, history("1.0.0"))) == [
        f"a.py:1: can't go in 1.0.0 yet ({why}), so name a later version: {text}"
    ]
    assert list(early_removals(found, [], history("1.0.0"))) == [f"a.py:1: was removed too early ({why}): {text}"]
    assert list(early_removals(found, found, history("1.0.0"))) == []
    assert list(early_removals(found, _deprecated("0.9.0", "1.2.0"), history("1.0.0"))) == []
    assert list(early_removals(_deprecated("0.8.0", "1.0.0"), [], history("1.0.0"))) == []


@given(days=st.integers(0, 400))
def test_something_stays_for_six_months(days: int) -> None:
    found, now = (
        _deprecated("0.4.0", "0.6.0"),
        history("0.6.0", date.fromordinal(DAYS[Version("0.4.0")].toordinal() + days)),
    )
    (problem,) = problems_of(found, now)
    assert ("can't go in 0.6.0 yet (it was deprecated on 2025-01-05" in problem) == (days < 183)
    assert ("should be gone in 0.6.0" in problem) == (days >= 183)
    assert (list(early_removals(found, [], now)) == []) == (days >= 183)


@given(since=st.tuples(numbers, numbers, numbers))
def test_something_stays_for_two_minor_versions(since: tuple[int, int, int]) -> None:
    removal = earliest_removal(Version(".".join(map(str, since))))
    assert (removal.major, removal.minor, removal.micro) == (since[0], since[1] + 2, 0)


def test_nothing_in_the_project_is_overdue() -> None:
    """Fails as soon as the version of the project reaches one in which something should be gone."""
    packages = [package.name for package in ROOT.glob("montra*") if (package / "__init__.py").exists()]
    assert len(packages) >= 5
    version = Version(version_of((ROOT / "montra_async/_version.py").read_text()))
    days = release_days((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert list(problems_of(deprecations_in(ROOT, packages), History(version, DAY, days))) == []


def test_the_changelog_of_the_project_can_be_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## Unreleased$", text, re.MULTILINE)
    notes_of(text, "Unreleased")
