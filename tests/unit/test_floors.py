"""The floors of the house: who may import whom, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_floor_imports_one_above_it() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout


def test_importing_the_client_brings_nothing_optional_and_starts_nothing() -> None:
    code = (
        "import sys, threading, montra_async\n"
        "optional = {'jsonschema', 'yaml', 'jinja2', 'simplejson', 'requests', 'httpx', 'redis', 'flask', 'django', "
        "'fastapi', 'starlette', 'montra_async.webhooks', 'montra_async.paywall', 'montra_sandbox'}\n"
        "print(sorted(optional & set(sys.modules)), threading.active_count())"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[] 1", run.stderr


def test_without_its_extra_the_sandbox_says_what_to_install() -> None:
    code = "import sys; sys.modules['jinja2'] = None\nimport montra_sandbox"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'montra[sandbox]'" in run.stderr
