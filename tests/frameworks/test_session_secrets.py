"""An application whose sessions anybody could sign does not start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..servers import EXAMPLES
from .session_cookies import SESSION_SECRET

APPLICATIONS = sorted(path.stem for path in EXAMPLES.glob("*_app.py"))


@pytest.mark.parametrize("module", APPLICATIONS)
def test_a_short_secret_is_refused_at_the_start(module: str, tmp_path: Path) -> None:
    def start(secret: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "MONTRA_BASE_URL": "http://127.0.0.1:9/api/v1",
            "MONTRA_API_KEY": "sk_test_key",
            "MONTRA_WEBHOOK_SECRET": "whsec_0123456789abcdef0123456789abcdef",
            "EVENTS_DB": str(tmp_path / "events.db"),
            "MONTRA_OUTBOX": str(tmp_path / "usage.db"),
            "PYTHONPATH": f"{EXAMPLES}{os.pathsep}{EXAMPLES.parent}",
            "SESSION_SECRET": secret,
        }
        command = [sys.executable, "-c", f"import {module}"]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    for secret in ("", SESSION_SECRET[:31]):
        run = start(secret)
        assert run.returncode != 0
        last = run.stderr.strip().splitlines()[-1]
        assert "SESSION_SECRET" in last
        assert "secrets.token_hex()" in last  # how to make one
        assert not secret or secret not in run.stderr
    run = start(SESSION_SECRET[:32])
    assert run.returncode == 0, run.stderr
