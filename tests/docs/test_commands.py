"""The documentation of the command: each command line in it exists, and the tables are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from montra_cli import main
from montra_cli.failures import EXIT_CODES
from montra_cli.settings import FIELDS

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
LINES = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("montra ")
]


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
