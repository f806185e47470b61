"""The sandbox's metrics, read with the parser of Prometheus's own client."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given, strategies
from prometheus_client.parser import text_string_to_metric_families

from montra_async import Montra, NotFoundError
from montra_sandbox import Sandbox
from montra_sandbox.metrics import BUCKETS, Metrics, family


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Each sample by its name and labels. Fails when one comes twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for one in text_string_to_metric_families(text):
        assert one.documentation
        for sample in one.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


async def page(sandbox: Sandbox, **headers: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{sandbox.url}/_sandbox/metrics", headers=headers) as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def metrics(sandbox: Sandbox, name: str, **labels: str) -> float:
    status, kind, text = await page(sandbox)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return parsed(text).get((f"montra_sandbox_{name}", frozenset(labels.items())), 0)


async def test_requests_faults_and_objects(sandbox: Sandbox, unwatched: Montra) -> None:
    montra = unwatched
    before = await metrics(sandbox, "objects", kind="customers")
    sandbox.add_fault(kind="status", status=503, retry_after=0)
    sandbox.add_fault(kind="drop_before")
    await montra.create_customer(name="A", email="a@example.com")
    with pytest.raises(NotFoundError):
        await montra.get_customer("cust_none")
    count = {"service": "montra", "operation": "create_customer"}
    assert await metrics(sandbox, "requests_total", **count, status="200") == 1
    assert await metrics(sandbox, "requests_total", **count, status="503") == 1
    assert await metrics(sandbox, "requests_total", **count, status="none") == 1
    assert await metrics(sandbox, "requests_total", service="montra", operation="get_customer", status="404") == 1
    assert await metrics(sandbox, "request_duration_seconds_count", **count) == 3
    assert await metrics(sandbox, "request_duration_seconds_bucket", **count, le="+Inf") == 3
    assert await metrics(sandbox, "request_duration_seconds_sum", **count) > 0
    assert await metrics(sandbox, "faults_total", kind="drop_before") == 1
    assert await metrics(sandbox, "objects", kind="customers") == before + 1
    sandbox.reset()
    assert await metrics(sandbox, "objects", kind="customers") == 0
    assert await metrics(sandbox, "requests_total", **count, status="200") == 1  # counters never go back


async def test_paths_that_do_not_exist_are_one_label(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as http:
        for number in range(5):
            async with http.get(f"{sandbox.url}/api/v1/nothing/{number}"):
                pass
    assert await metrics(sandbox, "requests_total", service="montra", operation="unknown", status="401") == 5
    assert "nothing" not in (await page(sandbox))[2]


async def test_the_clock_subscriptions_webhooks_and_streams(sandbox: Sandbox, montra: Montra) -> None:
    assert abs(await metrics(sandbox, "clock_offset_seconds")) < 60
    sandbox.advance(days=10)
    assert abs(await metrics(sandbox, "clock_offset_seconds") - 864_000) < 60
    assert await metrics(sandbox, "clock_frozen") == 0
    sandbox.freeze()
    assert await metrics(sandbox, "clock_frozen") == 1
    customer = await montra.create_customer(name="A", email="a@example.com")
    model = await montra.create_pricing_model(name="P")
    await montra.create_subscription(customer.id, model.id)
    assert await metrics(sandbox, "subscriptions", status="active") == 1
    assert await metrics(sandbox, "streams", state="open") == 0


async def test_deliveries(sandbox: Sandbox, montra: Montra) -> None:
    await montra.create_webhook(url="http://127.0.0.1:1/hook", events=["customer.created"])
    await montra.create_customer(name="A", email="a@example.com")
    await sandbox.settle()
    assert await metrics(sandbox, "webhook_attempts_total", result="retried") == 1
    assert await metrics(sandbox, "deliveries", status="pending") == 1


async def test_pages_of_others_and_wrong_hosts_are_refused(sandbox: Sandbox) -> None:
    assert (await page(sandbox, Origin="https://evil.example", **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await page(sandbox, Host="evil.example"))[0] in (403, 421)


async def test_the_token_is_required_where_others_may_connect() -> None:
    async with Sandbox(host="0.0.0.0", allow_remote=True, control_token="the-token") as sandbox:
        local = sandbox.url.replace("0.0.0.0", "127.0.0.1")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{local}/_sandbox/metrics") as answer:
                assert answer.status in (401, 403)
            async with http.get(f"{local}/_sandbox/metrics", headers={"X-Sandbox-Token": "the-token"}) as answer:
                assert answer.status == 200


@given(strategies.dictionaries(strategies.text(max_size=20), strategies.integers(0, 1000), max_size=8))
def test_any_label_survives(values: dict[str, int]) -> None:
    text = family("things_total", "counter", "Things.", {(("kind", kind),): value for kind, value in values.items()})
    assert {dict(labels)["kind"]: value for (_, labels), value in parsed(text).items()} == values


@given(strategies.lists(strategies.floats(0, 100), max_size=30))
def test_buckets_hold_what_is_below_them(durations: list[float]) -> None:
    counted = Metrics()
    for seconds in durations:
        counted.count_request("montra", "x", 200, seconds)
    found = parsed("".join(counted.families()))
    labels = {("service", "montra"), ("operation", "x")}
    for bound in BUCKETS if durations else ():
        key = ("montra_sandbox_request_duration_seconds_bucket", frozenset({*labels, ("le", repr(bound))}))
        assert found[key] == sum(seconds <= bound for seconds in durations)
