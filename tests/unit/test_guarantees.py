"""Every promise of docs/guarantees.md names a test, and every test that a page names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@pytest.mark.parametrize("row", ROWS)
def test_a_promise_has_its_test(row: str) -> None:
    named = NAMED.findall(row)
    assert named, "a promise without a test"
    for path, name in named:
        assert name.startswith("test_")
        assert name in names_in(path), f"{path} has no {name}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    for path, name in NAMED.findall(page.read_text()):
        assert name in names_in(path), f"{path} has no {name}"


@pytest.mark.parametrize("name", ["usage.md", "access.md"])
def test_each_row_of_promises_names_a_test(name: str) -> None:
    text = (ROOT / "docs" / "guides" / name).read_text()
    table = text.partition("| promise | test |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = table.strip().splitlines()
    assert len(rows) > 10
    assert all(NAMED.search(row) for row in rows)


THREATS = (
    (ROOT / "SECURITY.md").read_text().partition("| promise | tests |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
)
SECTION = re.compile(r"\[([^\]]+)\]\(docs/guarantees\.md#([\w-]+)\)")


@pytest.mark.parametrize("row", THREATS.splitlines())
def test_each_threat_leads_to_its_tests(row: str) -> None:
    sections = SECTION.findall(row.split(" | ")[-1])
    assert sections, "a promise without a section of tests"
    for title, anchor in sections:
        assert anchor == title.lower().replace(" ", "-")
        section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        assert NAMED.search(section), f"{title} has no test"


def test_there_are_promises() -> None:
    assert len(THREATS.splitlines()) == 10
    assert len(ROWS) > 20
