"""The pytest plugin as users have it: found by itself, in a run of its own, with every way to run coroutines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "tests"

ASYNC = """
import pytest

{marker}
async def test_an_asynchronous_client(montra, montra_sandbox):
    await montra.create_customer(name="Ada", email="ada@example.com")
    assert montra_sandbox.requests.find(operation="create_customer")[0].json["email"] == "ada@example.com"

{marker}
async def test_the_next_test_begins_empty(montra, paywall, montra_sandbox):
    assert await montra.list_customers() == []
    assert len(montra_sandbox.requests) == 1
    assert (await paywall.for_user(email="ada@example.com").create_checkout(101)).url

{marker}
async def test_both_clients(montra, montra_sync):
    ada = montra_sync.create_customer(name="Ada", email="ada@example.com")
    assert await montra.get_customer(ada.id) == ada
"""
STRICT = "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function"
SESSION = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = session\nasyncio_default_test_loop_scope = session"


def run_pytest(
    folder: Path, files: Mapping[str, str], *arguments: str, ini: str = "", env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and output of a run with warnings as errors, and with no other plugins than those that are named."""
    for name, text in {**files, "pytest.ini": f"[pytest]\n{ini}\n"}.items():
        (folder / name).write_text(text)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "montra_pytest.plugin",
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**_environment(), **(env or {}), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    return run.returncode, run.stdout + run.stderr


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MONTRA_", "PAYWALL_"))}


@pytest.mark.parametrize(
    ("marker", "ini", "arguments"),
    [
        ("@pytest.mark.asyncio", STRICT, ("-p", "pytest_asyncio.plugin")),
        ("", STRICT.replace("strict", "auto"), ("-p", "pytest_asyncio.plugin")),
        ("", SESSION, ("-p", "pytest_asyncio.plugin")),
        ("@pytest.mark.anyio", "", ("-p", "anyio")),
    ],
    ids=["strict", "auto", "session", "anyio"],
)
def test_coroutines_run(tmp_path: Path, marker: str, ini: str, arguments: tuple[str, ...]) -> None:
    files = {"test_it.py": ASYNC.format(marker=marker)}
    if "anyio" in marker:
        files["conftest.py"] = "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    code, said = run_pytest(tmp_path, files, *arguments, ini=ini)
    assert (code, "3 passed" in said) == (0, True), said


def test_the_marker_and_the_environment(tmp_path: Path) -> None:
    files = {
        "plans.toml": "[[pricing_models]]\nname = 'Pro'\n",
        "test_it.py": """
import os
from datetime import datetime, timezone
import pytest
from montra_sync import Montra

pytestmark = pytest.mark.montra_sandbox(id_seed=42)

@pytest.mark.montra_sandbox(now="2026-01-31", frozen=True, seed_file="plans.toml")
def test_settings(montra_sandbox, montra_sync):
    assert montra_sandbox.now() == datetime(2026, 1, 31, tzinfo=timezone.utc)
    assert montra_sandbox.clock.is_frozen
    [pro] = montra_sync.list_pricing_models()
    assert pro.name == "Pro"

@pytest.mark.montra_sandbox(now=datetime(2030, 1, 1, tzinfo=timezone.utc), faults=[{"kind": "rate_limit"}])
def test_faults(montra_sandbox):
    assert montra_sandbox.now().year == 2030
    assert [one["kind"] for one in montra_sandbox.faults()] == ["rate_limit"]

def ids():
    with Montra() as montra:  # from the environment
        return montra.create_customer(name="Ada", email="ada@example.com").id

made = set()

@pytest.mark.parametrize("n", range(3))
def test_ids_are_reproducible(montra_sandbox, n):
    assert os.environ["MONTRA_SANDBOX"] == "1"
    made.add(ids())
    assert len(made) == 1

def test_without_the_fixture_nothing_is_set():
    assert "MONTRA_BASE_URL" not in os.environ
""",
    }
    code, said = run_pytest(tmp_path, files)
    assert (code, "6 passed" in said) == (0, True), said


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("noww='2026-01-01'", "has the settings now, frozen, id_seed, seed_file, faults; unknown: noww"),
        ("'2026-01-01'", "give them by name"),
        ("now='soon'", "not an ISO 8601 datetime: 'soon'"),
        ("seed_file='missing.toml'", "missing.toml"),
        ("faults=[{'kind': 'x'}]", "kind: one of latency"),
        ("faults=[{'kind': 'latency', 'path': 'customers'}]", "path: the beginning of a path"),
        ("faults=[{'kind': 'latency', 'sort': 1}]", "the sandbox's faults: the fields are kind, times, share, "),
        ("faults=[{'times': 1}]", "the sandbox's faults: each has a kind"),
        ("faults=['rate_limit']", "the sandbox's faults: a list"),
        ("faults={'kind': 'latency'}", "the sandbox's faults: a list"),
        ("faults='rate_limit'", "the sandbox's faults: a list"),
        ("faults=5", "the sandbox's faults: a list"),
        ("now=5", "the sandbox's now: a datetime or a text"),
        ("now=__import__('datetime').date(2030, 1, 1)", "the sandbox's now: a datetime or a text"),
        ("now=__import__('datetime').datetime(2030, 1, 1)", "the sandbox's now: a datetime with a time zone"),
        ("frozen='no'", "the sandbox's frozen: True or False, not 'no'"),
        ("frozen=1", "the sandbox's frozen: True or False, not 1"),
        ("id_seed='42'", "the sandbox's id_seed: a whole number, not '42'"),
        ("seed_file=5", "the sandbox's seed_file: a path, not 5"),
    ],
)
def test_mistakes_in_the_marker_are_told(tmp_path: Path, marker: str, message: str) -> None:
    test = f"import pytest\n@pytest.mark.montra_sandbox({marker})\ndef test_it(montra_sandbox): ...\n"
    code, said = run_pytest(tmp_path, {"test_it.py": test})
    assert code == 1
    assert message in said
    assert not re.search("^E +(Type|Attribute)Error", said, re.MULTILINE)


