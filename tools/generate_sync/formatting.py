"""Formats generated source with ruff."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


class FormattingError(Exception):
    """The formatter is missing, or refuses what was generated."""


def find_ruff() -> str:
    """The formatter: beside the Python that runs this, or in the path.

    Raises:
        FormattingError: it is not installed.
    """
    beside = Path(sys.executable).parent
    found = shutil.which("ruff", path=str(beside)) or shutil.which("ruff")
    if found is None:
        raise FormattingError("ruff is not installed: run `nox -s generate`, or `pip install ruff`")
    return found


def formatted(text: str, path: Path, root: Path) -> str:
    """Source with its imports sorted, formatted as the project is.

    Args:
        text: the source.
        path: the file that it is for.
        root: the directory of the project, whose pyproject.toml holds the settings.

    Raises:
        FormattingError: ruff is missing, or the source is not Python.
    """
    ruff = find_ruff()
    config = root / "pyproject.toml"
    settings = ["--config", str(config)] if config.exists() else ["--isolated", "--config", "line-length=120"]
    place = ["--no-cache", "--quiet", *settings, "--stdin-filename", str(path), "-"]
    for command in (["check", "--select", "I", "--fix"], ["format"]):
        whole = [ruff, *command, *place]
        run = subprocess.run(whole, input=text, capture_output=True, encoding="utf-8", cwd=root, check=False)
        if run.returncode:
            raise FormattingError(f"ruff {command[0]} of {path}: {(run.stderr or run.stdout).strip()}")
        text = run.stdout
    return text
