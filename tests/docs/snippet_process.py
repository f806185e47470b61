"""A process that runs snippets, each in a fork of it: as alone as in a process of its own, without its imports.

Reads one job per line, JSON: `argv` as after `python`, either `-c` and code, or `-m` and a module with its arguments;
`cwd`, `env` and `timeout`. Writes one line for each: `status`, `out` and `err`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
from types import ModuleType
from typing import Any, NoReturn

IMPORTED = (
    *("asyncio", "json", "decimal", "sqlite3", "aiohttp", "pytest"),
    *(
        "montra_async.client",
        "montra_async.access",
        "montra_async.usage",
        "montra_async.paywall",
        "montra_async.webhooks",
    ),
    *("montra_sync.client", "montra_sync.access", "montra_sync.usage", "montra_sync.paywall", "montra_sync.webhooks"),
    *("montra_async._public", "montra_async.access._public", "montra_async.usage._public"),
    *("montra_async.webhooks._public", "montra_sync._public", "montra_sandbox.server"),
    *("fastapi", "flask", "starlette.testclient", "_pytest.assertion.rewrite"),
)
"""What snippets import. A snippet that needs more imports it itself."""


def main() -> None:
    """Run jobs until stdin ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is there now is not looked at again by each child
    jobs, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    with jobs, answers:
        for line in jobs:
            job = json.loads(line)
            with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                child = os.fork()
                if child == 0:
                    os.close(jobs.fileno())
                    os.close(answers.fileno())
                    _become(job, out.fileno(), err.fileno())
                status = _wait(child, job["timeout"])
                answers.write(json.dumps({"status": status, "out": _text(out), "err": _text(err)}) + "\n")
                answers.flush()


def _become(job: dict[str, Any], out: int, err: int) -> NoReturn:
    """Be the process of a job."""
    empty = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((empty, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for stream, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, stream, os.fdopen(number, "w", encoding="utf-8", closefd=False))
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.path[0] = ""
    status = 0
    try:
        _run(*job["argv"])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    _end(status)


def _run(first: str, rest: str, *others: str) -> None:
    module = sys.modules["__main__"] = ModuleType("__main__")
    if first == "-m":
        sys.argv = [rest, *others]
        runpy.run_module(rest, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *others]
        exec(compile(rest, "<snippet>", "exec"), vars(module))


def _end(status: int) -> NoReturn:
    """End as an interpreter does, in its order, but without taking apart the modules that were there before."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    vars(sys.modules["__main__"]).clear()
    gc.collect()  # what is not closed warns
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait(child: int, timeout: float) -> int:
    """The exit status of a child, which is killed when its time is up."""
    deadline = time.monotonic() + timeout
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))


if __name__ == "__main__":
    main()
