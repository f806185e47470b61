"""Puts a built site beside those of other versions, with what the theme's version selector reads."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

LATEST = "latest"
ROOT_FILES = ("404.html", "llms.txt", "llms-full.txt")
"""Files that are also wanted at the top, where crawlers and web servers look for them."""
FRONT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Montra for Python</title>
<meta http-equiv="refresh" content="0; url={latest}/index.html">
<link rel="canonical" href="{latest}/index.html">
</head>
<body><a href="{latest}/index.html">Montra for Python</a></body>
</html>
"""


def publish(built: Path, site: Path, version: str) -> Path:
    """Move a built site to `site/<version>`, in the place of an earlier build, and keep those of other versions.

    Args:
        built: the folder of the built site.
        site: the folder of all versions.
        version: of the documentation.

    Returns:
        The folder of the version.
    """
    site.mkdir(parents=True, exist_ok=True)
    target = site / version
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(built, target)
    versions = sorted({one.name for one in site.iterdir() if _is_version(one)}, key=_order, reverse=True)
    newest = versions[0]
    _alias(site, newest)
    _write_list(site, versions)
    (site / "index.html").write_text(FRONT.format(latest=LATEST), encoding="utf-8")
    for name in ROOT_FILES:
        text = (site / newest / name).read_text(encoding="utf-8")
        (site / name).write_text(_from_the_top(text, name), encoding="utf-8")
    return target


def _is_version(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and (folder / "objects.inv").exists() and folder.name != LATEST


def _order(version: str) -> tuple[Any, ...]:
    """Newer versions are greater; a pre-release is less than its release."""
    numbers = tuple(int(one) for one in re.match(r"[\d.]*", version)[0].split(".") if one)  # type: ignore[index]
    rest = version[len(re.match(r"[\d.]*", version)[0]) :]  # type: ignore[index]
    return numbers, rest == "", rest


def _alias(site: Path, newest: str) -> None:
    """`latest` is the newest version: a link, or a copy where links can't be made."""
    alias = site / LATEST
    if alias.is_symlink():
        alias.unlink()
    else:
        shutil.rmtree(alias, ignore_errors=True)
    try:
        os.symlink(newest, alias, target_is_directory=True)
    except OSError:
        shutil.copytree(site / newest, alias)


def _write_list(site: Path, versions: list[str]) -> None:
    entries = [
        {"version": one, "title": one, "aliases": [LATEST] if index == 0 else []} for index, one in enumerate(versions)
    ]
    (site / "versions.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def _from_the_top(text: str, name: str) -> str:
    """A file of a version, with addresses that are right one folder further up."""
    return text if name.endswith(".html") else re.sub(r"\]\((?![a-z]+:)", f"]({LATEST}/", text)
