"""The functions for AWS Lambda, invoked as AWS does it: event after event in one process, frozen in between."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from montra_async.webhooks.signature import sign
from montra_sandbox import Sandbox
from montra_sync import Customer, Montra
from montra_sync.usage import RedisOutbox, UsageReporter

from ..servers import EXAMPLES
from ..usage.redis_servers import needs_redis, redis_server
from .aws_documents import (
    HTTP_EVENTS,
    Make,
    balancer_event,
    base64_body,
    http_event,
    rest_event,
    sqs_event,
    sqs_record,
    url_event,
)

SECRET = "whsec_0123456789abcdef0123456789abcdef"

RUNTIME = """
import importlib, json, os, sys
sys.path.insert(0, ".")
module = importlib.import_module(sys.argv[1])

class Context:
    aws_request_id = "00000000-0000-4000-8000-000000000000"
    function_name = "billing"
    left = 60_000  # or a list: a value for each time that it is asked, the last one from then on

    def get_remaining_time_in_millis(self):
        return self.left if isinstance(self.left, int) else self.left.pop(0) if len(self.left) > 1 else self.left[0]

for line in sys.stdin:
    asked = json.loads(line)
    context = Context()
    context.__dict__.update(asked["context"])
    try:
        answer = module.handler(asked["event"], context)
    except Exception as error:
        answer = {"errorMessage": str(error), "errorType": type(error).__name__}
    print("answer " + json.dumps(answer), flush=True)
