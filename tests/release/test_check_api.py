"""`nox -s api-check` in repositories of its own: which changes break users' code, and against what it compares."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from . import ROOT

griffe = pytest.importorskip("griffe", reason="griffe, of this version, needs Python 3.11")
from check_api import MODULES, judged, modules_of, public_names  # noqa: E402

FILES = {
    "CHANGELOG.md": "# Changelog\n\n## Unreleased\n",
    "tools/allowed_api_changes.txt": "# Nothing is meant.\n",
    "montra_async/__init__.py": (
        "from typing import TYPE_CHECKING\n"
        "__all__ = ['Customer', 'Montra', '__version__', 'verify']\n"
        "DEPRECATED_NAMES = {'Old': ('Customer', 'Since 0.1.0, removed in 0.3.0: use `Customer`.')}\n"
        "if TYPE_CHECKING:\n    from ._public import *\n"
    ),
    "montra_async/_public.py": (
        "from .client import Customer as Customer, Montra as Montra, Montra as Hidden, verify as verify\n"
        "__version__ = '0.1.0'\n"
    ),
    "montra_async/client.py": (
        "class Calls:\n"
        "    async def create(self, *, name: str, phone: str | None = None) -> None: ...\n"
        "    async def _private(self, a: int) -> None: ...\n"
        "class Montra(Calls):\n"
        "    def close(self) -> None: ...\n"
        "class Customer:\n"
        "    name: str\n"
        "def verify(body: bytes, age: int = 300) -> bool: ...\n"
    ),
    "montra_async/webhooks/__init__.py": "__all__ = []\n",
    "montra_pytest/__init__.py": "",
    "montra_pytest/plugin.py": "def montra() -> None: ...\ndef _help() -> None: ...\n",
}
CLIENT = "montra_async/client.py"


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project, committed."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Begin")
    return tmp_path


@pytest.fixture
def change(project: Path) -> Callable[..., None]:
    """Replaces a text in a file."""

    def replace(old: str, new: str, name: str = CLIENT) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))

    return replace


def check(root: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run the command. Returns its exit code and the lines that it printed."""
    command = [sys.executable, str(ROOT / "tools/check_api.py"), "--root", str(root), *arguments]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    return run.returncode, [line for line in (run.stdout + run.stderr).splitlines() if line]


def test_before_the_first_release_there_is_nothing_to_compare_with(project: Path) -> None:
    code, said = check(project)
    assert (code, "no release yet" in said[0]) == (0, True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (", phone: str | None = None", "", "montra_async.Montra.create(phone): Parameter was removed"),
        ("phone: str | None = None", "phone: str", "montra_async.Montra.create(phone): Parameter is now required"),
        ("def close", "def stop", "montra_async.Montra.close: Public object was removed"),
        ("name: str\n", "title: str\n", "montra_async.Customer.name: Public object was removed"),
        ("class Montra(Calls)", "class Montra", "montra_async.Montra: Base class was removed"),
        ("age: int = 300", "age: int = 200", "montra_async.verify(age): Parameter default was changed"),
        ("(body: bytes,", "(body: bytes, key: str,", "montra_async.verify(key): Parameter was added as required"),
    ],
)
def test_a_breaking_change_is_told_by_the_name_that_users_write(
    project: Path, change: Callable[..., None], old: str, new: str, expected: str
) -> None:
    git(project, "tag", "v0.1.0")
    change(old, new)
    code, said = check(project)
    assert any(line.startswith(expected) for line in said), said
    assert code == 1
    assert "This breaks code that works with v0.1.0." in said[-1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("phone: str | None = None", "phone: str | None = None, fax: str | None = None"),
        ("_private(self, a: int)", "_private(self)"),
        ("def close", "def open(self) -> None: ...\n    def close"),
    ],
)
def test_what_breaks_nothing_is_not_told(project: Path, change: Callable[..., None], old: str, new: str) -> None:
    git(project, "tag", "v0.1.0")
    change(old, new)
    change("'0.1.0'", "'0.2.0'", "montra_async/_public.py")
    change("_help", "_help2", "montra_pytest/plugin.py")
    code, said = check(project)
    assert (code, said) == (0, ["Compared with v0.1.0: nothing public is broken; 0 changes are meant."])


def test_removed_names_and_modules_are_told_but_not_deprecated_ones(project: Path, change: Callable[..., None]) -> None:
    git(project, "tag", "v0.1.0")
    change("'verify'", "", "montra_async/__init__.py")
    change("'Customer', 'Montra'", "'Montra'", "montra_async/__init__.py")
    change("{'Old'", "{'Customer'", "montra_async/__init__.py")
    (project / "montra_async/webhooks/__init__.py").unlink()
    change("def montra()", "def other()", "montra_pytest/plugin.py")
    code, said = check(project)
    assert code == 1
    assert said[:-1] == [
        "montra_async.verify: was removed",
        "montra_async.webhooks: the module was removed",
        "montra_pytest.plugin.montra: was removed",
    ]


def test_what_is_meant_has_a_line_with_a_reason_as_long_as_it_is_needed(
    project: Path, change: Callable[..., None]
) -> None:
    git(project, "tag", "v0.1.0")
    change("def close", "def stop")
    line = check(project)[1][0]
    allowed = project / "tools/allowed_api_changes.txt"
    allowed.write_text(f"{line} -- announced in 0.1.0\n")
    assert check(project)[0] == 0
    allowed.write_text(f"{line}\n")
    assert check(project) == (1, [f"tools/allowed_api_changes.txt: {line}: has no reason behind ` -- `"])
    allowed.write_text(f"{line} -- announced\nmontra_async.X: was removed -- long ago\n")
    assert check(project)[1] == ["tools/allowed_api_changes.txt: montra_async.X: was removed: is no change (any more)"]


