"""Numbers, nesting, advances and faults beyond the limits are refused and never cause a 500."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, TypeAlias

import aiohttp
import pytest
import simplejson
from hypothesis import given, settings, strategies as st

from montra_async import Montra
from montra_sandbox import Problem, Sandbox
from montra_sandbox.datetimes import add_months
from montra_sandbox.json import MAX_DEPTH, MAX_DIGITS, MAX_EXPONENT, loads_untrusted
from montra_sandbox.world import MAX_DUE, World

from .server_side import in_server

Ask: TypeAlias = Callable[..., Awaitable[tuple[int, Any]]]
JSON = {"Content-Type": "application/json"}

HOSTILE = [
    "1e1000000",
    "1e10000000",
    "-1e1000000000000000000",
    "1e-1000000000000000000",
    "1" + "0" * 400,
    "9" * 100_000,
    "0." + "9" * 100_000,
    "1E+00000000000000000000400",
    "NaN",
    "Infinity",
    "-Infinity",
    "[" * 65 + "]" * 65,
    "[" * 900 + "]" * 900,
    '{"a":' * 400 + "1" + "}" * 400,
    "[" * 500_000,
]


@pytest.fixture
async def ask(sandbox: Sandbox) -> AsyncIterator[Ask]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.api_key}", **JSON}) as http:

        async def send(path: str, body: str | bytes) -> tuple[int, Any]:
            content = io.BytesIO(body if isinstance(body, bytes) else body.encode())
            async with http.post(sandbox.url + path, data=content) as answer:
                return answer.status, await answer.json()

        yield send


PLACES = [
    ("/api/v1/usage", '{"customer_id":"c","meter_slug":"m","amount":%s}'),
    ("/api/v1/customers", '{"name":"A","email":"a@x.fi","metadata":{"a":%s}}'),
    ("/api/v1/invoices", '{"customer_id":"c","amount_due":%s}'),
    ("/api/v1/paywall/pw_sandbox/balances", '{"email":"a@x.fi","type":"gpt-4","amount":%s,"op":"credit"}'),
    ("/api/v1/paywall/pw_sandbox/start-checkout", '{"email":"a@x.fi","priceId":%s}'),
    ("/api/v1/paywall/pw_sandbox/auth/otp/send", '{"email":"a@x.fi","user_meta":{"a":%s}}'),
    ("/_sandbox/clock/advance", '{"days":%s}'),
    ("/_sandbox/limits", '{"pricing_model_id":"p","meter_slug":"m","max_amount":%s}'),
    ("/_sandbox/faults", '{"kind":"latency","seconds":%s}'),
    ("/_sandbox/faults", '{"kind":"rate_limit","retry_after":%s}'),
    ("/_sandbox/paywalls", '{"trial_days":%s}'),
    ("/_sandbox/paywalls/pw_sandbox", '{"settings":{"a":%s}}'),
]


@pytest.mark.parametrize(("path", "body"), PLACES)
async def test_numbers_and_nesting_beyond_the_limits_are_refused(ask: Ask, path: str, body: str) -> None:
    tracemalloc.start()
    try:
        for hostile in HOSTILE:
            status, payload = await ask(path, body % hostile)
            assert status == 400, hostile[:30]
            assert len(simplejson.dumps(payload)) < 2_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 1024 * 1024


async def test_bodies_beyond_the_limits_are_refused(ask: Ask) -> None:
    for path, _ in PLACES:
        status, _ = await ask(path, b'{"name":"' + b"x" * (1024 * 1024) + b'"}')
        assert status == 413
    status, payload = await ask("/api/v1/customers", '{"%s":1}' % ("k" * 1_000_000))
    assert status == 400
    assert len(simplejson.dumps(payload)) < 5_000


@given(digits=st.integers(1, 200), exponent=st.integers(-1000, 1000), fraction=st.booleans())
def test_parsed_numbers_are_within_the_limits(digits: int, exponent: int, fraction: bool) -> None:
    text = f"{'1.' if fraction else ''}{'7' * digits}e{exponent}"
    if digits + fraction <= MAX_DIGITS and abs(exponent) <= MAX_EXPONENT:
        assert loads_untrusted(text.encode()) == Decimal(text)
    else:
        with pytest.raises(ValueError, match="a number"):
            loads_untrusted(text.encode())


@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**MAX_DIGITS) + 1, 10**MAX_DIGITS - 1))
def test_every_double_and_integer_is_parsed(value: float) -> None:
    assert loads_untrusted(simplejson.dumps(value).encode()) == Decimal(repr(value))


@given(depth=st.integers(0, 200))
def test_depth(depth: int) -> None:
    text = b"[" * depth + b"0" + b"]" * depth
    if depth <= MAX_DEPTH:
        loads_untrusted(text)
    else:
        with pytest.raises(ValueError, match="nested"):
            loads_untrusted(text)


# Controls


CONTROLS = [
    ("POST", "clock/advance", ["to", "days", "weeks", "self"]),
    ("POST", "limits", ["pricing_model_id", "meter_slug", "max_amount", "period", "aggregation"]),
    ("POST", "products/{product}/tiers", ["tiers", "product_id"]),
    ("POST", "subscriptions/{subscription}", ["status", "cancel_at_period_end", "subscription_id"]),
    (
        "POST",
        "faults",
        ["kind", "times", "share", "method", "path", "seconds", "status", "retry_after", "body", "self"],
    ),
    ("POST", "paywalls", ["id", "owner", "webhook_url", "webhook_secret", "prices", "trial_days", "self", "name"]),
    ("POST", "paywalls/pw_sandbox", ["name", "prices", "offers", "locales", "tokenization", "settings", "webhook_url"]),
    ("POST", "paywalls/pw_sandbox/providers/x", ["mode", "query_type", "enabled", "events", "pause", "break_after"]),
    ("POST", "deliveries/x/replay", []),
    ("POST", "purchases/x/refund", []),
]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["status", "latency", "active", "day", "sum", "echo", "2030-01-01", "x", ""])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "amount", "up_to", "x"]), inner),
    max_leaves=6,
)
BODIES = st.sampled_from(CONTROLS).flatmap(
    lambda one: st.tuples(
        st.just(one), st.dictionaries(st.sampled_from([*one[2], "surprise"]), JSON_VALUES, max_size=5) | JSON_VALUES
    )
)


@settings(max_examples=10)
@given(requests=st.lists(BODIES, min_size=20, max_size=40))
async def test_random_control_requests_never_cause_a_500(requests: list[tuple[Any, Any]]) -> None:
    async with Sandbox() as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
        model = await montra.create_pricing_model(name="P", is_default=True)
        await montra.create_meter(name="T", slug="t", pricing_model_id=model.id)
        product = await montra.create_product(
            pricing_model_id=model.id, name="T", price_type="usage", meter_slug="t", pricing_structure="tiered"
        )
        ada = await montra.create_customer(name="A", email="a@example.com")
        subscription = await montra.create_subscription(ada.id, model.id)
        async with aiohttp.ClientSession() as http:
            for (method, path, _), body in requests:
                url = f"{sandbox.url}/_sandbox/{path.format(product=product.id, subscription=subscription.id)}"
                async with http.request(method, url, json=body) as answer:
                    assert answer.status < 500, (path, body)
            sandbox.clear_faults()
            for path in (
                "",
                "faults",
                "deliveries",
                "transactions",
                "mails",
                "tickets",
                "streams",
                "paywalls/pw_sandbox",
            ):
                async with http.get(f"{sandbox.url}/_sandbox/{path}") as answer:
                    assert answer.status == 200
        assert [one.id for one in await montra.list_customers()] == [ada.id]


async def test_faults_are_bounded(sandbox: Sandbox) -> None:
    for wrong in (
        {"kind": "latency", "seconds": 301},
        {"kind": "latency", "seconds": float("nan")},
        {"kind": "latency", "seconds": True},
        {"kind": "status", "times": 10**7},
        {"kind": "rate_limit", "retry_after": "1\r\nX-Evil: 1"},
        {"kind": "rate_limit", "retry_after": "x" * 101},
        {"kind": "rate_limit", "retry_after": -1},
        {"kind": "rate_limit", "retry_after": 10**12},
        {"kind": "rate_limit", "retry_after": [1]},
        {"kind": "status", "path": "/" * 2000},
    ):
        with pytest.raises(Problem):
            sandbox.add_fault(**wrong)
    for _ in range(1000):
        sandbox.add_fault(kind="status")
    with pytest.raises(Problem, match="active already"):
        sandbox.add_fault(kind="status")


# The clock


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": 3654},
        {"days": 3_652_500},
        {"weeks": 10**300},
        {"seconds": -1},
        {"days": float("nan")},
        {"days": float("inf")},
        {"hours": -float("inf")},
        {"days": 10**400},
        {"days": "x"},
        {"days": None},
        {"days": 1, "to": datetime(2040, 1, 1, tzinfo=timezone.utc)},
        {"to": datetime(9999, 12, 31, tzinfo=timezone.utc)},
        {"to": datetime(2020, 1, 1, tzinfo=timezone.utc)},
        {"to": datetime(2040, 1, 1)},
    ],
)
async def test_invalid_advances_are_refused(sandbox: Sandbox, wrong: dict[str, Any]) -> None:
    before = sandbox.now()
    with pytest.raises(Problem):
        sandbox.advance(**wrong)
    assert sandbox.now() - before < timedelta(hours=1)


async def test_an_advance_of_more_than_ten_years_is_refused(sandbox: Sandbox, montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P", is_default=True)
    ada = await montra.create_customer(name="A", email="a@example.com")
    await montra.create_subscription(ada.id, model.id)
    with pytest.raises(Problem, match="ten years"):
        sandbox.advance(days=3_652_500)
    assert sandbox.overview()["counts"]["events"] < 5
    sandbox.advance(days=3650)
    assert 119 <= sandbox.overview()["counts"]["events"] <= 130
    sandbox.reset()
    in_server(sandbox, lambda world: world.clock.advance(timedelta(days=365 * 6970)))
    with pytest.raises(Problem, match="calendar"):
        sandbox.advance(days=3653)


async def test_an_advance_with_too_many_steps_is_refused_before_it_starts(sandbox: Sandbox) -> None:
    """Smaller advances are accepted."""
    sandbox.set_paywall(sandbox.paywall_id, prices=[{"id": 1, "amount": 1, "interval": "day"}])
    async with aiohttp.ClientSession() as http:
        begin = {"email": "a@example.com", "priceId": 1}
        url = f"{sandbox.url}/api/v1/paywall/{sandbox.paywall_id}/start-checkout"
        async with http.post(url, json=begin) as answer:
            checkout = (await answer.json())["checkoutUrl"]
        await http.post(checkout, data={"card": "4242424242424242", "action": "pay"})

    def copy_purchases(world: World) -> None:
        rows = world.db.all("PRAGMA table_info(paywall_purchases)")
        names = ", ".join(row["name"] for row in rows if row["name"] != "id")
        for i in range(3):  # four who pay every day
            world.db.run(
                f"INSERT INTO paywall_purchases (id, {names}) SELECT id || {i}, {names} FROM paywall_purchases LIMIT 1"
            )

    in_server(sandbox, copy_purchases)
    before = sandbox.overview()["counts"]
    with pytest.raises(Problem, match="smaller steps"):
        sandbox.advance(days=3650)
    assert sandbox.overview()["counts"] == before
    sandbox.advance(days=50)
    after = sandbox.overview()["counts"]["events"]
    assert 4 * 2 * 49 <= after - before["events"] <= 4 * 2 * 51

    def add_endpoints(world: World) -> None:
        for i in range(300):
            world.db.run(
                "INSERT INTO webhook_endpoints"
                " SELECT ?, merchant_id, 'http://127.0.0.1:9/', NULL, '[\"*\"]', 1, 's', '' FROM paywalls LIMIT 1",
                f"wh_{i}",
            )

    in_server(sandbox, add_endpoints)
    with pytest.raises(Problem, match="300 webhook"):
        sandbox.advance(days=60)


async def test_the_estimated_steps_are_an_upper_bound(sandbox: Sandbox, montra: Montra) -> None:
    model = await montra.create_pricing_model(name="P", is_default=True)
    for i in range(5):
        ada = await montra.create_customer(name="A", email=f"a{i}@example.com")
        subscription = await montra.create_subscription(ada.id, model.id)
        if i % 2:
            await montra.pause_subscription(subscription.id, resume_at=sandbox.now() + timedelta(days=40))
    before = sandbox.overview()["counts"]["events"]
    until = sandbox.now() + timedelta(days=365)
    estimate = in_server(sandbox, lambda world: world.count_due(until))
    sandbox.advance(days=365)
    steps = sandbox.overview()["counts"]["events"] - before
    assert steps <= estimate * 2 <= steps * 3 + 20
    assert estimate < MAX_DUE


@given(
    anchor=st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
    months=st.integers(-(10**9), 10**9),
)
def test_months_outside_the_calendar_overflow(anchor: datetime, months: int) -> None:
    try:
        moved = add_months(anchor, months)
    except OverflowError:
        assert not 0 <= anchor.year * 12 + anchor.month - 1 + months - 12 < 9999 * 12
    else:
        assert (moved.year - anchor.year) * 12 + moved.month - anchor.month == months


@pytest.mark.parametrize(
    "price", [{"trial_days": 10**9}, {"interval_count": 10**9}, {"interval": "year", "trial_days": 3}]
)
async def test_dates_past_the_calendar_cause_no_500(sandbox: Sandbox, price: dict[str, Any]) -> None:
    """Either the price or the checkout is refused."""
    try:
        sandbox.set_paywall(sandbox.paywall_id, prices=[{"id": 1, "amount": 10**15, **price}])
    except Problem:
        return
    async with aiohttp.ClientSession() as http:
        begin = {"email": "a@example.com", "priceId": 1}
        url = f"{sandbox.url}/api/v1/paywall/{sandbox.paywall_id}/start-checkout"
        async with http.post(url, json=begin) as answer:
            assert answer.status in (200, 400)
            checkout = (await answer.json()).get("checkoutUrl")
        if checkout:
            async with http.post(checkout, data={"card": "4242424242424242", "action": "pay"}) as answer:
                assert answer.status in (200, 400)
        async with http.get(f"{sandbox.url}/_sandbox/") as answer:
            assert answer.status == 200
