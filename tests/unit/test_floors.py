"""The floors of the house: who may import whom, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_no_floor_imports_one_above_it() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout


def test_importing_the_client_brings_nothing_optional_and_starts_nothing() -> None:
    code = (
        "import sys, threading\n"
        "from montra_async import Montra\n"
        "optional = {'jsonschema', 'yaml', 'jinja2', 'simplejson', 'requests', 'httpx', 'redis', 'flask', 'django', "
        "'fastapi', 'starlette', 'montra_async.webhooks.events', 'montra_async.paywall', 'montra_sandbox'}\n"
        "print(sorted(optional & set(sys.modules)), threading.active_count())"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[] 1", run.stderr


@pytest.mark.parametrize(
    ("statement", "not_needed"),
    [
        ("import montra_async", {"aiohttp", "attrs", "cattrs", "anyio", "asyncio"}),
        ("import montra_sync", {"aiohttp", "attrs", "cattrs", "anyio", "asyncio"}),
        ("from montra_async.webhooks import WebhookReceiver", {"aiohttp", "anyio"}),
        ("from montra_async.core.errors import MontraError", {"aiohttp", "cattrs", "anyio"}),
    ],
)
def test_an_import_brings_what_it_needs(statement: str, not_needed: set[str]) -> None:
    code = f"import sys\n{statement}\nprint(sorted({not_needed!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr


@pytest.mark.parametrize(
    ("package", "module", "name"),
    [
        ("montra_async", "client", "Montra"),
        ("montra_sync", "client", "Montra"),
        ("montra_sandbox", "server", "Sandbox"),
    ],
)
def test_names_come_when_they_are_asked_for(package: str, module: str, name: str) -> None:
    code = (
        f"import {package} as package\n"
        "assert set(package.__all__) <= set(dir(package))\n"
        f"from {package} import *\n"
        f"assert {name} is package.{name} is vars(package)['{name}']\n"
        "assert all(hasattr(package, name) for name in package.__all__)\n"
        f"print({name}, hasattr(package, '{name}x'), hasattr(package, '_public_'))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == f"<class '{package}.{module}.{name}'> False False", run.stderr


def test_a_misspelt_name_is_an_ordinary_import_error() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from montra_async import Custmer"], capture_output=True, text=True, timeout=60
    )
    assert "ImportError: cannot import name 'Custmer' from 'montra_async'" in run.stderr


@pytest.mark.parametrize(
    ("start", "code"),
    [
        (["-c", "{missing}; from montra_sandbox import Sandbox"], 1),
        (["-c", "{missing}; import runpy; runpy.run_module('montra_sandbox', run_name='__main__')"], 2),
        (["-c", "{missing}; from montra_sandbox.__main__ import main; sys.exit(main())"], 2),
    ],
    ids=["import", "module", "command"],
)
def test_without_its_extra_the_sandbox_says_what_to_install(start: list[str], code: int) -> None:
    missing = "import sys; sys.modules['jinja2'] = None"
    words = [word.format(missing=missing) for word in start]
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60)
    assert (run.returncode, "the sandbox needs jinja2: pip install 'montra[sandbox]'" in run.stderr) == (code, True)
    assert code == 1 or len(run.stderr.splitlines()) == 1  # no traceback


def test_a_module_of_the_sandbox_that_is_missing_is_no_missing_extra() -> None:
    code = "import sys; sys.modules['montra_sandbox.world'] = None\nfrom montra_sandbox import Sandbox"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "montra_sandbox.world" in run.stderr
    assert "pip install" not in run.stderr
