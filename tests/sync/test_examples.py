"""Runs the examples for synchronous code as they run in production."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from montra_sync import Customer, Montra

from ..servers import EXAMPLES, running


@pytest.fixture
def montra(served: str) -> Iterator[Montra]:
    with Montra("sk_test_sandbox", served) as client:
        yield client


@pytest.fixture
def ada(montra: Montra, served: str) -> Customer:
    """A customer who may use 20 tokens."""
    plan = montra.create_pricing_model(name="Free", is_default=True)
    montra.create_meter(name="T", slug="api-tokens", pricing_model_id=plan.id)
    limit = {"pricing_model_id": plan.id, "meter_slug": "api-tokens", "max_amount": 20}
    _post(served.replace("/api/v1", "/_sandbox/limits"), json.dumps(limit).encode())
    return montra.create_customer(name="Ada", email=f"{plan.id}@example.com")


def _environment(served: str, **more: str) -> dict[str, str]:
    return {**os.environ, "MONTRA_BASE_URL": served, "MONTRA_API_KEY": "sk_test_sandbox", **more}


def _post(url: str, body: bytes, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the prefork pool forks")


def _celery_environment(served: str, folder: Path, **more: str) -> dict[str, str]:
    """Celery with a broker in files."""
    for name in ("queue", "results", "control"):
        (folder / name).mkdir()
    (folder / "settings.py").write_text(
        f"""
broker_url = "filesystem://"
folder = {str(folder)!r}
broker_transport_options = dict(
    data_folder_in=folder + "/queue", data_folder_out=folder + "/queue", control_folder=folder + "/control"
)
result_backend = "file://" + folder + "/results"
broker_connection_retry_on_startup = True
"""
    )
    paths = f"{EXAMPLES}{os.pathsep}{folder}{os.pathsep}{EXAMPLES.parent}"
    return _environment(served, CELERY_CONFIG_MODULE="settings", PYTHONPATH=paths, **more)


def _worker(app: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", app, "worker", "-P", "prefork", "-c", "2", "-l", "INFO"]


def _run(code: str, folder: Path, environment: dict[str, str]) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, cwd=folder
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@needs_fork
def test_celery_with_prefork_workers(montra: Montra, served: str, tmp_path: Path) -> None:
    environment = _celery_environment(served, tmp_path)
    link = montra.create_checkout_link(link_name="l", payment_name="p", amount=10)
    form = "name=Ada&email=celery%40example.com&card=4242424242424242&action=pay"
    request = urllib.request.Request(link.url, data=form.encode())
    with urllib.request.urlopen(request, timeout=30) as page:
        transaction = re.findall(r"tx_\w+", page.read().decode())[0]

    with running(_worker("celery_task"), r"ready\.", cwd=tmp_path, **environment):
        code = (
            "from celery_task import refund\n"
            f"sent = [refund.delay({transaction!r}, amount) for amount in ('4.00', '4.00', '4.00')]\n"
            "print(*sorted(one.get(timeout=60)[:4] for one in sent))"
        )
        assert _run(code, tmp_path, environment).split() == ["ref_", "ref_", "refu"]


@needs_fork
def test_celery_workers_share_an_outbox_that_one_process_sends(
    montra: Montra, ada: Customer, served: str, tmp_path: Path
) -> None:
    environment = _celery_environment(served, tmp_path, MONTRA_OUTBOX=str(tmp_path / "usage.db"))
    with running(_worker("celery_usage"), r"ready\.", cwd=tmp_path, **environment):
        code = (
            "from celery_usage import answer\n"
            "names = [f'task-{number}' for number in range(6)]\n"
            # The first one twice: brokers deliver at least once.
            f"sent = [answer.apply_async(({ada.id!r}, 'two words'), task_id=name) for name in ['task-0', *names]]\n"
            "print(*(one.get(timeout=60) for one in sent), sep=',')"
        )
        assert _run(code, tmp_path, environment).strip() == ",".join(["TWO WORDS"] * 7)
        assert montra.check_entitlement(ada.id, "api-tokens").usage == 0
    command = "import sys; from montra_async.usage.worker import main; sys.exit(main(['send', '--once']))"
    _run(command, tmp_path, environment)
    assert montra.check_entitlement(ada.id, "api-tokens").usage == 12
