"""How the command starts: help for everything, nothing heavy for it, and what is missing is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from montra_cli.app import COMMANDS
from montra_cli.calls.call_catalog import CALLS
from montra_cli.failures import EXIT_CODES

from .conftest import Cli

ROOT = Path(__file__).parents[2]
HEAVY = {
    *("aiohttp", "attrs", "cattrs", "anyio", "asyncio", "rich", "tomlkit", "pydantic"),
    *("montra_async.client", "montra_sync.client"),
}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["customers", "--help"], ["plans", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom montra_cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    heavy = set(run.stderr.strip()[1:-1].replace("'", "").split(", ")) - {""}
    allowed = {"pydantic", "asyncio"} if arguments[0] in ("customers", "plans") else set()  # typer's own
    assert heavy <= allowed, run.stderr


def test_the_version_is_the_packages(alone: Cli) -> None:
    from montra_async import __version__

    assert alone.ok("--version").out == f"montra {__version__}\n"
    assert alone.ok("-V", "--version").out == f"montra {__version__}\n"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from montra_cli import main

    def help_of(*path: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*path, "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    text = help_of(command)
    assert f"montra {command}" in text.split("Examples:")[1]
    names = (
        [
            line.split()[0]
            for line in text.split("\nCommands:\n")[1].splitlines()
            if line.startswith("  ") and line[2] != " "
        ]
        if "\nCommands:\n" in text
        else []
    )
    for name in [one for one in names if one != "Examples:" and one != "montra"]:
        own = help_of(command, name)
        assert f"montra {command} {name}" in own.split("Examples:")[1], own


def test_help_shows_values_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    from montra_cli import main

    with pytest.raises(SystemExit):
        main(["products", "create", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "pm_" in text
    assert "Pm_" not in text
    assert "One_time" not in text


def test_every_example_of_a_call_can_be_parsed() -> None:
    """The words of an example are options and arguments that the command has, and all that it needs."""
    import shlex

    for commands in CALLS.values():
        for call in commands.values():
            words = shlex.split(call.example)[3:]
            known = {one.option for one in call.parameters} | {"--clear", "--email", "--user-id"}
            known |= {f"--no-{one.option[2:]}" for one in call.parameters if one.kind == "flag"}
            assert {word for word in words if word.startswith("--")} <= known, call.example


def test_what_is_misspelt_is_suggested(alone: Cli) -> None:
    ran = alone.piped("custmers", "list")
    assert ran.code == 2
    assert "Did you mean customers?" in ran.err
    assert alone.piped("customers", "lst").code == 2
    assert alone.piped("customers", "create").code == 2


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys, importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'typer' else find(name)\n"
        "from montra_cli import main\nsys.exit(main(['customers', 'list']))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "pip install 'montra[cli]'" in run.stderr


def test_topics_of_help(alone: Cli) -> None:
    codes = alone.ok("help", "exit-codes").out
    assert all(str(code) in codes for code in EXIT_CODES)
    assert "MONTRA_API_KEY" in alone.ok("help", "environment").out
    assert "--csv-raw" in alone.ok("help", "output").out
    assert "@FILE" in alone.ok("help", "input").out
    assert "exit-codes" in alone.ok("help").out
    assert alone.run("help", "nothing").code == 2


def test_the_catalog_is_fresh() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate_cli"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


def test_every_call_of_the_clients_is_a_command() -> None:
    import inspect

    from montra_async import Montra
    from montra_async.paywall import BillingClient

    commands = {(call.client, call.method) for group in CALLS.values() for call in group.values()}
    others = {"aclose", "get_prices", "get_balances", "with_raw_response"}
    for client, name in ((Montra, "montra"), (BillingClient, "paywall")):
        for method, function in inspect.getmembers(client):
            is_call = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
            if is_call and not method.startswith("_") and method not in others:
                assert (name, method) in commands, method


def test_shells_complete_commands_and_values(alone: Cli) -> None:
    def completed(words: str) -> str:
        return alone.piped(_MONTRA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()))).out

    assert "customers" in completed("montra cus")[:200] or "customers" in completed("montra ")
    script = alone.piped("--show-completion", SHELL="/bin/bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_MONTRA_COMPLETE" in script.out or script.code != 0