def test_it_compares_with_the_newest_release_before_this_commit(project: Path, change: Callable[..., None]) -> None:
    for tag in ("v0.9.0", "v0.10.0", "v0.10.0rc1", "v1.0.0rc1", "very"):
        git(project, "tag", tag)
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Later")
    git(project, "switch", "--quiet", "-c", "next")
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Much later")
    git(project, "tag", "v2.0.0")
    git(project, "switch", "--quiet", "main")
    assert check(project)[1][0].startswith("Compared with v0.10.0:")
    assert check(project, "--against", "v0.9.0")[1][0].startswith("Compared with v0.9.0:")
    code, said = check(project, "--against", "nowhere")
    assert (code, said) == (2, ["Can't compare: nowhere is no commit of this clone, or has no packages"])


def test_a_clone_without_tags_compares_with_the_commit_of_the_release_or_says_what_it_needs(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (project / "CHANGELOG.md").write_text("## Unreleased\n\n## 0.2.0 - 2026-12-01\n\n- New.\n")
    git(project, "commit", "--quiet", "--all", "-m", "Release 0.2.0")
    commit = git(project, "rev-parse", "HEAD").strip()
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Later")
    assert check(project)[1][0].startswith(f"Compared with {commit}:")
    shallow = tmp_path_factory.mktemp("shallow") / "clone"
    git(project, "clone", "--quiet", "--depth", "1", project.as_uri(), str(shallow))
    code, said = check(shallow)
    assert (code, "git fetch --tags --unshallow" in said[0]) == (2, True)


def test_a_release_is_compared_with_the_one_before_it_also_when_its_own_tag_is_there(
    project: Path, change: Callable[..., None]
) -> None:
    """As the workflow sees it: the tag of the release points at HEAD, and nothing was changed since."""
    git(project, "tag", "v0.1.0")
    change("def close", "def stop")
    line = check(project)[1][0]
    git(project, "commit", "--quiet", "--all", "-m", "Release 0.2.0")
    git(project, "tag", "v0.2.0")
    code, said = check(project)
    assert (code, said[0]) == (1, line)
    assert said[-1].startswith("This breaks code that works with v0.1.0.")
    (project / "tools/allowed_api_changes.txt").write_text(f"{line} -- announced in 0.1.0\n")
    git(project, "commit", "--quiet", "--all", "--amend", "-m", "Release 0.2.0")
    git(project, "tag", "--force", "v0.2.0")
    git(project, "tag", "v0.2.0rc1")
    assert check(project) == (0, ["Compared with v0.1.0: nothing public is broken; 1 changes are meant."])
    (project / "tools/allowed_api_changes.txt").write_text("# Nothing is meant.\n")  # the change after the release
    assert check(project) == (0, ["Compared with v0.2.0: nothing public is broken; 0 changes are meant."])


def test_a_release_without_a_tag_is_compared_with_the_commit_of_the_one_before_it(
    project: Path, change: Callable[..., None]
) -> None:
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Release 0.1.0")
    commit = git(project, "rev-parse", "HEAD").strip()
    change("def close", "def stop")
    git(project, "commit", "--quiet", "--all", "-m", "Release 0.2.0")
    code, said = check(project)
    assert (code, said[-1].startswith(f"This breaks code that works with {commit}.")) == (1, True)


@pytest.mark.parametrize("version", ["0.1.0", "0.1.0rc1"])
@pytest.mark.parametrize("tagged", [True, False])
def test_the_first_release_is_the_baseline_itself(project: Path, version: str, tagged: bool) -> None:
    (project / "CHANGELOG.md").write_text(f"## Unreleased\n\n## {version} - 2026-12-01\n\n- New.\n")
    git(project, "commit", "--quiet", "--all", "-m", f"Release {version}")
    if tagged:
        git(project, "tag", f"v{version}")
    code, said = check(project)
    assert (code, "no release yet" in said[0]) == (0, True)


def test_changes_are_judged_once_each() -> None:
    assert judged(["a: x", "a: x", "b: y"], "# head\n\nb: y -- because\n") == (["a: x"], [])


def test_each_module_that_the_documentation_imports_is_watched() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    used = {
        module
        for page in pages
        for module in re.findall(r"(?:from|import) (montra(?:_async|_sync)?\b[\w.]*)", page.read_text(encoding="utf-8"))
    }
    assert len(used) > 10
    assert used <= set(MODULES)


def test_the_public_modules_of_the_project_are_read_without_importing_them() -> None:
    found = modules_of(ROOT)
    missing = {name for name in MODULES if name not in found}
    exist = [
        name
        for name in missing
        if any(ROOT.joinpath(*name.split(".")).with_suffix(end).exists() for end in ("", ".py"))
    ]
    assert exist == []
    names = set(public_names(found["montra_async"]))
    assert {"Montra", "MontraError", "Customer"} <= names
    montra = found["montra_async"]["Montra"]
    assert isinstance(montra, griffe.Alias)
    assert {"create_customer", "aclose", "with_options"} <= set(montra.all_members)
    assert "montra_sandbox" in set(public_names(found["montra_pytest.plugin"]))
