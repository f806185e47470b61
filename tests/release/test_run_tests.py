"""`tools/run_tests.py`: in CI, a few tests that fail run once more, and what fails again has failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from . import ROOT

WAVERS = """
from pathlib import Path

def test_passes(): ...

def test_wavers():
    seen = Path("seen")
    times = len(seen.read_text()) if seen.exists() else 0
    seen.write_text("." * (times + 1))
    assert times
"""
FAILS = "\ndef test_fails(): assert False\n"
MANY_FAIL = "\nimport pytest\n@pytest.mark.parametrize('one', range(5))\ndef test_fails(one): assert False\n"


def start(folder: Path, tests: str, *options: str, ci: bool = True) -> subprocess.Popen[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(tests)
    ours = ("CI", "COV_", "COVERAGE_")  # these tests may run in CI, and be measured
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"CI": "true"} if ci else {}
    command = [sys.executable, str(ROOT / "tools" / "run_tests.py"), "-p", "no:randomly", *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def run(folder: Path, tests: str, *options: str, ci: bool = True) -> tuple[int, str]:
    process = start(folder, tests, *options, ci=ci)
    out, _ = process.communicate(timeout=120)
    return process.returncode, out


def times(folder: Path) -> int:
    return len((folder / "seen").read_text())


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_what_wavers_is_named(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, out = run(tmp_path, WAVERS, *options)
    assert (code, times(tmp_path)) == (0, 2)
    assert out.endswith("Passed the second time only. Find out why:\n  test_it.py::test_wavers\n")
    assert "1 failed, 1 passed" in out
    assert "1 passed" in out.partition("run once more")[2]  # and not what had passed


def test_what_fails_again_has_failed(tmp_path: Path) -> None:
    code, out = run(tmp_path, WAVERS + FAILS)
    assert (code, times(tmp_path)) == (1, 2)
    assert "Passed the second time" not in out


@pytest.mark.parametrize(("tests", "ci"), [(WAVERS, False), (WAVERS + MANY_FAIL, True)], ids=["not in CI", "many"])
def test_nothing_runs_twice(tmp_path: Path, tests: str, ci: bool) -> None:
    code, _ = run(tmp_path, tests, ci=ci)
    assert (code, times(tmp_path)) == (1, 1)


def test_what_can_not_be_collected_is_no_failure_that_wavers(tmp_path: Path) -> None:
    code, out = run(tmp_path, "import nothing_of_this_name\n")
    assert code == 2
    assert "once more" not in out


def test_coverage_of_both_runs_counts(tmp_path: Path) -> None:
    (tmp_path / ".coveragerc").write_text("[run]\ninclude = half.py\n")
    (tmp_path / "half.py").write_text("def one():\n    return 1\n\n\ndef two():\n    return 2\n")
    tests = "import half\n" + WAVERS.replace("...", "half.one()").replace("assert times", "assert times; half.two()")
    code, out = run(tmp_path, tests, "--cov", "--cov-report=term", "--cov-fail-under=100")
    assert (code, times(tmp_path)) == (0, 2), out
    code, out = run(tmp_path, tests.replace("half.two()", "0"), "--cov", "--cov-fail-under=100")
    assert code == 1  # all passed, and too little is covered


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups of terminals")
def test_ctrl_c_ends_pytest_as_usual(tmp_path: Path) -> None:
    waits = "import time\n\ndef test_waits():\n    open('seen', 'w').close()\n    time.sleep(60)\n"
    process = start(tmp_path, waits)
    while not (tmp_path / "seen").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "KeyboardInterrupt" in out
