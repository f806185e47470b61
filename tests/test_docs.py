"""No snippet that can't run: the Python of README and docs is executed, against a sandbox on the port they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
