"""The pages: their links lead somewhere, and what the README begins with works."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from . import PAGES, ROOT


def test_the_readme_opens_with_the_two_commands() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    commands = re.findall(r"```console\n(.*?)\n```", readme)
    assert commands[:2] == ["pip install nox && nox -s quickstart", "pip install nox && nox -s tests"]


def test_the_quickstart_runs() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "quickstart.py")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert re.search(r"^\d+ steps, all as expected\.$", run.stdout, re.MULTILINE)


def test_the_quickstart_stays_with_demo_data_when_asked() -> None:
    quickstart = subprocess.Popen(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "quickstart.py"), "--stay", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert quickstart.stdout is not None
    try:
        found = next(match for line in quickstart.stdout if (match := re.search(r"dashboard, at (\S+)", line)))
        next(line for line in quickstart.stdout if "200 invented customers" in line)
        with urllib.request.urlopen(found[1], timeout=30) as page:
            assert page.headers["Content-Type"].startswith("text/html")
    finally:
        quickstart.terminate()
        said, _ = quickstart.communicate(timeout=30)
    assert (quickstart.returncode, said.endswith("Stopped.\n")) == (0, True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_no_page_uses_what_is_not_public() -> None:
    pages = [page for page in PAGES if page.name != "policies.md"]  # which says what is not public
    pattern = re.compile(r"montra_a?sync\.core")
    assert [page.name for page in pages if pattern.search(page.read_text(encoding="utf-8"))] == []


def pages_linked_from(page: Path) -> set[Path]:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    return {(page.parent / one).resolve() for one in targets if one.endswith(".md") and not one.startswith("http")}


def test_every_page_is_two_clicks_from_the_first() -> None:
    first = ROOT / "docs" / "index.md"
    near = pages_linked_from(first)
    reached = {first, *near}.union(*(pages_linked_from(page) for page in near))
    assert [str(page.relative_to(ROOT)) for page in PAGES[1:] if page not in reached] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            text = (page.parent / target if target else page).read_text(encoding="utf-8")
            prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
            headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}
            assert anchor in slugs, f"{target}#{anchor}"
