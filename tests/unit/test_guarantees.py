"""Every promise of docs/guarantees.md names a test, and that test exists."""

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


def test_there_are_promises() -> None:
    assert len(ROWS) > 20
