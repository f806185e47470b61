"""The examples for legacy code, each started as it is in production."""

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


def test_lambda(montra: Montra, ada: Customer, served: str) -> None:
    records = [
        {"messageId": f"m1-{ada.id}", "body": {"customer_id": ada.id, "meter_slug": "api-tokens", "amount": 3}},
        {"messageId": f"m2-{ada.id}", "body": {"customer_id": "cust_none", "meter_slug": "api-tokens", "amount": 3}},
    ]
    code = (
        "import json, sys; sys.path.insert(0, '.'); import lambda_handler\n"
        f"event = {{'Records': {records!r}}}\n"
        "for _ in range(2): print(json.dumps(lambda_handler.handler(event, None)))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=EXAMPLES,
        env=_environment(served),
    )
    assert run.stderr == ""
    answers = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert answers == [{"batchItemFailures": [{"itemIdentifier": f"m2-{ada.id}"}]}] * 2
    assert montra.check_entitlement(ada.id, "api-tokens").usage == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the prefork pool forks")
def test_celery_with_prefork_workers(montra: Montra, served: str, tmp_path: Path) -> None:
    for folder in ("queue", "results", "control"):
        (tmp_path / folder).mkdir()
    (tmp_path / "settings.py").write_text(
        f"""
broker_url = "filesystem://"
folder = {str(tmp_path)!r}
broker_transport_options = dict(
    data_folder_in=folder + "/queue", data_folder_out=folder + "/queue", control_folder=folder + "/control"
)
result_backend = "file://" + folder + "/results"
broker_connection_retry_on_startup = True
"""
    )
    paths = f"{EXAMPLES}{os.pathsep}{tmp_path}"
    environment = _environment(served, CELERY_CONFIG_MODULE="settings", PYTHONPATH=paths)
    link = montra.create_checkout_link(link_name="l", payment_name="p", amount=10)
    form = "name=Ada&email=celery%40example.com&card=4242424242424242&action=pay"
    request = urllib.request.Request(link.url, data=form.encode())
    with urllib.request.urlopen(request, timeout=30) as page:
        transaction = re.findall(r"tx_\w+", page.read().decode())[0]

    worker = [sys.executable, "-m", "celery", "-A", "celery_task", "worker", "-P", "prefork", "-c", "2", "-l", "INFO"]
    with running(worker, r"ready\.", cwd=tmp_path, **environment):
        code = (
            "from celery_task import refund\n"
            f"sent = [refund.delay({transaction!r}, amount) for amount in ('4.00', '4.00', '4.00')]\n"
            "print(*sorted(one.get(timeout=60)[:4] for one in sent))"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path
        )
    assert run.stdout.split() == ["ref_", "ref_", "refu"], run.stderr
