"""docs/errors.md explains every class, every code and every message that users may meet."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest

import montra_sandbox
from montra_async import InvalidArgumentError, Montra, NetworkError
from montra_async.core.validation import aware_datetime, number
from montra_sandbox import Sandbox

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
NOT_MESSAGES = {
    "[SSL: WRONG_VERSION_NUMBER]",
    "[SSL: RECORD_LAYER_FAILURE]",
    "(cannot import name",  # of Python
    "except NotFoundError",
    "--allow-host NAME",
    "maxmemory-policy noeviction",
}
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


def sentences() -> list[str]:
    """What the page quotes that is no code: the parts of messages that don't vary."""
    prose = re.sub(r"```.*?```", "", PAGE)
    found = {part.strip(" ;") for _, quoted in re.findall(r"(`+)(.+?)\1", prose) for part in quoted.split("...")}
    return sorted(one for one in found - NOT_MESSAGES if len(one) >= 10 and " " in one)


@cache
def texts() -> str:
    """Every text of the packages; a line break stands for each part that varies."""
    found = {text for kind in ("amount", "scheduled_for") for text in refusals(kind)}
    found |= {
        re.sub(r"[^\S\n]+", " ", text_of(node))
        for package in ("montra_async", "montra_sync", "montra_sandbox")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp))
    }
    return "\0".join(found)


def refusals(parameter: str) -> Iterator[str]:
    """What is said of wrong arguments: words and names together, which are apart in the code."""
    calls: list[Callable[[], object]] = [
        lambda: number(parameter, -5, above_zero=True),
        lambda: number(parameter, -1),
        lambda: aware_datetime(parameter, datetime(2030, 1, 1)),
    ]
    for call in calls:
        with pytest.raises(InvalidArgumentError) as refused:
            call()
        yield str(refused.value)


@pytest.mark.parametrize("sentence", sentences())
def test_every_sentence_that_is_quoted_is_in_the_code(sentence: str) -> None:
    assert sentence in texts()


async def test_the_message_about_https_to_a_port_without_it(sandbox: Sandbox) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url.replace("http://", "https://"), max_attempts=1) as montra:
        with pytest.raises(NetworkError, match="no trusted TLS connection to") as failed:
            await montra.list_meters()
    reason = str(failed.value).partition("[SSL: ")[2].partition("]")[0]
    assert (failed.value.sent, f"[SSL: {reason}]" in PAGE) == (False, True)


def test_what_was_found_is_plausible() -> None:
    assert len(sentences()) > 120
    assert len(codes()) > 60
    assert len(messages()) > 90
    assert issubclass(montra_sandbox.Problem, Exception)


def test_codes_of_the_contracts_are_explained() -> None:
    """Codes that the API documents name."""
    for name in ("montra.yaml", "paywall.yaml"):
        text = (ROOT / "montra_sandbox" / "contract" / name).read_text()
        named = set(re.findall(r"\bcode:?\s+`?([a-z]+_[a-z_]+)`?", text))
        assert named <= CODES, named - CODES
