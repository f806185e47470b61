"""Every chore of the project. `nox --list` shows them; `nox -s quickstart` and `nox -s tests` are where to begin."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]

RUN_TESTS = "tools/run_tests.py"
PROJECT = nox.project.load_toml("pyproject.toml")
BENCHMARKS = (
    *("async_call", "sync_call", "import_time", "serde", "sandbox_capacity", "webhooks", "pool_size"),
    *("usage", "access", "losses", "telemetry"),
)
LOWEST_TESTS = (
    *("tests/unit", "tests/both", "tests/frameworks"),
    *("tests/sandbox/test_hostile_server.py", "tests/sandbox/test_hostile_gateway.py", "tests/sandbox/test_closing.py"),
    *("tests/usage/test_redis_outbox.py", "tests/usage/test_reporter.py", "tests/access/test_redis.py"),
    *("tests/cli/test_calls.py", "tests/cli/test_output.py", "tests/cli/test_start.py", "tests/telemetry"),
)
# What these find, the Python at hand finds as well: rules of texts and sources, of services, of data; browsers; kills.
INDEPENDENT_OF_PYTHON = (
    *("tests/unit/test_error_faq.py", "tests/unit/test_guarantees.py", "tests/unit/test_migration_table.py"),
    *("tests/unit/test_private_access.py", "tests/unit/test_public_docs.py", "tests/unit/test_sandbox_rules.py"),
    *("tests/unit/test_generator_*.py", "tests/unit/test_floors.py"),
    *("tests/usage/test_reporter_kills.py", "tests/usage/test_redis_processes.py", "tests/usage/test_pacing.py"),
    *("tests/usage/test_redis_rules.py", "tests/usage/test_outbox_rules.py"),
    *("tests/sandbox/test_demo.py", "tests/sandbox/test_fidelity_*.py", "tests/sandbox/test_paywall_sdk_*.py"),
    *("tests/sandbox/test_lifecycle.py", "tests/sandbox/test_scenarios.py", "tests/sandbox/test_hostile_fuzz.py"),
    *("tests/sync/test_examples.py", "tests/sync/test_lambda_examples.py", "tests/dashboard/test_browser_*.py"),
)
# The Python at hand looks for what breaks a rule; others show that the rules are there, too.
FEW_EXAMPLES = {"HYPOTHESIS_PROFILE": "few"}
PRERELEASE_TESTS = (
    *("tests/unit/test_aiohttp_compat.py", "tests/unit/test_timeouts.py", "tests/unit/test_pool.py"),
    *("tests/unit/test_transport.py", "tests/unit/test_models.py", "tests/both/test_catalog.py"),
    *("tests/sandbox/test_closing.py", "tests/sandbox/test_read_timeouts.py", "tests/sandbox/test_hostile_server.py"),
)
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def install(session: nox.Session, *groups: str, extras: str = "sandbox") -> None:
    """The project itself, and the dependency groups of a chore."""
    session.install("-e", f".[{extras}]", *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def quickstart(session: nox.Session) -> None:
    """The whole walk over real HTTP against the sandbox; `-- --stay` then shows the dashboard with demo data."""
    install(session)
    session.run("python", "examples/quickstart.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests with the Python at hand, warnings as errors, in random order, with coverage."""
    install(session, "tests")
    session.run("coverage", "erase")
    session.run("python", RUN_TESTS, "--cov", "--cov-report=term-missing:skip-covered", *session.posargs)


@nox.session(python=PYTHONS, name="tests-all")
def tests_all(session: nox.Session) -> None:
    """With every supported Python that is found, all tests whose result can depend on it."""
    install(session, "tests")
    session.run("python", RUN_TESTS, "-q", *without_independent_tests(), *session.posargs, env=FEW_EXAMPLES)


def without_independent_tests() -> list[str]:
    """Options of pytest."""
    root = Path(__file__).parent
    return [f"--ignore-glob={root / pattern}" for pattern in INDEPENDENT_OF_PYTHON]


def lowest_python() -> str | None:
    """The oldest supported Python when it is there and runs (a shim of pyenv may not); else the one at hand."""
    found = shutil.which("python3.10")
    runs = found is not None and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0
    return "3.10" if runs else None


def lowest(requirement: str) -> str:
    """`name==1.2` for `name>=1.2,<3`."""
    return re.sub(r">=([^,]+).*", r"==\1", requirement)


@nox.session(python=lowest_python(), name="tests-lowest")
def tests_lowest(session: nox.Session) -> None:
    """The lowest versions of everything that pyproject.toml allows; what stands on them is tested."""
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    bounds = [*PROJECT["project"]["dependencies"], *(one for extra in extras.values() for one in extra)]
    constraints = Path(session.create_tmp()).resolve() / "lowest.txt"
    constraints.write_text("".join(f"{lowest(one)}\n" for one in bounds))
    tests = nox.project.dependency_groups(PROJECT, "tests")
    session.install("-e", f".[{','.join(extras)}]", *tests, "-c", str(constraints))
    chosen = session.posargs or (*without_independent_tests(), *LOWEST_TESTS)
    session.run("python", RUN_TESTS, "-q", *chosen, env=FEW_EXAMPLES)


