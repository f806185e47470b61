"""docs/errors.md explains every class, every code and every message that users may meet."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import montra_sandbox

ROOT = Path(__file__).parents[2]
PAGE = re.sub(r"\s+", " ", (ROOT / "docs" / "errors.md").read_text())
CODES = frozenset(re.findall(r"`([a-z][a-z0-9_-]*)`", PAGE))
PUBLIC = [
    f"{package}{module}"
    for package in ("montra_async", "montra_sync")
    for module in ("", ".paywall", ".usage", ".access", ".webhooks")
] + ["montra_async.frameworks.fastapi", "montra_sandbox"]

QUOTED = {
    part.strip(" ;")
    for quoted in re.findall(r"(`+)(.+?)\1", PAGE)
    for part in quoted[1].split("...")
    if len(part.strip(" ;")) >= 10
}
"""What the page quotes, in parts, where something varies."""
NOT_FOR_USERS = {"InvalidArgumentError", "PaywallInvalidArgumentError", "ArgumentTypeError"}
"""The first two name a parameter and what it takes: one sentence of the page is for all. The last is of argparse."""


@cache
def calls(package: str) -> list[tuple[str, ast.Call]]:
    return list(_calls(package))


def _calls(package: str) -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield getattr(node.func, "id", getattr(node.func, "attr", "")), node


def text_of(node: ast.expr) -> str:
    """What is constant in a message; a line break stands for each part that varies."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "\n" for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return "\n"


def messages() -> list[tuple[str, str]]:
    """Class and message of what the SDK raises with a sentence of its own."""
    found: set[tuple[str, str]] = set()
    for package in ("montra_async", "montra_sync"):
        for name, call in calls(package):
            is_error = name.endswith("Error") and name[:1].isupper() and name not in NOT_FOR_USERS
            if is_error and (name in ("RuntimeError", "ImportError") or not hasattr(builtins, name)):
                found |= {(name, re.sub(r"[^\S\n]+", " ", text_of(one))) for one in call.args[:2]}
    return sorted(one for one in found if any(len(part) >= 10 and " " in part for part in one[1].split("\n")))


def codes() -> list[str]:
    found = {"unknown_code"}  # where a parameter of that name is given
    for name, call in calls("montra_sandbox"):
        if name in ("Problem", "CommittedProblem") and len(call.args) > 1:
            found.add(text_of(call.args[1]))
        elif name == "conflict":
            found.add(text_of(call.args[0]))
        found |= {text_of(one.value) for one in call.keywords if one.arg in ("code", "unknown_code")}
    for _, call in calls("montra_async"):
        found |= {text_of(one.value) for one in call.keywords if one.arg == "code"}
    for name, call in calls("montra_async/paywall"):
        if name.startswith("Paywall") and name.endswith("Error") and call.args:
            found.add(text_of(call.args[0]))
    return sorted(one for one in found - {"unknown_code"} if re.fullmatch(r"[a-z][a-z0-9_-]+", one))


@pytest.mark.parametrize("module", PUBLIC)
def test_every_class_is_explained(module: str) -> None:
    public = importlib.import_module(module)
    errors = [
        name
        for name in getattr(public, "__all__", [])
        if isinstance(kind := getattr(public, name), type) and issubclass(kind, (Exception, Warning))
    ]
    assert [name for name in errors if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize("code", codes())
def test_every_code_is_explained(code: str) -> None:
    assert code in CODES


@pytest.mark.parametrize(("kind", "message"), messages())
def test_every_message_is_explained(kind: str, message: str) -> None:
    assert any(quoted in message for quoted in QUOTED), f"a {kind} that docs/errors.md does not explain"


def test_what_was_found_is_plausible() -> None:
    assert len(codes()) > 60
    assert len(messages()) > 90
    assert issubclass(montra_sandbox.Problem, Exception)


def test_codes_of_the_contracts_are_explained() -> None:
    """Codes that the API documents name."""
    for name in ("montra.yaml", "paywall.yaml"):
        text = (ROOT / "montra_sandbox" / "contract" / name).read_text()
        named = set(re.findall(r"\bcode:?\s+`?([a-z]+_[a-z_]+)`?", text))
        assert named <= CODES, named - CODES
