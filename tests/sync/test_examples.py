"""Runs the examples for synchronous code as they run in production."""

from __future__ import annotations

import base64
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

from montra_async.webhooks.signature import sign
from montra_sync import Customer, Montra
from montra_sync.usage import RedisOutbox, UsageReporter

from ..servers import EXAMPLES, running
from ..usage.redis_servers import needs_redis, redis_server


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


def _sqs(message_id: str, body: object) -> dict[str, Any]:
    """A record as SQS gives it to Lambda: the body is always text."""
    return {
        "messageId": message_id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1545082649183",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1545082649185",
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
        "awsRegion": "us-east-2",
    }


def _invoke(served: str, events: list[dict[str, Any]], context: str = "None", **more: str) -> list[Any]:
    """Call the function with several events in one process, as Lambda does, and return its results."""
    code = (
        "import json, sys; sys.path.insert(0, '.'); import lambda_handler\n"
        "class Short:\n    get_remaining_time_in_millis = staticmethod(lambda: 3000)\n"
        f"for event in json.load(sys.stdin): print(json.dumps(lambda_handler.handler(event, {context})))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=json.dumps(events),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=EXAMPLES,
        env=_environment(served, **more),
    )
    assert "Traceback" not in run.stderr
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def test_lambda_takes_a_batch_of_a_queue(montra: Montra, ada: Customer, served: str) -> None:
    def usage(customer_id: str, **more: Any) -> dict[str, Any]:
        return {"customer_id": customer_id, "meter_slug": "api-tokens", "amount": 3, **more}

    bodies: dict[str, object] = {
        "good-1": usage(ada.id),
        "unknown": usage("cust_none"),
        "no-json": "customer=ada",
        "a-list": [usage(ada.id)],
        "incomplete": {"customer_id": ada.id},
        "below-zero": usage(ada.id, amount=-1),
        "words": usage(ada.id, amount="many"),
        "deep": "[" * 100_000,
        "empty": "",
        "good-2": usage(ada.id),
    }
    batch = {"Records": [_sqs(f"{name}-{ada.id}", body) for name, body in bodies.items()]}
    failed = [{"itemIdentifier": f"{name}-{ada.id}"} for name in bodies if not name.startswith("good")]
    # Twice: the queue delivers at least once.
    assert _invoke(served, [batch, batch]) == [{"batchItemFailures": failed}] * 2
    assert montra.check_entitlement(ada.id, "api-tokens").usage == 6


def test_lambda_leaves_what_it_has_no_time_for(montra: Montra, ada: Customer, served: str) -> None:
    usage = {"customer_id": ada.id, "meter_slug": "api-tokens", "amount": 3}
    [answer] = _invoke(served, [{"Records": [_sqs("late", usage)]}], context="Short()")
    assert answer == {"batchItemFailures": [{"itemIdentifier": "late"}]}
    assert montra.check_entitlement(ada.id, "api-tokens").usage == 0


def _rest_event(body: str | None, headers: dict[str, str], method: str = "POST", **more: Any) -> dict[str, Any]:
    """API Gateway, REST API: payload format 1.0."""
    return {
        "resource": "/hook",
        "path": "/hook",
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "requestContext": {"resourcePath": "/hook", "httpMethod": method, "protocol": "HTTP/1.1", "stage": "prod"},
        "body": body,
        "isBase64Encoded": False,
        **more,
    }


def _http_event(body: str | None, headers: dict[str, str], method: str = "POST", **more: Any) -> dict[str, Any]:
    """API Gateway, HTTP API: payload format 2.0; a function URL sends the same."""
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/hook",
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {
            "domainName": "abc.lambda-url.us-east-2.on.aws",
            "http": {"method": method, "path": "/hook", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "stage": "$default",
        },
        "isBase64Encoded": False,
        **more,
    }
    return event if body is None else {**event, "body": body}


@pytest.mark.parametrize("make", [_rest_event, _http_event])
def test_lambda_takes_webhooks_over_http(make: Any, served: str, tmp_path: Path) -> None:
    secret = "whsec_0123456789abcdef0123456789abcdef"
    data = {"customer_email": "zoe@example.com"}
    raw = json.dumps({"id": "evt_1", "type": "checkout.completed", "data": data}, ensure_ascii=False)
    signed = {"Content-Type": "application/json", "Montra-Signature": sign(raw.encode(), secret)}
    coded = base64.b64encode(raw.encode()).decode()
    events = [
        make(raw, signed),
        make(coded, signed, isBase64Encoded=True),
        make(raw, {}),
        make(raw + " ", signed),
        make(None, signed),
        make("not base64!", signed, isBase64Encoded=True),
        make(None, {}, "GET"),
    ]
    answers = _invoke(served, events, MONTRA_WEBHOOK_SECRET=secret, EVENTS_DB=str(tmp_path / "events.db"))
    assert [answer["statusCode"] for answer in answers] == [200, 200, 401, 401, 401, 400, 405]
    assert json.loads(answers[1]["body"])["status"] == "duplicate"
    assert all(isinstance(answer["body"], str) for answer in answers)


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


_USAGE = """
import json, sys; sys.path.insert(0, '.'); import lambda_usage
for event in json.load(sys.stdin):
    class Context: aws_request_id = event.pop("id")
    print(json.dumps(lambda_usage.handler(event, Context)), flush=True)
import os; os._exit(0)  # Lambda ends instances without notice
"""


def _ask(events: list[dict[str, str]], served: str, **environment: str) -> tuple[int, str]:
    """Invoke the function for several events in one process. Return the number of its answers, and its log."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", _USAGE],
        input=json.dumps(events),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=EXAMPLES,
        env=_environment(served, **environment),
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.stdout.count('"statusCode": 200'), run.stderr


def test_lambda_sends_usage_before_it_is_frozen(montra: Montra, ada: Customer, served: str, tmp_path: Path) -> None:
    events = [{"id": f"{ada.id}-{n}", "customer_id": ada.id, "prompt": "two words"} for n in (1, 2, 2)]
    assert _ask(events, served, MONTRA_OUTBOX=str(tmp_path / "usage.db")) == (3, "")
    assert montra.check_entitlement(ada.id, "api-tokens").usage == 4  # the second one was invoked twice


@needs_redis
def test_another_instance_sends_what_lambda_has_left_in_redis(
    montra: Montra, ada: Customer, served: str, tmp_path: Path
) -> None:
    events = [{"id": f"{ada.id}-{n}", "customer_id": ada.id, "prompt": "two words"} for n in (1, 2)]
    faults = served.replace("/api/v1", "/_sandbox/faults")
    with redis_server(tmp_path, appendonly="yes", appendfsync="always") as redis:
        _post(faults, json.dumps({"kind": "status", "status": 503, "share": 1, "path": "/usage"}).encode())
        try:
            answers, log = _ask(events[:1], served, REDIS_URL=redis.url)
        finally:
            urllib.request.urlopen(urllib.request.Request(faults, method="DELETE"), timeout=30).close()
        assert answers == 1
        assert "1 events wait in the outbox at the end of the invocation" in log
        assert montra.check_entitlement(ada.id, "api-tokens").usage == 0
        with UsageReporter(montra, RedisOutbox(redis.url)) as usage:  # or `montra-usage`
            assert usage.flush(100) == 0  # a claim of the first one would expire after 60 s
    assert montra.check_entitlement(ada.id, "api-tokens").usage == 2
