"""Installs the wheel into fresh environments, without extras and with each alone, and tries it there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .artifacts import BuildError

TRIAL = Path(__file__).with_name("trial.py")
EVERYTHING = "all"
"""The environment with all extras at once."""
PYTEST = "pytest"
"""The environment without extras, but with pytest, which loads our plugin."""
SCRIPT = re.compile(r"first\.py.*?```python\n(.*?)```", re.DOTALL)
WAIT = 60


class Environment(NamedTuple):
    """A fresh environment.

    Attributes:
        name: an extra, or empty for none, or one of the names above.
        folder: where it is.
        extras: what it has.
    """

    name: str
    folder: Path
    extras: tuple[str, ...]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"


def environment_variables(**more: str) -> dict[str, str]:
    """The environment of processes that must not see the checkout, nor settings of whoever runs this."""
    ours = ("PYTHON", "MONTRA", "MONETIZE", "PAYWALL", "COV_", "COVERAGE", "PYTEST", "VIRTUAL_ENV", "NOX_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **more}


def run(command: Sequence[str | Path], cwd: Path, *, timeout: float = 300, **more: str) -> str:
    """Run a command to its end.

    Returns:
        What it printed.

    Raises:
        BuildError: it failed.
    """
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment_variables(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        shown = " ".join(map(str, command))
        raise BuildError(f"$ {shown}\nexit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def make_environment(folder: Path, wheel: Path, extras: Sequence[str], others: Sequence[str] = ()) -> None:
    """Make an environment and install the wheel: with uv in a second, without it (or its index) with venv and pip.

    Args:
        folder: where.
        wheel: what.
        extras: of the wheel.
        others: further requirements.
    """
    wanted = [f"{wheel}[{','.join(extras)}]" if extras else str(wheel), *others]
    if uv := shutil.which("uv"):
        try:
            run([uv, "venv", "--quiet", "--python", sys.executable, folder], folder.parent)
            install = [uv, "pip", "install", "--quiet", "--refresh-package", "montra", "--python", folder]
            run([*install, *wanted], folder.parent)
            run([uv, "pip", "check", "--quiet", "--python", folder], folder.parent)
            return
        except BuildError as error:
            print(f"uv can't install, pip tries it: {str(error).splitlines()[-1]}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", folder], folder.parent)
    run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted], folder.parent, timeout=600)
    run([folder / "bin" / "python", "-m", "pip", "check"], folder.parent)


@contextmanager
def served(environment: Environment, folder: Path) -> Iterator[str]:
    """The sandbox of an environment, running. Yields its address.

    Raises:
        BuildError: it does not start.
    """
    command = [str(environment.folder / "bin" / "montra-sandbox"), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment_variables(PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE, text=True
    )
    timer = threading.Timer(WAIT, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        found = next((one for line in process.stdout if (one := re.search(r"http://127\.0\.0\.1:\d+", line))), None)
        timer.cancel()
        if found is None:
            raise BuildError("montra-sandbox does not start")
        yield found[0]
    finally:
        timer.cancel()
        process.terminate()
        process.communicate(timeout=WAIT)


def run_trial(environment: Environment, scratch: Path, address: str, checkout: Path, version: str) -> None:
    """Try what an environment has, in a folder of its own.

    Raises:
        BuildError: something does not work.
    """
    folder = scratch / f"in-{environment.name or 'core'}"
    folder.mkdir()
    settings = {"extras": environment.extras, "address": address, "checkout": str(checkout), "version": version}
    target = folder / "trial.py"
    shutil.copy(TRIAL, target)
    strict = () if environment.name else ("-W", "error")  # other people's packages may warn of each other
    command = [environment.python, "-I", *strict, target]
    run(command, folder, SETTINGS=json.dumps({**settings, "name": environment.name}))
    if not environment.name:
        run_script(environment, folder, address, checkout)


def run_script(environment: Environment, folder: Path, address: str, checkout: Path) -> None:
    """Run the script with which the README begins, twice, against the sandbox.

    Raises:
        BuildError: it fails, or does something else than the README says.
    """
    found = SCRIPT.search((checkout / "README.md").read_text(encoding="utf-8"))
    if found is None:
        raise BuildError("README.md has no script first.py")
    (folder / "first.py").write_text(found[1].replace("http://127.0.0.1:4242", address), encoding="utf-8")
    first, second = (run([environment.python, "first.py"], folder) for _ in range(2))
    if "has_access=True" not in first or first.splitlines()[0] != second.splitlines()[0]:
        raise BuildError(f"first.py printed {first!r}, then {second!r}")


def try_everywhere(
    wheel: Path,
    extras: Sequence[str],
    scratch: Path,
    checkout: Path,
    version: str,
    then: Callable[[Environment], object],
) -> Iterator[tuple[Environment, BuildError | None]]:
    """Make all environments and try the wheel in each.

    Args:
        wheel: what to install.
        extras: all that it has.
        scratch: a folder for the environments.
        checkout: the project's folder, which no environment may see.
        version: of the wheel.
        then: what to do with an environment in which all works.

    Yields:
        Each environment, with what went wrong.
    """
    plans = {"": (), **{one: (one,) for one in extras}, EVERYTHING: tuple(extras), PYTEST: ()}
    environments = [Environment(name, scratch / f"env-{name or 'core'}", one) for name, one in plans.items()]
    server = next(one for one in environments if one.name == "sandbox")
    make_environment(server.folder, wheel, server.extras)

    def trial(one: Environment) -> tuple[Environment, BuildError | None]:
        try:
            if one is not server:
                make_environment(one.folder, wheel, one.extras, ("pytest",) if one.name == PYTEST else ())
            run_trial(one, scratch, address, checkout, version)
            then(one)
        except BuildError as error:
            return one, error
        return one, None

    with served(server, scratch) as address, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(trial, environments)
