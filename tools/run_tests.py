"""Run pytest, in CI with a second look at a few tests that fail: python tools/run_tests.py [options of pytest]

In CI, thousands of tests with real servers, processes and clocks share two processors with other chores, and now and
then one of them waits for longer than any time-out foresees. When at most five fail there (the environment has `CI`),
they run once more, one after the other. What fails again has failed; what passes is named at the end, to be mended
later. Elsewhere, and with more failures, nothing runs twice.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

MAX_FAILURES = 5
_TESTS_FAILED = 1


def pytest(options: list[str], cache: Path) -> int:
    """Returns the exit code of pytest."""
    command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *options]
    return subprocess.run(command, check=False).returncode


def failed_tests(cache: Path) -> list[str]:
    """The tests that failed when pytest ran with a cache."""
    file = cache / "v" / "cache" / "lastfailed"
    return sorted(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else []


def main(options: list[str]) -> int:
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for pytest, which says how far it came
    cache = Path(tempfile.mkdtemp(prefix="montra-tests-"))
    try:
        code = pytest(options, cache)
        failed = failed_tests(cache)
        if code != _TESTS_FAILED or not 0 < len(failed) <= MAX_FAILURES or not os.environ.get("CI"):
            return code
        print(f"\n{len(failed)} failed, and run once more", flush=True)
        again = ["-n", "0", "--last-failed", "--last-failed-no-failures=none"]
        if "--cov" in options:
            again.append("--cov-append")
        code = pytest([*options, *again], cache)
        if not code:
            print("\nPassed the second time only. Find out why:", *failed, sep="\n  ", flush=True)
        return code
    finally:
        shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
