"""Builds the wheel and the source distribution, twice, and looks at what is in them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from email.parser import HeaderParser
from pathlib import Path

from .manifest import (
    Manifest,
    problems_of_content,
    problems_of_sdist,
    problems_of_tracking,
    problems_of_wheel,
)

RELATIVE_LINK = re.compile(r"\]\((?!https?:|mailto:|#)[^)\s]+\)")
"""A link that leads nowhere on the page of an index."""


class BuildError(Exception):
    """The build is no release. Its text says why."""


def epoch_of(root: Path) -> str:
    """The time that files in archives get: `SOURCE_DATE_EPOCH`, else that of the last commit, else a fixed one."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    found = git(root, "log", "-1", "--format=%ct")
    return found.strip() if found else "1767225600"


def git(root: Path, *arguments: str) -> str | None:
    """What Git prints; None where there is no Git, or no repository."""
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    run = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False, timeout=60)
    return run.stdout if run.returncode == 0 else None


def build(source: Path, out: Path, epoch: str, *, umask: int = 0o022) -> tuple[Path, Path]:
    """Build a source distribution, and from it the wheel.

    Args:
        source: the folder with pyproject.toml.
        out: where to put them; an empty folder.
        epoch: seconds since 1970, for the files in the archives.
        umask: with which to build; it must not matter.

    Returns:
        The wheel and the source distribution.

    Raises:
        BuildError: it fails.
    """
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": str(umask)}
    old = os.umask(umask)
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    finally:
        os.umask(old)
    wheels, sdists = list(out.glob("*.whl")), list(out.glob("*.tar.gz"))
    if run.returncode or len(wheels) != 1 or len(sdists) != 1:
        raise BuildError(f"the build failed:\n{run.stdout}{run.stderr}")
    return wheels[0], sdists[0]


def build_twice(root: Path, out: Path, scratch: Path, epoch: str) -> tuple[Path, Path]:
    """Build here, and again from what was built: elsewhere, with another umask and other times. Both must be the same.

    Raises:
        BuildError: they differ.
    """
    wheel, sdist = build(root, out, epoch)
    elsewhere, again = scratch / "elsewhere", scratch / "again"
    again.mkdir()
    shutil.unpack_archive(sdist, elsewhere)
    (unpacked,) = elsewhere.iterdir()
    for first, second in zip((wheel, sdist), build(unpacked, again, epoch, umask=0o077), strict=True):
        if first.name != second.name or hash_of(first) != hash_of(second):
            raise BuildError(f"{first.name} is another one when it is built again:\n{_difference(first, second)}")
    return wheel, sdist


def hash_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _difference(first: Path, second: Path) -> str:
    one, other = contents_of(first), contents_of(second)
    differing = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return "\n".join(differing) or "the same files, in another order or with other modes or times"


def contents_of(archive: Path) -> dict[str, bytes]:
    """The files of a wheel or of a source distribution; names of the latter without its folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as sdist:
        for member in sdist:
            if not member.isfile() and not member.isdir():
                raise BuildError(f"{member.name}: a link or a device in {archive.name}")
            if member.isfile() and (file := sdist.extractfile(member)) is not None:
                found[member.name.partition("/")[2]] = file.read()
    return found


def metadata_of(wheel: Path) -> dict[str, list[str]]:
    """The fields of a wheel's METADATA, and its description as `Description`."""
    name = next(one for one in contents_of(wheel) if one.endswith(".dist-info/METADATA"))
    message = HeaderParser().parsestr(contents_of(wheel)[name].decode())
    fields: dict[str, list[str]] = {}
    for key, value in message.items():
        fields.setdefault(key, []).append(value)
    return {**fields, "Description": [str(message.get_payload())]}


def problems_of_contents(root: Path, wheel: Path, sdist: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the files of both archives."""
    in_wheel, in_sdist = contents_of(wheel), contents_of(sdist)
    tracked = git(root, "ls-files", "-z")
    return [
        *problems_of_wheel(list(in_wheel), manifest),
        *problems_of_sdist(list(in_sdist), manifest),
        *(problems_of_tracking(in_wheel, in_sdist, tracked.split("\0")) if tracked else ()),
        *dict.fromkeys(  # most files are in both
            problem
            for name, content in (*in_wheel.items(), *in_sdist.items())
            for problem in problems_of_content(name, content)
        ),
        *(f"the description has a relative link: {one}" for one in problems_of_links(metadata_of(wheel))),
    ]


def problems_of_links(metadata: Mapping[str, list[str]]) -> list[str]:
    """The relative links of a description."""
    return RELATIVE_LINK.findall(metadata["Description"][0])


def check_metadata(*archives: Path) -> None:
    """`twine check --strict`: whether an index takes them, and shows their description.

    Raises:
        BuildError: it does not.
    """
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, archives)]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    if run.returncode:
        raise BuildError(f"twine check: {run.stdout}{run.stderr}")


def write_checksums(out: Path) -> Path:
    """Write SHA256SUMS for all files of a folder, as `sha256sum --check` reads it."""
    files = sorted(file for file in out.rglob("*") if file.is_file() and file.name != "SHA256SUMS")
    target = out / "SHA256SUMS"
    target.write_text("".join(f"{hash_of(file)}  {file.relative_to(out).as_posix()}\n" for file in files))
    return target