def test_a_mistake_in_the_ini_file_is_told(tmp_path: Path) -> None:
    files = {"test_it.py": "def test_it(montra_sandbox): ..."}
    code, said = run_pytest(tmp_path, files, ini="montra_sandbox_id_seed = abc")
    assert code == 1
    assert "montra_sandbox_id_seed: not a whole number: 'abc'" in said
    for name in ("montra_sandbox_env", "montra_sandbox_frozen"):
        code, said = run_pytest(tmp_path, files, ini=f"{name} = maybe")
        assert code
        assert f"{name}: true or false" in said


@pytest.mark.parametrize("early", [False, True])
def test_usage_of_a_test_stays_out_of_other_outboxes(tmp_path: Path, early: bool) -> None:
    test = """
import os, pathlib
import pytest
from montra_async import Montra
from montra_async.usage import UsageReporter

files = []

@pytest.mark.parametrize("n", [1, 2])
async def test_it(montra, montra_sandbox, n):
    plan = await montra.create_pricing_model(name="Pro", is_default=True)
    await montra.create_meter(name="Tokens", slug="tokens", pricing_model_id=plan.id)
    ada = await montra.create_customer(name="Ada", email="ada@example.com")
    async with UsageReporter(montra, send=n == 2) as usage:  # the first test leaves its event unsent
        await usage.record(ada.id, "tokens")
        if n == 2:
            await usage.flush()
            assert [one.operation for one in montra_sandbox.requests].count("report_usage") == 1
    files.append(os.environ["MONTRA_OUTBOX"])
    assert pathlib.Path(files[-1]).is_file() and len(set(files)) == n
"""
    home = tmp_path / "home"
    env = {"HOME": str(home), "XDG_STATE_HOME": str(home), "TMPDIR": str(tmp_path)}
    ini = STRICT.replace("strict", "auto") + ("\nmontra_sandbox_env = true\n" if early else "")
    code, said = run_pytest(tmp_path, {"test_it.py": test}, "-p", "pytest_asyncio.plugin", ini=ini, env=env)
    assert code == 0, said
    assert not home.exists()  # of the developer, who may have one for the real service
    assert not list(tmp_path.glob("montra-outbox-*"))


def test_the_fixtures_leave_the_event_loops_of_others_alone(tmp_path: Path) -> None:
    test = """
import asyncio

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)

def test_one(montra): ...

def test_two():
    assert asyncio.get_event_loop() is loop
    loop.close()
"""
    code, said = run_pytest(tmp_path, {"test_it.py": test})
    assert (code, "2 passed" in said) == (0, True), said


