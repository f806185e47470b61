"""The worker of the examples: SIGTERM in the middle of its calls."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE

from montra_async import Montra
from montra_sandbox import Sandbox

from ..conftest import struck
from ..servers import EXAMPLES


async def test_calls_in_progress_are_finished_before_it_ends(sandbox: Sandbox) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        plan = await montra.create_pricing_model(name="Free", is_default=True)
        await montra.create_meter(name="T", slug="api-tokens", pricing_model_id=plan.id)
        ada = await montra.create_customer(name="Ada", email="ada@example.com")
        sandbox.add_fault(kind="latency", seconds=0.5, times=3, path="/usage")
        environment = {**os.environ, "MONTRA_BASE_URL": sandbox.base_url, "MONTRA_API_KEY": sandbox.api_key}
        pipes = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}
        command = [sys.executable, "-W", "error", "worker.py"]
        worker = await asyncio.create_subprocess_exec(*command, **pipes, cwd=EXAMPLES, env=environment)
        assert worker.stdin is not None
        worker.stdin.write("".join(f"{i} {ada.id} 7\n" for i in range(3)).encode())
        await struck(sandbox)
        worker.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(worker.communicate(), 30)
        assert (worker.returncode, err) == (0, b"")
        lines = out.decode().splitlines()
        assert sorted(lines[2:-1]) == ["done 0", "done 1", "done 2"]
        assert (lines[0], lines[1], lines[-1]) == ("ready", "draining 3", "stopped")
        assert (await montra.check_entitlement(ada.id, "api-tokens")).usage == 21
