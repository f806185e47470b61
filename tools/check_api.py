"""Tell what has changed in the public API since the last release, and breaks what users have written.

    python tools/check_api.py                  against the last release; `nox -s api-check` runs it
    python tools/check_api.py --against REF    against another commit

The last release is the newest tag `v1.2.3`; in a clone without tags the commit "Release 1.2.3". A release itself, as
the workflow builds it, is compared with the one before it. Before the first one there is nothing to compare with. The
public API is what docs/policies.md says: the names without an underscore in the modules below. A change that is meant
has a line with its reason in tools/allowed_api_changes.txt.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = "tools/allowed_api_changes.txt"
CHANGELOG = "CHANGELOG.md"
ADVICE = (
    "Deprecate first (docs/policies.md). If it is meant, add the line,"
    f" ` -- ` and the reason to {ALLOWED}, and a line to {CHANGELOG}."
)
PACKAGES = ("montra", "montra_async", "montra_sync", "montra_sandbox", "montra_pytest")
MODULES = (
    *("montra", "montra_async", "montra_async.access", "montra_async.paywall", "montra_async.usage"),
    *("montra_async.notebook", "montra_async.telemetry", "montra_async.webhooks"),
    *(f"montra_async.frameworks.{name}" for name in ("aiohttp", "django", "fastapi", "starlette")),
    *("montra_sync", "montra_sync.access", "montra_sync.paywall", "montra_sync.usage", "montra_sync.webhooks"),
    *(f"montra_sync.frameworks.{name}" for name in ("django", "flask")),
    *("montra_sandbox", "montra_pytest.plugin"),
)
FINAL = r"[0-9]+\.[0-9]+\.[0-9]+(?:\.post[0-9]+)?"
RELEASED = re.compile(rf"^## \[?({FINAL})\]?(?:\s|$)", re.MULTILINE)
TAG = re.compile(rf"v({FINAL})")
COMMIT = re.compile(rf"Release ({FINAL})")


class NoBaseline(Exception):
    """There was a release, but it can't be seen here."""


def git(root: Path, *arguments: str) -> bytes:
    """Run Git. Returns what it printed; nothing when it fails."""
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False).stdout


def last_release(root: Path) -> str | None:
    """The last release before this commit and what was changed since: a tag, or a commit; None before the first one.

    Raises:
        NoBaseline: the changelog knows of a release, but this clone does not have it.
    """
    here = released_here(root)
    tags = git(root, "tag", "--merged", "HEAD", "--list", "v*").decode().split()
    released = [tag for tag in tags if (found := TAG.fullmatch(tag)) and found[1] not in here]
    if released:
        return max(released, key=lambda tag: [int(number) for number in re.findall(r"[0-9]+", tag)])
    for line in git(root, "log", "--extended-regexp", r"--grep=^Release [0-9]", "--format=%H %s").decode().splitlines():
        commit, _, subject = line.partition(" ")
        if (found := COMMIT.fullmatch(subject)) and found[1] not in here:
            return commit
    if set(RELEASED.findall((root / CHANGELOG).read_text(encoding="utf-8"))) - here:
        raise NoBaseline("CHANGELOG.md knows of a release, this clone does not: git fetch --tags --unshallow")
    return None


def released_here(root: Path) -> set[str]:
    """The versions that this very commit is: it must not be compared with itself. None as soon as a file is changed."""
    if git(root, "status", "--porcelain", "--", *PACKAGES, ALLOWED).strip():
        return set()
    tags = git(root, "tag", "--points-at", "HEAD").decode().split()
    found = [TAG.fullmatch(tag) for tag in tags]
    found.append(COMMIT.fullmatch(git(root, "log", "-1", "--format=%s").decode().strip()))
    return {one[1] for one in found if one}


def extract(root: Path, ref: str, folder: Path) -> None:
    """Put the packages of a commit into a folder.

    Raises:
        NoBaseline: there is no such commit.
    """
    names = git(root, "ls-tree", "--name-only", ref).decode().split()
    present = [name for name in PACKAGES if name in names]
    if not present:
        raise NoBaseline(f"{ref} is no commit of this clone, or has no packages")
    with tarfile.open(fileobj=io.BytesIO(git(root, "archive", ref, *present))) as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)) is not None:
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read())


def modules_of(folder: Path) -> dict[str, griffe.Object | griffe.Alias]:
    """The public modules below a folder, by name; nothing of them is imported."""
    loader = griffe.GriffeLoader(search_paths=[folder], allow_inspection=False)
    for package in PACKAGES:
        if (folder / package / "__init__.py").exists():
            loader.load(package, try_relative_path=False)  # not what lies in the current folder
    loader.resolve_aliases(implicit=True)
    found: dict[str, griffe.Object | griffe.Alias] = {}
    for name in MODULES:
        if name.partition(".")[0] in loader.modules_collection and _has(loader, name):
            found[name] = loader.modules_collection[name]
    return found


