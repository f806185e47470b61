"""The command in the documentation: each command line of all pages exists, and the tables are those of the code."""

from __future__ import annotations

import re
import shlex
import sys
from html import unescape
from pathlib import Path

import pytest

from montra_cli import main
from montra_cli.failures import EXIT_CODES
from montra_cli.settings import FIELDS

from . import PAGES, ROOT

from build_docs.fences import fences  # isort: skip
from record_terminal import COMMANDS, TARGET, record  # isort: skip

TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def lines_of(page: Path) -> list[str]:
    """The command lines of `montra` in a page, with `$ ` before them or without, and lines that go on joined."""
    found = (one for one in fences(page.read_text(encoding="utf-8")) if one.language == "console")
    lines = (line.removeprefix("$ ") for one in found for line in one.code.replace("\\\n", " ").splitlines())
    return [re.split(r"\s[#&|>]", line)[0].strip() for line in lines if line.startswith("montra ")]


LINES = [*dict.fromkeys(line for page in PAGES for line in lines_of(page)), *COMMANDS]


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_exists(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line)[1:]
    path = [word for word in words[:2] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
    options = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}
    for depth in range(len(path), 0, -1):
        with pytest.raises(SystemExit) as ended:
            main([*path[:depth], "--help"])
        text = capsys.readouterr().out
        if ended.value.code == 0 and text.startswith(f"Usage: montra {' '.join(path[:depth])} "):
            break
    else:
        raise AssertionError(line)
    missing = {one for one in options if not re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", text)}
    assert not missing, (line, missing)


def test_there_are_command_lines() -> None:
    assert len(LINES) > 40


def test_the_tables_are_complete() -> None:
    assert all(re.search(rf"^\| {code} \|", TEXT, re.MULTILINE) for code in EXIT_CODES)
    for field in FIELDS.values():
        assert f"| `{field.name}` | `{field.variable}` |" in TEXT


def test_the_plans_of_the_documentation_are_plans() -> None:
    import tomlkit

    from montra_cli.plans.schema import plans_of_file

    found = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert found
    assert [plan.name for plan in plans_of_file(tomlkit.parse(found[1]).unwrap())] == ["Pro"]


# The recording


def words_of(recording: str) -> list[str]:
    """The text of a recording, without its layout, in which versions of rich may differ."""
    return unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", recording, flags=re.DOTALL)).split()


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_the_recording_is_what_the_commands_print() -> None:
    recording = TARGET.read_text(encoding="utf-8")
    assert words_of(record()) == words_of(recording), "run `nox -s screenshots`"
    assert {"ada@example.com", "paid", "429"} <= set(words_of(recording))
    assert re.findall(r"(?:href|src|url)\W+https?:", recording) == []