@nox.session(name="tests-prerelease")
def tests_prerelease(session: nox.Session) -> None:
    """The newest versions of the dependencies within their bounds, pre-releases included; a few minutes of tests."""
    install(session, "tests")
    session.install("--pre", "--upgrade", *PROJECT["project"]["dependencies"])
    session.run("pytest", "-q", *(session.posargs or PRERELEASE_TESTS))


@nox.session
def hostile(session: nox.Session) -> None:
    """The long tests against a hostile other end: fuzzing, kills, thousands of cancellations. Takes minutes."""
    install(session, "tests")
    session.run("pytest", "-m", "hostile", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Durable usage and access for long: thousands of kills, restarts, pauses; `-- -k kills` for some. Takes long."""
    install(session, "tests")
    session.run("pytest", "-m", "soak", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format. `nox -s lint -- --fix` mends."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    if "--fix" in session.posargs:
        session.run("ruff", "check", "--fix", ".")
        session.run("ruff", "format", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict and pyright --strict, on the project and on what its users write; no public type is left open."""
    install(session, "typing", "tests")
    session.run("mypy")
    session.run("pyright", "--pythonpath", shutil.which("python", path=session.bin) or sys.executable)
    for package in ("montra", "montra_async", "montra_sync", "montra_sandbox", "montra_cli", "montra_pytest"):
        session.run("pyright", "--verifytypes", package, "--ignoreexternal")


@nox.session
def generate(session: nox.Session) -> None:
    """Write the facade, the command's catalog and the tables of endpoints anew; `-- --check` fails for stale ones."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("python", "tools/generate_sync", *session.posargs)
    session.run("python", "tools/generate_cli", *session.posargs)
    session.run("python", "tools/generate_endpoints.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and sdist into dist/, compared with the manifest, tried in fresh environments (not with `-- --quick`)."""
    session.install(*nox.project.dependency_groups(PROJECT, "build"))
    session.run("python", "tools/build_dist", *session.posargs)


@nox.session
def workflows(session: nox.Session) -> None:
    """The files in .github: against their schemas, and for what an attacker could use (zizmor)."""
    session.install(*nox.project.dependency_groups(PROJECT, "workflows"))
    files = sorted(str(file) for file in Path(".github/workflows").glob("*.yml"))
    forms = sorted(str(file) for file in Path(".github/ISSUE_TEMPLATE").glob("*.yml") if file.name != "config.yml")
    for schema, checked in (
        ("vendor.github-workflows", files),
        ("custom.github-workflows-require-timeout", files),
        ("vendor.dependabot", [".github/dependabot.yml"]),
        ("vendor.github-issue-config", [".github/ISSUE_TEMPLATE/config.yml"]),
        ("vendor.github-issue-forms", forms),
    ):
        session.run("check-jsonschema", "--builtin-schema", schema, *checked)
    session.run("zizmor", "--offline", ".github")


@nox.session(name="api-check")
def api_check(session: nox.Session) -> None:
    """What of the public API breaks users' code since the last release; `-- --against REF` for another commit."""
    if sys.version_info < (3, 11):
        session.error("griffe needs Python 3.11 or newer")
    session.install(*nox.project.dependency_groups(PROJECT, "api"))
    session.run("python", "tools/check_api.py", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Changelog, version, commit and tag: `-- X.Y.Z`, with `--dry-run` only shown. Pushes nothing."""
    session.install(*nox.project.dependency_groups(PROJECT, "release"))
    session.run("python", "tools/make_release", *(session.posargs or ["--help"]))


@nox.session
def contract(session: nox.Session) -> None:
    """schemathesis: thousands of good and bad requests to the running sandbox, held against its OpenAPI document."""
    install(session, "contract")
    session.run("python", "tools/check_contract.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, built strictly into site/<version>, and its tests; `-- --serve` shows it."""
    install(session, "docs", "tests", extras="sandbox,cli,redis,fastapi,starlette,flask,django")
    session.run("python", "tools/build_docs", *session.posargs)
    if "--serve" not in session.posargs:
        session.run("pytest", "-q", "-m", "site", "tests/docs/test_site.py")
        session.log("`nox -s docs -- --serve` shows the site, or open site/latest/index.html in a browser.")


@nox.session
def screenshots(session: nox.Session) -> None:
    """The dashboard's pictures, by Chromium, and the terminal's recording; `-- FOLDER` instead of docs/images."""
    install(session, "screenshots", extras="sandbox,cli")
    session.run("python", "tools/take_screenshots.py", *session.posargs)
    session.run("python", "tools/record_terminal.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Side by side with its peers: all benchmarks, or `-- async_call --pairs 15` for one with its options."""
    install(session, "bench")
    given = session.posargs
    if given and not given[0].startswith("-") and given[0] not in BENCHMARKS:
        session.error(f"no benchmark {given[0]!r}; there are: {', '.join(BENCHMARKS)}")
    chosen = [name for name in BENCHMARKS if name in given] or BENCHMARKS
    if "losses" in chosen:  # one that can't be installed is left out
        for package in nox.project.dependency_groups(PROJECT, "losses"):
            session.install(package, success_codes=[0, 1, 2])
    for name in chosen:
        session.run("python", f"benchmarks/{name}.py", *(one for one in given if one not in BENCHMARKS))
