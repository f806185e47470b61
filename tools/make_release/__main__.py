"""Make a release: changelog, version, commit and tag. Pushes nothing.

    python tools/make_release 0.2.0              `nox -s release -- 0.2.0`
    python tools/make_release 0.2.0 --dry-run    show what would change
    python tools/make_release 0.2.0 --notes      print what the changelog says of a release that was made

It needs a clean working tree on the branch `main`, something under "Unreleased" in CHANGELOG.md (a final release: or in
the sections of its pre-releases, which become part of its own), a version that is greater than the last one, and no
deprecation that is overdue or gone too early. Then it moves "Unreleased" to the version, writes the version into
montra_async/_version.py and the names of wheels in the documentation, commits, and makes the tag `v0.2.0` with the
notes of the release. Undo, before a push: git tag -d v0.2.0 && git reset --hard HEAD~1
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import date, datetime, timezone
from pathlib import Path

from packaging.version import Version

if __name__ == "__main__" and not __package__:
    sys.path[:1] = [str(folder) for folder in Path(__file__).resolve().parents[1:3]]  # tools/, and montra_async

from make_release.removals import History, deprecations_in, early_removals, problems_of
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

ROOT = Path(__file__).resolve().parents[2]
VERSION_FILE = Path("montra_async/_version.py")
CHANGELOG = Path("CHANGELOG.md")
TAG = re.compile(r"v([0-9]+\.[0-9]+\.[0-9]+(?:(?:a|b|rc)[0-9]+|\.post[0-9]+)?)")
PACKAGES = ("montra", "montra_async", "montra_cli", "montra_pytest", "montra_sandbox", "montra_sync")


def git(root: Path, *arguments: str) -> str:
    """Run Git. Returns what it printed.

    Raises:
        ReleaseError: it fails.
    """
    run = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ReleaseError(f"git {arguments[0]}: {(run.stderr or run.stdout).strip()}")
    return run.stdout


def check_repository(root: Path, branch: str) -> list[str]:
    """Check where we are.

    Args:
        root: the working tree.
        branch: from which releases are made.

    Returns:
        The versions that have tags.

    Raises:
        ReleaseError: no release can be made here.
    """
    current = git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
    if current != branch:
        raise ReleaseError(f"this is the branch {current!r}; releases are made on {branch!r} (--branch names another)")
    if changed := git(root, "status", "--porcelain"):
        raise ReleaseError(f"there are changes that are not committed:\n{changed.rstrip()}")
    return [found[1] for tag in git(root, "tag", "--list", "v*").split() if (found := TAG.fullmatch(tag))]


def edits(root: Path, version: str, day: date) -> dict[Path, str]:
    """The new text of each file that the release changes.

    Raises:
        ReleaseError: a file is not as it should be.
    """
    pages = [Path("README.md"), Path("CONTRIBUTING.md")]
    pages += sorted(page.relative_to(root) for page in (root / "docs").rglob("*.md"))
    texts = {page: with_wheel_name(_text(root / page), version) for page in pages if (root / page).exists()}
    texts[CHANGELOG] = with_release(_text(root / CHANGELOG), version, day)
    texts[VERSION_FILE] = with_version(_text(root / VERSION_FILE), version)
    return {path: text for path, text in texts.items() if text != _text(root / path)}


def _text(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are
        return file.read()


def difference(root: Path, changed: dict[Path, str]) -> str:
    """The changes, as a unified diff."""
    lines: list[str] = []
    for path, text in changed.items():
        before = _text(root / path).splitlines(keepends=True)
        lines += difflib.unified_diff(before, text.splitlines(keepends=True), f"a/{path}", f"b/{path}")
    return "".join(lines)


def check_deprecations(root: Path, version: str, day: date, released: list[str], *, early: bool) -> None:
    """Check that what is deprecated goes when it should, neither later nor earlier.

    Args:
        root: the working tree.
        version: of the release.
        day: of the release.
        released: the versions that have tags.
        early: whether something may go earlier than it should.

    Raises:
        ReleaseError: it does not.
    """
    history = History(Version(Version(version).base_version), day, release_days(_text(root / CHANGELOG)))
    found = deprecations_in(root, PACKAGES)
    problems = list(problems_of(found, history))
    if released and not early:
        with tempfile.TemporaryDirectory(prefix="montra-release-") as folder:
            last = f"v{max(released, key=Version)}"
            packages = [name for name in PACKAGES if git(root, "ls-tree", "--name-only", last, "--", name)]
            archive = Path(folder) / "last.zip"
            git(root, "archive", f"--output={archive}", last, *packages)
            shutil.unpack_archive(archive, Path(folder) / "last")
            problems += early_removals(deprecations_in(Path(folder) / "last", PACKAGES), found, history)
    if problems:
        raise ReleaseError("\n".join(["deprecations stand in the way:", *problems]))


def write_all(root: Path, changed: dict[Path, str]) -> None:
    """Write the files; all, or none when the disk is full.

    Raises:
        OSError: one can't be written.
    """
    written = {root / path: (root / path).with_name(f".{path.name}.release") for path in changed}
    try:
        for (path, new), text in zip(written.items(), changed.values(), strict=True):
            with new.open("w", encoding="utf-8", newline="") as file:
                file.write(text)
            shutil.copymode(path, new)
        for path, new in written.items():
            new.replace(path)
    finally:
        for new in written.values():
            new.unlink(missing_ok=True)


def commit_and_tag(root: Path, version: str, changed: dict[Path, str]) -> None:
    """Write the files, commit them, and make the tag. When that fails, nothing is left of it.

    Raises:
        ReleaseError: Git refuses, or a file can't be written.
    """
    before = git(root, "rev-parse", "HEAD").strip()
    notes = notes_of(changed[CHANGELOG], version)
    try:
        write_all(root, changed)
        git(root, "add", "--", *map(str, changed))
        git(root, "commit", "--quiet", "--allow-empty", "-m", f"Release {version}")
        # Verbatim: to Git, a heading of the notes looks like a comment.
        git(root, "tag", "--annotate", "--cleanup=verbatim", f"v{version}", "-m", f"montra {version}\n\n{notes}\n")
    except (ReleaseError, OSError) as error:
        try:
            git(root, "reset", "--quiet", "--hard", before)
        except ReleaseError as second:
            raise ReleaseError(f"{error}\nUndo it: git reset --hard {before} ({second})") from error
        raise ReleaseError(str(error)) from error


def release(root: Path, wanted: str, *, branch: str, day: date, dry_run: bool, early: bool = False) -> str:
    """Make a release.

    Args:
        root: the working tree.
        wanted: the version.
        branch: from which releases are made.
        day: of the release.
        dry_run: whether to change nothing.
        early: whether a deprecation may be gone earlier than it should.

    Returns:
        What to tell the user.

    Raises:
        ReleaseError: it can't be made.
    """
    released = check_repository(root, branch)
    version = checked_version(wanted, version_of(_text(root / VERSION_FILE)), released)
    check_deprecations(root, version, day, released, early=early)
    changed = edits(root, version, day)
    if dry_run:
        return f"{difference(root, changed)}\nThis was a dry run of the release {version}: nothing was changed."
    commit_and_tag(root, version, changed)
    return (
        f"Committed and tagged: v{version}. Nothing was pushed.\n\n"
        f"Next, when .ci/run has passed for this commit:\n"
        f"  nox -s build                           what the workflow will build, tried here\n"
        f"  git push origin {branch} v{version}    .github/workflows/release.yml builds and publishes it\n"
        f"Undo: git tag -d v{version} && git reset --hard HEAD~1"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make_release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", help="of the release: 0.2.0, 0.2.0rc1")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, show the changes")
    parser.add_argument("--notes", action="store_true", help="print what the changelog says of it, and change nothing")
    parser.add_argument(
        "--early-removal",
        action="store_true",
        help="for security: the changelog says why something goes before its time",
    )
    parser.add_argument("--branch", default="main", help="from which releases are made (default: main)")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    today = datetime.now(timezone.utc).date()
    try:
        if options.notes:
            print(notes_of(_text(options.root / CHANGELOG), options.version))
            return 0
        flags = {"dry_run": options.dry_run, "early": options.early_removal}
        print(release(options.root, options.version, branch=options.branch, day=today, **flags))
    except (ReleaseError, OSError) as error:
        print(f"No release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
