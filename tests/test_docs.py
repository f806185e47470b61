"""No snippet that can't run: the Python of README and docs is executed, against a sandbox on the port they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILE_NAME = re.compile(r"# ([a-z_]+\.(?:py|ini))\n")
"""The first line of a snippet that is a file of its own."""
SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    if not FILE_NAME.match(code)
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_run(code: str, served: str, tmp_path: Path) -> None:
    assert "http://" not in code.replace("http://127.0.0.1:4242", "")
    code = code.replace("http://127.0.0.1:4242", served.removesuffix("/api/v1"))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "MONTRA_OUTBOX": str(tmp_path / "usage.db")},
    )
    assert (run.returncode, run.stderr) == (0, "")


def files_of(page: Path) -> dict[str, str]:
    """The files that a page shows, by name."""
    snippets = re.findall(r"```(?:python|ini)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return {match[1]: code for code in snippets if (match := FILE_NAME.match(code))}


PAGES_WITH_TESTS = [page for page in PAGES if any(name.startswith("test_") for name in files_of(page))]


@pytest.mark.parametrize("page", PAGES_WITH_TESTS, ids=lambda page: page.name)
def test_the_tests_that_a_page_shows_pass(page: Path, tmp_path: Path) -> None:
    files = files_of(page)
    guide = files_of(ROOT / "docs" / "guides" / "testing.md")
    application = {name: code for name, code in guide.items() if "test_" not in name}
    for name, code in {**application, **files}.items():
        (tmp_path / name).write_text(code)
    shown = sum(len(re.findall(r"^(?:async )?def test_", code, re.MULTILINE)) for code in files.values())
    options = ["-p", "no:cacheprovider", "-p", "montra_pytest.plugin", "-p", "pytest_asyncio.plugin"]
    settings = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", *options, *settings],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert (run.returncode, f"{shown} passed" in run.stdout) == (0, True), run.stdout + run.stderr


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 4


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
