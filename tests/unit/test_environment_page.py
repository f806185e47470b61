"""docs/reference/environment.md has every variable of the environment that the code reads, and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from montra_cli.settings import FIELDS

ROOT = Path(__file__).parents[2]
PACKAGES = ("montra", "montra_async", "montra_cli", "montra_pytest", "montra_sandbox", "montra_sync")
PAGE = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
LISTED = {name for row in re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}

PROXIES = {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"}
"""Read by `urllib.request.getproxies_environment`."""

OF_APPLICATIONS = {"MONTRA_WEBHOOK_SECRET"}
"""The SDK only sets it, in tests."""


def constants_of(tree: ast.Module) -> dict[str, str]:
    """The texts that are assigned to names of a module."""
    found: dict[str, str] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[target.id] = value.value
    return found


def is_environment(node: ast.AST) -> bool:
    return ast.unparse(node) == "os.environ"


def read_in(tree: ast.Module) -> Iterator[ast.expr]:
    """What the code looks up in the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv"):
            yield node.args[0]
        elif isinstance(node, ast.Subscript) and is_environment(node.value):
            yield node.slice
        elif isinstance(node, ast.Compare) and is_environment(node.comparators[-1]):
            yield node.left


def names_of(path: Path, constants: dict[str, str]) -> Iterator[str]:
    for expression in read_in(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(expression, ast.Constant):
            yield str(expression.value)
        elif isinstance(expression, ast.Name):
            yield constants[expression.id]
        else:
            assert (path.name, ast.unparse(expression)) == ("settings.py", "one.variable"), "a name that is not known"
            yield from (field.variable for field in FIELDS.values())


def readers() -> dict[str, set[str]]:
    """The packages that read each variable."""
    paths = [(package, path) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    constants: dict[str, str] = {}
    for _, path in paths:
        constants |= constants_of(ast.parse(path.read_text(encoding="utf-8")))
    found: dict[str, set[str]] = {}
    for package, path in paths:
        for name in names_of(path, constants):
            found.setdefault(name, set()).add(package)
    return found


READERS = readers()


def test_the_page_has_what_the_code_reads_and_nothing_else() -> None:
    assert set(READERS) | PROXIES | OF_APPLICATIONS == LISTED


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_command_is_named_where_only_it_reads(name: str) -> None:
    row = next(row for row in PAGE.splitlines() if row.startswith("| ") and f"`{name}`" in row.split(" | ")[0])
    if READERS[name] <= {"montra_cli", "montra_sandbox"}:
        assert "`montra`" in row.split(" | ")[1]


def test_the_variables_of_montra_usage_are_its_own() -> None:
    """`montra-usage --help` lists them; the page names the command as their reader."""
    worker = (ROOT / "montra_async" / "usage" / "worker.py").read_text(encoding="utf-8")
    listed = re.findall(r"^  (MONTRA_\w+) ", worker, re.MULTILINE)
    rows = [row for row in PAGE.splitlines() if "`montra-usage`" in row]
    assert sorted(listed) == sorted(re.findall(r"`(\w+)`", "".join(row.split(" | ")[0] for row in rows)))
