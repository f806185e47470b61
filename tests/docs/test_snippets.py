"""No snippet that can't run: the Python of README and docs, in both forms, and what it prints is what is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import PAGES, ROOT
from .conftest import ADDRESS, Snippets

from build_docs.fences import Fence, fences  # isort: skip
from build_docs.tabs import OPT_OUT, synchronous  # isort: skip

FENCES = {page: list(fences(page.read_text(encoding="utf-8"))) for page in PAGES}
OPTIONS = (
    *("-p", "no:cacheprovider", "-p", "montra_pytest.plugin", "-p", "pytest_asyncio.plugin", "-W", "error"),
    *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
)


def form_of(fence: Fence, form: str) -> str | None:
    """The code of a snippet in one of its forms; None if it has no such form."""
    if form == "async":
        return fence.code
    return None if OPT_OUT in fence.words else synchronous(fence.code)


PROGRAMS = [
    pytest.param(code, fence.output, id=f"{page.relative_to(ROOT)}:{fence.line}-{form}")
    for page, found in FENCES.items()
    for fence in found
    for form in ("async", "sync")
    if fence.language == "python" and not fence.file_name
    if (code := form_of(fence, form)) is not None
]


def pattern_of(output: str) -> re.Pattern[str]:
    """Matches an output. `...` stands for any text in a line, and a line of its own for any number of lines."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line).replace(re.escape("..."), ".*?") + r"\n"
        for line in output.splitlines()
    ]
    return re.compile("".join(lines))


@pytest.mark.parametrize(("code", "output"), PROGRAMS)
def test_snippets_run(code: str, output: str | None, snippets: Snippets, tmp_path: Path) -> None:
    assert "http://" not in code.replace(ADDRESS, "")
    ran = snippets.run("-c", code, cwd=tmp_path)
    assert (ran.status, ran.err) == (0, "")
    if output is not None:
        assert pattern_of(output).fullmatch(ran.out), f"shown:\n{output}\nprinted:\n{ran.out}"


def test_no_snippet_is_in_the_way_of_another(snippets: Snippets, tmp_path: Path) -> None:
    """Whoever reads page after page has one sandbox: an idempotency key or an address is used for one thing only."""
    failed = {}
    with_keys = [one for one in PROGRAMS if "idempotency_key=" in str(one.values[0])]
    for number, one in enumerate(with_keys):
        ran = snippets.run("-c", str(one.values[0]), cwd=tmp_path, reset=number == 0)
        if ran.status:
            failed[one.id] = ran.err
    assert len(with_keys) >= 10
    assert not failed, "\n".join(f"{name}:\n{error}" for name, error in failed.items())


def files_of(page: Path, form: str) -> dict[str, str]:
    """The files that a page shows, by name, in one of their forms where they have several."""
    return {
        fence.file_name: form_of(fence, form) or fence.code
        for fence in FENCES[page]
        if fence.file_name and fence.language in ("python", "ini", "toml")
    }


PAGES_WITH_TESTS = [
    pytest.param(page, form, id=f"{page.relative_to(ROOT)}-{form}")
    for page in PAGES
    for form in ("async", "sync")
    if any(name.startswith("test_") for name in files_of(page, "async"))
    if form == "async" or files_of(page, "sync") != files_of(page, "async")
]


@pytest.mark.parametrize(("page", "form"), PAGES_WITH_TESTS)
def test_the_tests_that_a_page_shows_pass(page: Path, form: str, snippets: Snippets, tmp_path: Path) -> None:
    files = files_of(page, form)
    guide = files_of(ROOT / "docs" / "guides" / "testing.md", form)
    if page.name != "README.md":  # whose test is in one folder with those of the guide
        guide = {name: code for name, code in guide.items() if "test_" not in name}
    files = {**guide, **files}
    for name, code in files.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    shown = sum(len(re.findall(r"^(?:async )?def test_", code, re.MULTILINE)) for code in files.values())
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = snippets.run("-m", "pytest", *OPTIONS, cwd=tmp_path, env=environment, timeout=120)
    assert (ran.status, f"{shown} passed" in ran.out, ran.err) == (0, True, ""), ran.out + ran.err


def test_there_are_snippets() -> None:
    assert len(PROGRAMS) >= 20
    assert any(one.id is not None and one.id.endswith("-sync") for one in PROGRAMS)


# The checks themselves


def test_a_snippet_that_fails_is_noticed(snippets: Snippets, tmp_path: Path) -> None:
    assert snippets.run("-c", "raise SystemExit(3)", cwd=tmp_path).status == 3
    ran = snippets.run("-c", "print('so far'); 1 / 0", cwd=tmp_path)
    assert (ran.status, ran.out, "ZeroDivisionError" in ran.err) == (1, "so far\n", True)


@pytest.mark.parametrize(
    "code",
    [
        "import warnings; warnings.warn('old', DeprecationWarning)",
        "open('kept', 'w').write('x')",  # a ResourceWarning when the file is collected
        "async def f(): ...\nf()",
        "import threading\nthreading.Thread(target=lambda: 1 / 0).start()",
    ],
)
def test_a_warning_is_noticed(code: str, snippets: Snippets, tmp_path: Path) -> None:
    ran = snippets.run("-c", code, cwd=tmp_path)
    assert (ran.status, ran.err) != (0, "")


def test_a_snippet_leaves_nothing_to_the_next_one(snippets: Snippets, tmp_path: Path) -> None:
    first = "import os, sys, json; os.environ['LEFT'] = '1'; json.left = 1; left = 1; sys.modules['left'] = sys"
    assert snippets.run("-c", first, cwd=tmp_path).status == 0
    second = (
        "import os, sys, json; print('LEFT' in os.environ, hasattr(json, 'left'), 'left' in globals() | sys.modules)"
    )
    assert snippets.run("-c", second, cwd=tmp_path).out == "False False False\n"


def test_a_snippet_that_hangs_is_ended(snippets: Snippets, tmp_path: Path) -> None:
    assert snippets.run("-c", "import threading; threading.Event().wait()", cwd=tmp_path, timeout=0.2).status == -9


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        ("cust_...\n", "cust_1\n", True),
        ("cust_...\n", "cust_1\nmore\n", False),
        ("first\n...\nlast\n", "first\na\nb\nlast\n", True),
        ("first\n...\nlast\n", "first\nlast\n", True),
        ("a.b\n", "axb\n", False),
        ("1 of ... at ...\n", "1 of 2 at 12:00\n", True),
        ("...\n", "", True),
        ("a\n", "b\n", False),
    ],
)
def test_outputs_are_compared(shown: str, printed: str, fits: bool) -> None:
    assert bool(pattern_of(shown).fullmatch(printed)) is fits


def test_outputs_belong_to_the_snippet_before_them() -> None:
    text = "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\nprint(2)\n```\n\nProse.\n\n```text\n3\n```\n"
    assert [one.output for one in fences(text) if one.language == "python"] == ["1\n", None]
