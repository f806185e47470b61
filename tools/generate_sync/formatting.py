"""Formats generated source with ruff, and compares source whatever its format is."""

from __future__ import annotations

import ast
import inspect
import shutil
import subprocess
import sys
from pathlib import Path


class FormattingError(Exception):
    """The formatter refuses what was generated."""


class NoFormatter(FormattingError):
    """The formatter is not installed."""


def find_ruff() -> str:
    """The formatter: beside the Python that runs this, or in the path.

    Raises:
        NoFormatter: it is not installed.
    """
    beside = Path(sys.executable).parent
    found = shutil.which("ruff", path=str(beside)) or shutil.which("ruff")
    if found is None:
        raise NoFormatter("ruff is not installed: run `nox -s generate`, or `pip install ruff`")
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


def is_same_code(one: str, other: str) -> bool:
    """Whether two sources differ at most in their format: the order of imports, line breaks, indentation, quotes.

    Comments do not count.
    """
    return _content(one) == _content(other)


def _content(text: str) -> tuple[list[str], list[str]]:
    """The imports of a module in alphabetical order, and the rest of its syntax tree."""
    tree = ast.parse(text)
    imports: list[str] = []
    rest: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            imports += (f"{'.' * node.level}{node.module} {one.name} {one.asname}" for one in node.names)
        elif isinstance(node, ast.Import):
            imports += (f"{one.name} {one.asname}" for one in node.names)
        else:
            rest.append(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = inspect.cleandoc(node.value.value)  # a docstring
    return sorted(imports), [ast.dump(node) for node in rest]
