"""What a wheel and a source distribution may contain, and what they must: `manifest.txt`, and what Git knows.

A line of the manifest stands for at least one file, and each file for at least one line:

    [wheel]
    montra_async/usage/*.py                   modules: by folder, so that a new one needs no new line
    montra_sandbox/pages/assets/print.js      everything else: by name, because this is what gets forgotten
    [sdist]
    docs/**                                   beside the packages of the wheel: by top-level name
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import NamedTuple

HEAD = "# What belongs into a release. `nox -s build -- --update` writes this file; a look at its diff is the review.\n"
PACKAGED = "*.dist-info/"
FORBIDDEN = (
    *(".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.crt", "*.jks", "*.keystore", "*.ppk"),
    *("id_rsa*", "id_ed25519*", "id_ecdsa*", ".netrc", ".pypirc", ".npmrc", ".htpasswd", "credentials.json"),
    *("*.db", "*.db-*", "*.sqlite", "*.sqlite3", "*.log", "*.orig", "*.rej", "*.swp", "*~", ".ds_store", "thumbs.db"),
    *("*.pyc", "*.pyo", "*.so", "*.pyd", "*.dylib", "*.exe", "*.zip", "*.whl", "*.tar.gz", ".coverage*"),
)
"""Names of files, in lower case: a file's own case does not matter."""
FORBIDDEN_FOLDERS = (
    *("__pycache__", "node_modules", ".git", ".nox", ".venv", ".hypothesis", ".pytest_cache", "htmlcov"),
    *(".aws", ".azure", ".gnupg", ".kube", ".ssh"),
)
FORBIDDEN_IN_WHEEL = ("test_*.py", "*_test.py", "conftest.py", "*.md", "*.rst", "*.cfg", "*.ini")
SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\bsk_live_[A-Za-z0-9]{24,}"  # shorter ones are invented, for tests
    rb"|\bpypi-AgE[A-Za-z0-9_-]{20,}"
    rb"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    rb"|\bgh[opsru]_[A-Za-z0-9]{36}"
    rb"|\bgithub_pat_[A-Za-z0-9_]{50,}"
)
"""What nobody writes by chance: keys of people and services."""


class Manifest(NamedTuple):
    """The lines of the file.

    Attributes:
        wheel: patterns of a wheel's files.
        sdist: patterns of a source distribution's files, beside those of the wheel's packages.
    """

    wheel: tuple[str, ...]
    sdist: tuple[str, ...]


def parse_manifest(text: str) -> Manifest:
    """Read the file.

    Raises:
        ValueError: a line is outside of the sections `[wheel]` and `[sdist]`.
    """
    sections: dict[str, list[str]] = {"wheel": [], "sdist": []}
    current: list[str] | None = None
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]") and line[1:-1] in sections:
            current = sections[line[1:-1]]
        elif line and not line.startswith("#"):
            if current is None:
                raise ValueError(f"{line!r} stands in no section")
            current.append(line)
    return Manifest(tuple(sections["wheel"]), tuple(sections["sdist"]))


def wheel_line(name: str) -> str:
    """The line that stands for a file of a wheel."""
    path = PurePosixPath(name)
    if path.parts[0].endswith(".dist-info"):
        return PACKAGED + "/".join(path.parts[1:])
    return f"{path.parent}/*.py" if path.suffix == ".py" and len(path.parts) > 1 else name


def sdist_line(name: str) -> str:
    """The line that stands for a file of a source distribution."""
    top, _, rest = name.partition("/")
    return f"{top}/**" if rest else top


def packages_of(wheel: Iterable[str]) -> set[str]:
    """The top-level packages among the files of a wheel, or among the lines that stand for them."""
    return {name.partition("/")[0] for name in wheel if not PurePosixPath(name).parts[0].endswith(".dist-info")}


def write_manifest(wheel: Iterable[str], sdist: Iterable[str]) -> str:
    """The text of the file for what was built."""
    wheel = list(wheel)
    ours = packages_of(wheel)
    outside = {sdist_line(name) for name in sdist if name.partition("/")[0] not in ours}
    lines = ["[wheel]", *sorted({wheel_line(name) for name in wheel}), "", "[sdist]", *sorted(outside)]
    return HEAD + "\n".join(lines) + "\n"


def problems_of_wheel(names: Sequence[str], manifest: Manifest) -> list[str]:
    """What is wrong with the files of a wheel."""
    found = _compared({name: wheel_line(name) for name in names}, manifest.wheel, "the wheel")
    return [*found, *_forbidden(names, "the wheel", (*FORBIDDEN, *FORBIDDEN_IN_WHEEL))]


def problems_of_sdist(names: Sequence[str], manifest: Manifest) -> list[str]:
    """What is wrong with the files of a source distribution, their names without its folder."""
    ours = packages_of(manifest.wheel)
    lines = {name: wheel_line(name) if name.partition("/")[0] in ours else sdist_line(name) for name in names}
    wanted = [*(line for line in manifest.wheel if not line.startswith(PACKAGED)), *manifest.sdist]
    return [*_compared(lines, wanted, "the sdist"), *_forbidden(names, "the sdist", FORBIDDEN)]


def problems_of_tracking(
    wheel: Iterable[str], sdist: Iterable[str], tracked: Iterable[str], generated: Iterable[str] = ("PKG-INFO",)
) -> list[str]:
    """What Git does not know but a distribution has, and what it knows of a package but the wheel lacks.

    Args:
        wheel: names of the wheel's files.
        sdist: names of the source distribution's files.
        tracked: names of the files that Git knows.
        generated: files of a source distribution that the build makes.
    """
    known, files = set(tracked), {name for name in wheel if ".dist-info/" not in name}
    ours = packages_of(files)
    unknown = dict.fromkeys(files - known, "the wheel")
    unknown |= dict.fromkeys(set(sdist) - known - set(generated), "the sdist")
    lost = {name for name in known if name.partition("/")[0] in ours} - files
    return [
        *(f"{name}: is in {where}, but Git does not know it" for name, where in sorted(unknown.items())),
        *(f"{name}: belongs to a package, but is not in the wheel" for name in sorted(lost)),
    ]


def problems_of_content(name: str, content: bytes) -> list[str]:
    """Whether a file holds what looks like a secret."""
    found = SECRET.search(content)
    return [f"{name}: holds what looks like a secret ({found[0][:12].decode()}...)"] if found else []


def _compared(lines: dict[str, str], wanted: Iterable[str], where: str) -> list[str]:
    """Each file needs its line, each line a file."""
    wanted = set(wanted)
    return [
        *(f"{name}: is in {where}, but not in the manifest" for name, line in lines.items() if line not in wanted),
        *(f"{line}: is in the manifest, but nothing in {where}" for line in sorted(wanted - set(lines.values()))),
    ]


def _forbidden(names: Iterable[str], where: str, patterns: Iterable[str]) -> list[str]:
    patterns = tuple(patterns)
    found: list[str] = []
    for name in names:
        path = PurePosixPath(name.lower())
        if any(fnmatchcase(path.name, one) for one in patterns) or set(path.parts) & set(FORBIDDEN_FOLDERS):
            found.append(f"{name}: has no business in {where}")
    return found
