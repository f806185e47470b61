"""What happens to the files of an import: the input stays, and no line of it is lost silently."""

from __future__ import annotations

import os

import pytest

from .conftest import Cli
from .test_usage_import import write_lines


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
@pytest.mark.parametrize("option", ["--rejects", "--progress"])
def test_the_input_is_not_overwritten(cli: Cli, link: str, option: str) -> None:
    customer = cli.plan()["customer"]
    write_lines(cli, customer, 3)
    before = (cli.folder / "u.csv").read_bytes() + b"no line end"
    (cli.folder / "u.csv").write_bytes(before)
    if link == "symlink":
        (cli.folder / "r.csv").symlink_to("u.csv")
    elif link == "hardlink":
        os.link(cli.folder / "u.csv", cli.folder / "r.csv")
    name = "./u.csv" if link == "same" else "r.csv"
    for more in ([], ["--dry-run"]) if option == "--rejects" else ([],):
        ran = cli.run("usage", "import", "u.csv", option, name, *more)
        assert (ran.code, "would overwrite" in ran.err) == (2, True)
    assert (cli.folder / "u.csv").read_bytes() == before
    assert cli.used(customer) == 0


def test_other_files_are_not_changed_either(cli: Cli) -> None:
    write_lines(cli, cli.plan()["customer"], 1)
    for content in (b"notes\nwithout an end", b"one line", b"[1]\nx"):
        (cli.folder / "notes").write_bytes(content)
        assert cli.run("usage", "import", "u.csv", "--progress", "notes").code == 2
        assert (cli.folder / "notes").read_bytes() == content
    assert cli.run("usage", "import", "u.csv", "--progress", "p", "--rejects", "p").code == 2