def _has(loader: griffe.GriffeLoader, name: str) -> bool:
    try:
        loader.modules_collection[name]
    except KeyError:
        return False
    return True


def public_names(module: griffe.Object | griffe.Alias) -> Iterator[str]:
    """The public names of a module: its `__all__`, else what it defines itself without an underscore."""
    if module.exports is not None:
        yield from (str(name) for name in module.exports if name != "__version__")
        return
    for name, member in module.members.items():
        if not name.startswith("_") and not member.is_alias and not member.is_module:
            yield name


def breaking_changes(old: Path, new: Path) -> Iterator[str]:
    """What breaks users' code, a line for each change.

    Args:
        old: the folder with the packages of the last release.
        new: the folder with those of today.
    """
    before, after = modules_of(old), modules_of(new)
    for name, module in before.items():
        if name not in after:
            yield f"{name}: the module was removed"
            continue
        kept = set(public_names(after[name])) | set(lost_names(after[name]))
        for public in public_names(module):
            if public not in kept:
                yield f"{name}.{public}: was removed"
                continue
            for change in _changes(public, module[public], after[name].members.get(public)):
                yield _line(change, f"{name}.{public}")


def lost_names(module: griffe.Object | griffe.Alias) -> Iterator[str]:
    """The names that a module has no more, but still answers to: its `DEPRECATED_NAMES`."""
    table = module.members.get("DEPRECATED_NAMES")
    if isinstance(table, griffe.Attribute) and table.value is not None:
        yield from ast.literal_eval(str(table.value))


def _changes(
    name: str, before: griffe.Object | griffe.Alias, after: griffe.Object | griffe.Alias | None
) -> Iterator[griffe.Breakage]:
    """What breaks of one public object: a function, too, is compared as the member of a module."""
    if after is None:
        return  # one of its lost names, which stands for something else now
    old, new = griffe.Module("old"), griffe.Module("new")
    for module, thing in ((old, before), (new, after)):
        module.members[name] = thing
        module.exports = [name]
    yield from griffe.find_breaking_changes(old, new)


def _line(change: griffe.Breakage, public: str) -> str:
    """`montra_async.Montra.create_customer(phone): Parameter was removed`: by the name that users write."""
    shown = change.explain(griffe.ExplanationStyle.ONE_LINE)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown).partition(": ")[2]
    inner = change.obj.path.removeprefix(change.obj.module.path).lstrip(".")
    member = inner.partition(".")[2]
    parameter = re.match(r".*?(\([^)]*\))?: ", shown)
    what = shown[parameter.end() :] if parameter else shown
    return f"{public}{f'.{member}' if member else ''}{(parameter and parameter[1]) or ''}: {what}"


def judged(changes: Iterable[str], allowed: str) -> tuple[list[str], list[str]]:
    """Separate what is meant from what is not.

    Args:
        changes: all breaking changes.
        allowed: the text of the file of those that are meant.

    Returns:
        Those that are not meant, and what is wrong with the file.
    """
    lines = [line for line in allowed.splitlines() if line.strip() and not line.startswith("#")]
    meant = {change.strip(): reason.strip() for change, _, reason in (line.partition(" -- ") for line in lines)}
    found = list(dict.fromkeys(changes))
    wrong = [f"{change}: has no reason behind ` -- `" for change, reason in meant.items() if not reason]
    wrong += [f"{change}: is no change (any more)" for change in meant if change not in found]
    return [change for change in found if change not in meant], wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="check_api", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", metavar="REF", help="a tag or a commit; default: the last release")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    root: Path = options.root
    try:
        ref: str | None = options.against or last_release(root)
        if ref is None:
            print("There was no release yet, so there is nothing that could break: the first one is the baseline.")
            return 0
        with tempfile.TemporaryDirectory(prefix="montra-api-") as folder:
            extract(root, ref, Path(folder))
            changes = list(breaking_changes(Path(folder), root))
    except NoBaseline as error:
        print(f"Can't compare: {error}", file=sys.stderr)
        return 2
    bad, wrong = judged(changes, (root / ALLOWED).read_text(encoding="utf-8"))
    for line in (*bad, *(f"{ALLOWED}: {line}" for line in wrong)):
        print(line, file=sys.stderr)
    if bad:
        print(f"\nThis breaks code that works with {ref}. {ADVICE}", file=sys.stderr)
    if not bad and not wrong:
        print(f"Compared with {ref}: nothing public is broken; {len(set(changes))} changes are meant.")
    return 1 if bad or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