os._exit(0)  # an instance is ended without notice
"""


@attrs.frozen
class Instance:
    """A process of the function."""

    process: subprocess.Popen[str]

    def invoke(self, event: dict[str, Any], **context: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"event": event, "context": context}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("answer "):
                answer: dict[str, Any] = json.loads(line.removeprefix("answer "))
                return answer
        raise AssertionError("the process has ended")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> str:
        """End it without notice, and return its log."""
        assert self.process.stderr is not None
        _, log = self.process.communicate(timeout=60)
        assert "Traceback" not in log, log
        return log


@attrs.frozen
class Cloud:
    """A sandbox, a customer with 20 tokens, and what starts instances of a function."""

    sandbox: Sandbox
    montra: Montra
    ada: Customer
    folder: Path
    running: list[Instance] = attrs.field(factory=list)

    def start(self, module: str, **environment: str) -> Instance:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", RUNTIME, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=EXAMPLES,
            env={
                **os.environ,
                "MONTRA_BASE_URL": self.sandbox.base_url,
                "MONTRA_API_KEY": self.sandbox.api_key,
                "MONTRA_WEBHOOK_SECRET": SECRET,
                "EVENTS_DB": str(self.folder / "events.db"),
                "MONTRA_OUTBOX": str(self.folder / "usage.db"),
                **environment,
            },
        )
        self.running.append(Instance(process))
        return self.running[-1]

    def used(self) -> int:
        return int(self.montra.check_entitlement(self.ada.id, "api-tokens").usage or 0)

    def usage(self, amount: object = 3, **more: object) -> dict[str, object]:
        return {"customer_id": self.ada.id, "meter_slug": "api-tokens", "amount": amount, **more}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Sandbox() as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
        plan = montra.create_pricing_model(name="Free", is_default=True)
        montra.create_meter(name="Tokens", slug="api-tokens", pricing_model_id=plan.id)
        sandbox.set_limit(pricing_model_id=plan.id, meter_slug="api-tokens", max_amount=20)
        made = Cloud(sandbox, montra, montra.create_customer(name="Ada", email="ada@example.com"), tmp_path)
        try:
            yield made
        finally:
            for instance in made.running:
                instance.process.kill()
                instance.process.communicate(timeout=30)


def failures(*message_ids: str) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": one} for one in message_ids]}


def test_a_batch_reports_only_what_failed_and_counts_the_rest_once(cloud: Cloud) -> None:
    bodies: dict[str, object] = {
        "good-1": cloud.usage(),
        "unknown": cloud.usage(customer_id="cust_none"),
        "no-json": "customer=ada",
        "a-list": [cloud.usage()],
        "incomplete": {"customer_id": cloud.ada.id},
        "below-zero": cloud.usage(-1),
        "words": cloud.usage("many"),
        "deep": "[" * 100_000,
        "empty": "",
        "good-2": cloud.usage(),
    }
    instance = cloud.start("lambda_handler")
    event = sqs_event(*(sqs_record(name, body) for name, body in bodies.items()))
    failed = failures(*(name for name in bodies if not name.startswith("good")))
    assert instance.invoke(event) == failed
    assert instance.invoke(event) == failed  # a queue delivers at least once
    assert cloud.used() == 6
    instance.end()


def test_what_an_invocation_has_no_time_for_comes_again(cloud: Cloud) -> None:
    instance = cloud.start("lambda_handler")
    event = sqs_event(sqs_record("first", cloud.usage()), sqs_record("late", cloud.usage()))
    assert instance.invoke(event, left=[10_000, 9_900, 8_900]) == failures("late")
    assert cloud.used() == 3
    assert instance.invoke(event, left=60_000) == failures()
    assert cloud.used() == 6


@pytest.mark.parametrize("module", ["lambda_handler", "lambda_usage"])
def test_a_time_out_that_is_too_short_for_any_message_is_an_error(cloud: Cloud, module: str) -> None:
    """Returned as failed, all messages would go to the dead-letter queue, and no metric would count an error."""
    instance = cloud.start(module)
    event = sqs_event(sqs_record("m", {**cloud.usage(), "prompt": "two words"}))
    answer = instance.invoke(event, left=2_990)  # Lambda's default is 3 s
    assert answer["errorType"] == "RuntimeError"
    assert "time-out" in answer["errorMessage"]
    assert instance.invoke(sqs_event(), left=2_990) == failures()
    assert instance.invoke(event, left=14_900) == failures()  # 15 s, which both files name, are enough
    assert cloud.used() > 0


def test_an_error_is_one_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """What a message makes an error say must not look like a line of another one."""
    process_batch = runpy.run_path(str(EXAMPLES / "aws_events.py"))["process_batch"]

    def handle(message_id: str, body: str) -> None:
        raise ValueError(body)

    bodies = [f"no plan{mark}m-2: paid" for mark in ("\n", "\r", "\u2028", "\x85", "\x1b[2K")] + ["x" * 10_000]
    records = [sqs_record(f"m-{number}", body) for number, body in enumerate(bodies)]
    assert len(process_batch(records, handle, lambda: True)["batchItemFailures"]) == len(bodies)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ValueError: ")[0] for line in lines] == [f"m-{number}" for number in range(len(bodies))]
    assert all(line.isprintable() and len(line) < 1000 for line in lines)


def test_a_fifo_queue_keeps_its_order(cloud: Cloud) -> None:
    """After a failure, the rest of its group must not be handled before it comes again; other groups go on."""
    instance = cloud.start("lambda_handler")
    event = sqs_event(
        sqs_record("a1", cloud.usage(1), group="a"),
        sqs_record("a2", "no json", group="a"),
        sqs_record("b1", cloud.usage(1), group="b"),
        sqs_record("a3", cloud.usage(1), group="a"),
        sqs_record("b2", cloud.usage(1), group="b"),
    )
    assert instance.invoke(event) == failures("a2", "a3")
    assert cloud.used() == 3

    nameless = [sqs_record(f"n{number}", body, group="") for number, body in enumerate(["no json", cloud.usage(1)])]
    for record in nameless:
        del record["attributes"]["MessageGroupId"]
    assert instance.invoke(sqs_event(*nameless)) == failures("n0", "n1")
    assert cloud.used() == 3


def test_an_outage_returns_the_whole_batch(cloud: Cloud) -> None:
    cloud.sandbox.add_fault(kind="status", status=503, retry_after=600, share=1, path="/usage")
    instance = cloud.start("lambda_handler")
    event = sqs_event(*(sqs_record(f"m{number}", cloud.usage(1)) for number in range(3)))
    assert instance.invoke(event) == failures("m0", "m1", "m2")
    cloud.sandbox.clear_faults()
    assert instance.invoke(event) == failures()
    assert cloud.used() == 3


def test_a_frozen_process_goes_on_with_a_service_that_has_restarted(cloud: Cloud, tmp_path: Path) -> None:
    """While it was frozen, its connections were closed: that must cost no message."""
    database = tmp_path / "sandbox.db"
    first = Sandbox(db=database)
    first.start()
    port = int(first.url.rpartition(":")[2])
    with Montra(first.api_key, first.base_url) as montra:
        plan = montra.create_pricing_model(name="Free", is_default=True)
        montra.create_meter(name="Tokens", slug="api-tokens", pricing_model_id=plan.id)
        ada = montra.create_customer(name="Ada", email="ada@example.com")
    usage = {"customer_id": ada.id, "meter_slug": "api-tokens", "amount": 3}
    instance = cloud.start("lambda_handler", MONTRA_BASE_URL=first.base_url)
    assert instance.invoke(sqs_event(sqs_record("before", usage))) == failures()
    instance.freeze()
    first.stop()
    with Sandbox(db=database, port=port) as second, Montra(second.api_key, second.base_url) as montra:
        instance.thaw()
        assert instance.invoke(sqs_event(sqs_record("after", usage))) == failures()
        assert montra.check_entitlement(ada.id, "api-tokens").usage == 6
    instance.end()


def webhook_body() -> str:
    data = {"session_id": "cs_1", "customer_email": "zoë@example.com"}
    return json.dumps({"id": "evt_1", "type": "checkout.completed", "data": data}, ensure_ascii=False)


def headers_of(answer: dict[str, Any], event: dict[str, Any]) -> dict[str, str]:
    """The headers of a response, read as the sender of the event reads them: lists for lists."""
    if "multiValueHeaders" in event:
        assert "headers" not in answer  # a load balancer would ignore them
        return {name: value for name, [value] in answer["multiValueHeaders"].items()}
    assert "multiValueHeaders" not in answer
    assert all(isinstance(value, str) for value in answer["headers"].values())
    headers: dict[str, str] = answer["headers"]
    return headers


@pytest.mark.parametrize("make", HTTP_EVENTS)
def test_a_webhook_in_every_kind_of_request(cloud: Cloud, make: Make) -> None:
    raw = webhook_body()
    signed = {"Content-Type": "application/json", "Montra-Signature": sign(raw.encode(), SECRET)}
    instance = cloud.start("lambda_handler")
    asked = [
        (make(raw, signed), 200),
        (base64_body(make(raw, signed)), 200),
        (make(raw, {"montra-signature": signed["Montra-Signature"]}), 200),
        (make(raw, {"MONTRA-SIGNATURE": signed["Montra-Signature"]}), 200),
        (make(raw, {}), 401),
        (make(raw + " ", signed), 401),
        (make(None, signed), 401),
        (make("not base64!", signed, isBase64Encoded=True), 400),
        (make(None, {}, method="GET"), 405),
    ]
    for event, status in asked:
        answer = instance.invoke(event)
        assert (answer["statusCode"], answer["isBase64Encoded"]) == (status, False)
        assert isinstance(answer["body"], str)
        assert headers_of(answer, event)["Content-Type"] == "application/json"
    assert json.loads(instance.invoke(asked[0][0])["body"])["status"] == "duplicate"
    instance.end()


def test_what_is_no_request_at_all_is_refused(cloud: Cloud) -> None:
    instance = cloud.start("lambda_handler")
    for event in ({}, {"requestContext": None}, {"requestContext": {"http": []}}, {"source": "aws.events"}):
        assert instance.invoke(event)["statusCode"] == 400
    instance.end()


@pytest.mark.parametrize("module", ["lambda_handler", "lambda_usage"])
def test_odd_fields_of_a_request(cloud: Cloud, module: str) -> None:
    instance = cloud.start(module)
    odd: list[object] = [{}, {"prompt": "a"}, [], ["a"], 0, 7, 1.5, False, True, "\ud800"]
    for body in odd:
        for encoded in (False, True):
            event = {**url_event("", {}, claims={"montra_customer_id": cloud.ada.id}), "body": body}
            assert instance.invoke({**event, "isBase64Encoded": encoded})["statusCode"] == 400
    large = "x" * (1024 * 1024 + 1)
    for event in (url_event(large, {}), base64_body(url_event(large, {}))):
        assert instance.invoke(event)["statusCode"] == 413
    instance.end()


def test_odd_headers_of_a_request(cloud: Cloud) -> None:
    raw = webhook_body()
    signature = sign(raw.encode(), SECRET)
    instance = cloud.start("lambda_handler")
    readable: list[dict[str, Any]] = [
        {"headers": {"A": None, "Montra-Signature": signature}},
        {"headers": {"Montra-Signature": signature}, "multiValueHeaders": {"A": None, "Montra-Signature": None}},
        {"multiValueHeaders": {"A": [None], "B": [], "C": "text", "D": {}, "Montra-Signature": [None, signature]}},
    ]
    for fields in readable:
        event = {**balancer_event(raw, {}), **fields}
        assert instance.invoke(event)["statusCode"] == 200
    assert instance.invoke({**balancer_event(raw, {}), "headers": [], "multiValueHeaders": "a"})["statusCode"] == 401
    instance.end()


def test_two_secrets_during_a_rotation(cloud: Cloud) -> None:
    new = "whsec_new_0123456789abcdef0123456789"
    instance = cloud.start("lambda_handler", MONTRA_WEBHOOK_SECRET=f"{new}, {SECRET}")
    raw = webhook_body()
    for secret, status in ((SECRET, 200), (new, 200), ("whsec_of_somebody_else_0123456789", 401)):
        event = url_event(raw, {"Montra-Signature": sign(raw.encode(), secret)})
        assert instance.invoke(event)["statusCode"] == status
    instance.end()


@needs_redis
def test_instances_share_what_was_handled(cloud: Cloud, tmp_path: Path) -> None:
    raw = webhook_body()
    event = http_event(raw, {"Montra-Signature": sign(raw.encode(), SECRET)})
    with redis_server(tmp_path) as redis:
        for expected in ("done", "duplicate"):
            instance = cloud.start("lambda_handler", REDIS_URL=redis.url)
            assert json.loads(instance.invoke(event)["body"])["status"] == expected
            instance.end()


def question(make: Make, cloud: Cloud, **more: Any) -> dict[str, Any]:
    return make(json.dumps({"prompt": "two words"}), {}, claims={"montra_customer_id": cloud.ada.id}, **more)


@pytest.mark.parametrize("encode", [lambda event: event, base64_body], ids=["text", "base64"])
@pytest.mark.parametrize("make", [rest_event, http_event, url_event])
def test_usage_is_sent_before_the_process_is_frozen(
    cloud: Cloud, make: Make, encode: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    instance = cloud.start("lambda_usage")
    event = encode(question(make, cloud))
    for request_id in ("1", "2", "2"):  # the second invocation is repeated by Lambda
        answer = instance.invoke(event, aws_request_id=request_id)
        assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"answer": "TWO WORDS"})
        instance.freeze()
        assert cloud.used() == (2 if request_id == "1" else 4)
        instance.thaw()
    assert instance.end() == ""


def test_only_the_authorizer_says_who_asks(cloud: Cloud) -> None:
    instance = cloud.start("lambda_usage")
    body = json.dumps({"prompt": "two words", "customer_id": cloud.ada.id, "montra_customer_id": cloud.ada.id})
    headers = {"montra_customer_id": cloud.ada.id, "X-Customer-Id": cloud.ada.id}
    for make in HTTP_EVENTS:
        for claims in (None, {}):
            assert instance.invoke(make(body, headers, claims=claims))["statusCode"] == 401
    for text in ("", "no json", "[]", '{"prompt": 7}', '"prompt"', "[" * 100_000):
        event = http_event(text, {}, claims={"montra_customer_id": cloud.ada.id})
        assert instance.invoke(event)["statusCode"] == 400
    assert cloud.used() == 0
    instance.end()


def test_jobs_of_a_queue_are_recorded_once(cloud: Cloud) -> None:
    instance = cloud.start("lambda_usage")
    job = {"customer_id": cloud.ada.id, "prompt": "two words"}
    event = sqs_event(sqs_record("job-1", job), sqs_record("broken", "{"), sqs_record("job-2", job, attempt=2))
    assert instance.invoke(event) == failures("broken")
    assert instance.invoke(event) == failures("broken")
    assert cloud.used() == 4
    instance.end()


@needs_redis
def test_another_instance_sends_what_one_has_left_in_redis(cloud: Cloud, tmp_path: Path) -> None:
    with redis_server(tmp_path, appendonly="yes", appendfsync="always") as redis:
        cloud.sandbox.add_fault(kind="status", status=503, share=1, path="/usage")
        instance = cloud.start("lambda_usage", REDIS_URL=redis.url)
        assert instance.invoke(question(http_event, cloud))["statusCode"] == 200
        assert "1 events wait in the outbox at the end of the invocation" in instance.end()
        cloud.sandbox.clear_faults()
        assert cloud.used() == 0
        with UsageReporter(cloud.montra, RedisOutbox(redis.url)) as usage:  # or `montra-usage`
            assert usage.flush(100) == 0  # a claim of the first one would expire after 60 s
    assert cloud.used() == 2