def test_ini_options_hold_for_all_tests(tmp_path: Path) -> None:
    ini = """
montra_sandbox_now = 2026-01-31T12:00:00Z
montra_sandbox_frozen = true
montra_sandbox_id_seed = 42
montra_sandbox_seed_file = plans.toml
montra_sandbox_webhook_secret = whsec_of_the_settings
"""
    test = """
import pytest

def test_it(montra_sandbox, montra_sync):
    assert montra_sandbox.now().isoformat() == "2026-01-31T12:00:00+00:00"
    assert montra_sandbox.webhooks.secret == "whsec_of_the_settings"
    assert montra_sync.list_pricing_models()[0].id.startswith("pm_")

@pytest.mark.montra_sandbox(frozen=False)
def test_the_marker_wins(montra_sandbox):
    assert not montra_sandbox.clock.is_frozen
"""
    files = {"test_it.py": test, "plans.toml": "[[pricing_models]]\nname = 'Pro'\n"}
    code, said = run_pytest(tmp_path, files, "--strict-markers", "--strict-config", ini=ini)
    assert (code, "2 passed" in said) == (0, True), said


def test_an_application_that_makes_its_client_when_it_is_imported(tmp_path: Path) -> None:
    files = {
        "app.py": "from montra_sync import Montra\nmontra = Montra()\n",
        "conftest.py": "import app\n",
        "test_it.py": """
import app

def test_it(montra_sandbox):
    app.montra.create_customer(name="Ada", email="ada@example.com")
    assert len(montra_sandbox.requests) == 1
""",
    }
    code, said = run_pytest(tmp_path, files)
    assert code != 0
    assert "MONTRA_API_KEY" in said
    code, said = run_pytest(tmp_path, files, ini="montra_sandbox_env = true")
    assert (code, "1 passed" in said) == (0, True), said


@pytest.mark.parametrize(
    ("line", "helped"),
    [
        ("__import__('montra_sync').Montra()", True),
        ("os.environ['MONTRA_WEBHOOK_SECRET']", True),
        ("raise LookupError('settings')  # not MONTRA_API_KEY", False),
        ("1 / 0", False),
    ],
)
def test_a_missing_setting_at_import_is_explained(tmp_path: Path, line: str, helped: bool) -> None:
    code, said = run_pytest(tmp_path, {"test_it.py": f"import os\n\nif 'PYTEST_VERSION' in os.environ:\n    {line}\n"})
    assert (code, "montra_sandbox_env" in said) == (2, helped), said


def test_each_worker_of_xdist_has_a_server(tmp_path: Path) -> None:
    test = """
import pytest

@pytest.mark.parametrize("n", range(20))
def test_it(montra_sandbox, montra_sync, n):
    assert montra_sync.list_customers() == []
    montra_sync.create_customer(name="Ada", email="ada@example.com")
    assert len(montra_sync.list_customers()) == 1
"""
    code, said = run_pytest(tmp_path, {"test_it.py": test}, "-p", "xdist", "-n", "2", ini="montra_sandbox_env = true")
    assert (code, "20 passed" in said) == (0, True), said


def test_a_run_that_uses_no_fixture_imports_nothing_of_the_sdk(tmp_path: Path) -> None:
    test = """
import sys

def test_it():
    assert not {"aiohttp", "attrs", "jinja2", "montra_async", "montra_sync", "montra_sandbox"} & set(sys.modules)
"""
    code, said = run_pytest(tmp_path, {"test_it.py": test})
    assert (code, "1 passed" in said) == (0, True), said


def test_pytest_finds_it_and_documents_its_options() -> None:
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    for name in ("now", "frozen", "id_seed", "seed_file", "webhook_secret", "env"):
        assert f"montra_sandbox_{name}" in code.stdout


def test_the_examples_of_users_tests(tmp_path: Path) -> None:
    """FastAPI, Flask and Django, each in a few lines beside the assertions."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider"],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert (run.returncode, "9 passed" in run.stdout) == (0, True), run.stdout + run.stderr


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
def test_the_examples_have_little_beside_their_assertions(framework: str) -> None:
    lines = (EXAMPLES / f"test_{framework}_app.py").read_text().splitlines()
    plumbing = [line for line in lines if line.strip() and not line.strip().startswith(("assert ", "def test_"))]
    assert len(plumbing) <= 12
