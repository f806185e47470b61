"""`nox -s release` in repositories of its own: what it makes, and when it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import ROOT

CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n\n- One thing.\n\n## 0.1.0 - 2026-11-01\n\n- Another.\n"
IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A project on the branch `main`, version 0.1.0, which was released."""
    root = tmp_path / "project"
    files = {
        "CHANGELOG.md": CHANGELOG,
        "README.md": "pip install 'dist/montra-0.1.0-py3-none-any.whl[fastapi]'\n",
        "docs/guides/a.md": "`montra-0.1.0-py3-none-any.whl`\r\n",
        "docs/b.md": "Nothing.\n",
        "montra_async/_version.py": '__version__ = "0.1.0"\n',
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    git(root, "init", "--quiet", "--initial-branch", "main")
    for key, value in (("user.name", "Ada"), ("user.email", "ada@example.com"), ("core.autocrlf", "false")):
        git(root, "config", key, value)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Begin")
    git(root, "tag", "--annotate", "v0.1.0", "-m", "montra 0.1.0")
    return root


def release(root: Path, *arguments: str) -> tuple[int, str]:
    """Run the command. Returns its exit code and all that it printed."""
    command = [sys.executable, str(ROOT / "tools/make_release"), "--root", str(root), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return run.returncode, run.stdout + run.stderr


def state(root: Path) -> str:
    return git(root, "rev-parse", "HEAD") + git(root, "tag") + git(root, "status", "--porcelain")


def test_a_release_is_a_commit_and_a_tag(repository: Path) -> None:
    code, said = release(repository, "0.2.0")
    assert code == 0, said
    assert "git push origin main v0.2.0" in said
    assert git(repository, "log", "-1", "--format=%s").strip() == "Release 0.2.0"
    assert git(repository, "describe").strip() == "v0.2.0"
    assert git(repository, "cat-file", "-t", "v0.2.0").strip() == "tag"
    notes = git(repository, "tag", "--list", "--format=%(contents)", "v0.2.0").strip()
    assert notes == "montra 0.2.0\n\n### Added\n\n- One thing."
    changed = git(repository, "show", "--name-only", "--format=").split()
    assert changed == ["CHANGELOG.md", "README.md", "docs/guides/a.md", "montra_async/_version.py"]
    assert (repository / "montra_async/_version.py").read_text() == '__version__ = "0.2.0"\n'
    assert (repository / "docs/guides/a.md").read_bytes() == b"`montra-0.2.0-py3-none-any.whl`\r\n"
    assert git(repository, "status", "--porcelain") == ""
    assert release(repository, "0.3.0") == (1, "No release: CHANGELOG.md has nothing under `## Unreleased`: what is"
        " new in this release?\n")  # fmt: skip


def test_a_dry_run_shows_the_changes_and_makes_none(repository: Path) -> None:
    before = state(repository)
    code, said = release(repository, "0.2.0", "--dry-run")
    assert (code, state(repository)) == (0, before)
    for line in ('-__version__ = "0.1.0"', '+__version__ = "0.2.0"', "+## 0.2.0 - 20", "nothing was changed"):
        assert line in said


@pytest.mark.parametrize(
    ("version", "message"),
    [("0.1.0", "not greater than 0.1.0"), ("0.0.9", "not greater"), ("two", "is no version"), ("1.0", "1.4.0")],
)
def test_a_wrong_version_is_refused(repository: Path, version: str, message: str) -> None:
    before = state(repository)
    code, said = release(repository, version)
    assert (code, state(repository)) == (1, before)
    assert said.startswith("No release: ")
    assert message in said


def test_a_working_tree_with_changes_is_refused(repository: Path) -> None:
    (repository / "left.txt").write_text("left")
    code, said = release(repository, "0.2.0")
    assert (code, "?? left.txt" in said) == (1, True)


def test_another_branch_is_refused_unless_it_is_named(repository: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "0.1-fixes")
    code, said = release(repository, "0.1.1")
    assert (code, "this is the branch '0.1-fixes'" in said) == (1, True)
    assert release(repository, "0.1.1", "--branch", "0.1-fixes")[0] == 0


def _commit(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", f"Change {name}")


def test_a_deprecation_that_is_overdue_or_gone_too_early_is_refused(repository: Path) -> None:
    old = '@deprecated("Since 0.1.0, removed in 0.3.0: use `new`.")\ndef old(): ...\n'
    _commit(repository, "montra_async/old.py", old)
    assert release(repository, "0.2.0")[0] == 0
    released = (repository / "CHANGELOG.md").read_text()
    later = released.replace("## Unreleased\n", "## Unreleased\n\n- More.\n").replace("2026-11-01", "2999-11-01")
    _commit(repository, "CHANGELOG.md", later)
    code, said = release(repository, "0.3.0")
    assert (code, "montra_async/old.py:1: can't go in 0.3.0 yet (it was deprecated on 2999-11-01" in said) == (1, True)
    _commit(repository, "montra_async/old.py", "")
    code, said = release(repository, "0.3.0")
    assert (code, "montra_async/old.py:1: was removed too early" in said) == (1, True)
    assert release(repository, "0.3.0", "--early-removal", "--dry-run")[0] == 0
    text = (repository / "CHANGELOG.md").read_text().replace("2999-11-01", "2025-11-01")
    _commit(repository, "CHANGELOG.md", text)
    assert release(repository, "0.3.0", "--dry-run")[0] == 0
    _commit(repository, "montra_async/old.py", old)
    code, said = release(repository, "0.3.0")
    assert (code, "montra_async/old.py:1: should be gone in 0.3.0" in said) == (1, True)


def test_a_final_release_follows_its_pre_release(repository: Path) -> None:
    for version in ("0.2.0rc1", "0.2.0"):
        code, said = release(repository, version)
        assert code == 0, said
    notes = git(repository, "tag", "--list", "--format=%(contents)", "v0.2.0").strip()
    assert notes == "montra 0.2.0\n\n### Added\n\n- One thing."
    log = (repository / "CHANGELOG.md").read_text()
    assert [line.split()[1] for line in log.splitlines() if line.startswith("## ")] == ["Unreleased", "0.2.0", "0.1.0"]


def test_the_notes_of_a_release_are_printed(repository: Path) -> None:
    assert release(repository, "0.1.0", "--notes") == (0, "- Another.\n")
    assert release(repository, "0.5.0", "--notes") == (1, "No release: CHANGELOG.md has no section `## 0.5.0`\n")


def test_tags_of_another_form_are_no_releases(repository: Path) -> None:
    for tag in ("v2-old-name", "v9-beta", "v3", "version", "v9.0.0-beta", "v9.0.0.dev1"):
        git(repository, "tag", tag)
    code, said = release(repository, "0.2.0")
    assert code == 0, said


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
def test_when_a_file_can_not_be_written_nothing_is_changed(repository: Path) -> None:
    """As on a full disk: the second file, docs/guides/a.md, is larger than a file may be here."""
    _commit(repository, "docs/guides/a.md", "`montra-0.1.0-py3-none-any.whl`\n" + "x" * 200_000)
    before = state(repository)
    code = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    tool = str(ROOT / "tools/make_release")
    run = subprocess.run(
        [sys.executable, "-c", code, tool, "0.2.0", "--root", str(repository)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (run.returncode, state(repository)) == (1, before), run.stderr
    assert run.stderr.startswith("No release: [Errno 27]")
    assert not list(repository.rglob("*.release"))


def test_when_git_refuses_the_commit_nothing_is_left_of_it(repository: Path) -> None:
    hook = repository / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'no commits today' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = state(repository)
    code, said = release(repository, "0.2.0")
    assert (code, state(repository)) == (1, before)
    assert "no commits today" in said


def test_when_the_tag_is_there_already_nothing_is_left_of_it(repository: Path) -> None:
    hook = repository / ".git/hooks/post-commit"  # a tag that appears between the check and ours
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ngit tag v0.2.0\n")
    hook.chmod(0o755)
    head = git(repository, "rev-parse", "HEAD")
    code, said = release(repository, "0.2.0")
    assert (code, "already exists" in said) == (1, True)
    assert git(repository, "rev-parse", "HEAD") == head
    assert git(repository, "status", "--porcelain") == ""


def test_the_project_itself_can_be_released(tmp_path: Path) -> None:
    """A clone of it, with what is committed here."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: an unpacked source distribution")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
    git(clone, "switch", "--quiet", "-C", "main")
    for key, value in (("user.name", "Ada"), ("user.email", "ada@example.com")):
        git(clone, "config", key, value)
    log = clone / "CHANGELOG.md"
    log.write_text(
        log.read_text(encoding="utf-8").replace("## Unreleased\n", "## Unreleased\n\n- A line.\n", 1), "utf-8"
    )
    git(clone, "commit", "--quiet", "--all", "--allow-empty", "-m", "A change")
    code, said = release(clone, "99.0.0")
    assert code == 0, said
    assert git(clone, "describe", "--exact-match").strip() == "v99.0.0"
    assert '__version__ = "99.0.0"' in (clone / "montra_async/_version.py").read_text()
    assert "\n## 99.0.0 - 20" in (clone / "CHANGELOG.md").read_text(encoding="utf-8")
