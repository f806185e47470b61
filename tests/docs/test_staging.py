"""What is made of the pages before the site is built: navigation, links, the reference, lists of all pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from . import ROOT

from build_docs.__main__ import watched  # isort: skip
from build_docs.llms import llms_full_txt, llms_txt  # isort: skip
from build_docs.page_checks import problems_of  # isort: skip
from build_docs.prose_references import with_references  # isort: skip
from build_docs.public_names import public_names  # isort: skip
from build_docs.reference_plan import is_facade, subjects_of  # isort: skip
from build_docs.repository_links import with_site_links  # isort: skip
from build_docs.staging import SiteError, Staging, check_navigation, navigation_pages  # isort: skip
from build_docs.versions import publish  # isort: skip


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Staging:
    made = Staging(tmp_path_factory.mktemp("staging"), "1.2.3")
    made.write()
    return made


@pytest.fixture(scope="module")
def pages(staging: Staging) -> dict[str, str]:
    return staging.pages()


def test_every_page_is_in_the_navigation_once(staging: Staging, pages: dict[str, str]) -> None:
    named = list(navigation_pages(staging.settings(pages)["nav"]))
    assert sorted(named) == sorted(pages)
    written = {one.relative_to(ROOT / "docs").as_posix() for one in (ROOT / "docs").rglob("*.md")}
    assert written <= set(named)


@pytest.mark.parametrize(
    ("nav", "problem"),
    [
        ([{"Home": "index.md"}], "docs/other.md is not in `nav`"),
        ([{"Home": ["index.md", "other.md", {"More": "gone.md"}]}], "names gone.md, which does not exist"),
        ([{"Home": "index.md"}, "other.md", "other.md"], "names other.md twice"),
    ],
)
def test_what_is_wrong_with_a_navigation_is_told(nav: list[object], problem: str) -> None:
    with pytest.raises(SiteError, match=problem):
        check_navigation(nav, {"index.md": "", "other.md": ""})


def test_writing_again_changes_nothing(staging: Staging) -> None:
    (staging.docs / "stale.md").write_text("# Of a page that was removed")
    before = {one: one.stat().st_mtime_ns for one in staging.docs.rglob("*.md") if one.name != "stale.md"}
    staging.write()
    assert {one: one.stat().st_mtime_ns for one in staging.docs.rglob("*.md")} == before


def test_the_configuration_is_of_this_version(staging: Staging) -> None:
    settings = json.loads(staging.config.read_text())
    assert settings["copyright"] == "Version 1.2.3"
    assert settings["theme"]["font"] is False


# Links


PLACES = {"docs/guides/usage.md": "guides/usage.md", "SECURITY.md": "project/security.md", "docs/x.png": "x.png"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](../../SECURITY.md#b)", "[a](../project/security.md#b)"),
        ("[a](usage.md)", "[a](usage.md)"),
        ("[`setup`](../../pyproject.toml) is", "`setup` is"),
        ("[a](gone.md)", "[a](gone.md)"),
        ("[a](https://example.com/x.md)", "[a](https://example.com/x.md)"),
        ("[a](#b)", "[a](#b)"),
        ("[![a](../x.png)](../../SECURITY.md)", "[![a](../x.png)](../project/security.md)"),
        ("```python\nx[a](b)\n```\n", "```python\nx[a](b)\n```\n"),
    ],
)
def test_links_out_of_the_pages_are_those_of_the_site(text: str, expected: str) -> None:
    assert with_site_links(text, "docs/guides/access.md", "guides/access.md", PLACES, ROOT) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call `Montra` or `Montra`.", "Call [`Montra`][m.Montra] or `Montra`."),
        ("`Montra`\n\n## Next\n`Montra`", "[`Montra`][m.Montra]\n\n## Next\n[`Montra`][m.Montra]"),
        ("`get(1)` here", "[`get(1)`][m.get] here"),
        ("## `Montra`", "## `Montra`"),
        ("see [`Montra`](x.md) and [`Montra`][y]", "see [`Montra`](x.md) and [`Montra`][y]"),
        ("``Montra`` and `Other`", "``Montra`` and `Other`"),
        ("| `Montra` | x |", "| [`Montra`][m.Montra] | x |"),
        ("```text\n`Montra`\n```\n", "```text\n`Montra`\n```\n"),
    ],
)
def test_names_in_prose_lead_to_the_reference(text: str, expected: str) -> None:
    assert with_references(text, {"Montra": "m.Montra", "get": "m.get"}) == expected


# The reference


def test_every_public_name_is_described_once(pages: dict[str, str]) -> None:
    reference = "\n".join(text for page, text in pages.items() if page.startswith("reference/"))
    described = re.findall(r"^::: (\S+)$", reference, re.MULTILINE)
    assert len(described) == len(set(described))
    anchors = set(re.findall(r'<span id="([^"]+)"', reference))
    missing = [one.path for one in public_names() if one.path not in described and one.path not in anchors]
    assert missing == []


def test_every_subject_has_names() -> None:
    subjects = subjects_of(public_names())
    assert [one.slug for one, names in subjects.items() if not names and "resources" not in one.modules[0]] == []
    assert all(not is_facade(name) for names in subjects.values() for name in names)


def test_every_call_of_the_client_is_described(pages: dict[str, str]) -> None:
    import inspect

    from montra_async import Montra

    reference = "\n".join(pages.values())
    names = [name for name, _ in inspect.getmembers(Montra, inspect.isfunction) if not name.startswith("_")]
    listed = set(re.findall(r"^::: montra_async\.Montra\.(\w+)$", reference, re.MULTILINE))
    [members] = re.findall(r"::: montra_async\.Montra\n(?:    .*\n)*?      members: (.*)", reference)
    assert set(names) <= listed | set(json.loads(members))


def test_every_variable_of_the_environment_is_described() -> None:
    pattern = r'"((?:MONTRA|PAYWALL|MONETIZE)_[A-Z_]+)"'
    sources = [one.read_text(encoding="utf-8") for one in ROOT.glob("montra_*/**/*.py")]
    used = {name for text in sources for name in re.findall(pattern, text)}
    text = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    assert used
    assert {name for name in used if f"`{name}`" not in text} == set()


def test_every_command_has_a_page(pages: dict[str, str]) -> None:
    from montra_cli.app import COMMANDS

    assert {f"commands/{name}.md" for name in COMMANDS} <= pages.keys()
    assert "## montra customers create" in pages["commands/customers.md"]
    assert "| `--email TEXT` | Email address, unique within the merchant." in pages["commands/customers.md"]
    assert "montra sandbox advance" in pages["commands/sandbox.md"]


# Lists for language models


def test_the_lists_name_every_page(staging: Staging, pages: dict[str, str]) -> None:
    nav = staging.settings(pages)["nav"]
    short, full = llms_txt(nav, pages), llms_full_txt(nav, pages)
    for page in pages:
        assert f"]({page.removesuffix('.md')}.html)" in short
        assert f"<!-- {page} -->" in full


def test_the_full_text_has_the_reference(staging: Staging, pages: dict[str, str]) -> None:
    full = llms_full_txt(staging.settings(pages)["nav"], pages)
    assert "async def Montra.create_customer(self, *, name: 'str'" in full
    assert "        email: email address, unique within the merchant." in full or "    email: email address" in full
    assert "\n::: " not in full


# Versions


def _built(folder: Path) -> Path:
    folder.mkdir()
    (folder / "objects.inv").touch()
    (folder / "index.html").write_text("<p>Home</p>")
    (folder / "404.html").write_text("<p>404</p>")
    (folder / "llms.txt").write_text("- [Home](index.html)\n")
    (folder / "llms-full.txt").write_text("Home\n")
    return folder


def test_versions_are_kept_side_by_side(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for version in ("0.9.0", "0.10.0", "0.10.0rc1", "0.2.0", "0.10.0"):
        publish(_built(tmp_path / "built"), site, version)
    listed = json.loads((site / "versions.json").read_text())
    assert [one["version"] for one in listed] == ["0.10.0", "0.10.0rc1", "0.9.0", "0.2.0"]
    assert [one["aliases"] for one in listed] == [["latest"], [], [], []]
    assert (site / "latest" / "index.html").resolve() == (site / "0.10.0" / "index.html").resolve()
    assert 'url=latest/index.html"' in (site / "index.html").read_text()
    assert (site / "llms.txt").read_text() == "- [Home](latest/index.html)\n"
    assert (site / "404.html").read_text() == "<p>404</p>"


def test_an_old_version_does_not_become_the_latest(tmp_path: Path) -> None:
    site = tmp_path / "site"
    publish(_built(tmp_path / "built"), site, "2.0.0")
    publish(_built(tmp_path / "built"), site, "1.9.1")
    assert (site / "latest").resolve().name == "2.0.0"


# Checks of built pages


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "index.html loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "index.html loads //fonts.example/x.css"),
        ('<img src="gone.png">', "index.html: gone.png does not exist"),
        ('<a href="other.html#gone">x</a>', "index.html: other.html#gone: the page has no such anchor"),
        ('<a href="other.html#there">x</a><a href="https://example.com">x</a><a href="#__top">x</a>', None),
        ('<link rel="canonical" href="https://example.com/">', None),
    ],
)
def test_pages_load_nothing_from_elsewhere_and_lead_somewhere(html: str, problem: str | None, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(html)
    (tmp_path / "other.html").write_text('<p id="there"></p>')
    assert problems_of(tmp_path) == ([problem] if problem else [])


def test_styles_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "x.css").write_text("@import 'https://x.example/y.css'; a { background: url(y.png) }")
    assert problems_of(tmp_path) == ["x.css loads https://x.example/y.css"]


def test_each_package_is_watched_while_the_site_is_shown() -> None:
    found = {one.relative_to(ROOT).as_posix() for one in watched()}
    assert {"README.md", "docs/index.md", "montra/__init__.py", "montra_async/client.py", "CHANGELOG.md"} <= found
