"""The sandbox's pure functions: months, charges, aggregation, buckets, faults, validation messages."""

from __future__ import annotations

import inspect
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, get_type_hints

import attrs
import pytest
from hypothesis import given, strategies as st

import montra_sandbox
from montra_sandbox import json as sandbox_json, montra, paywall
from montra_sandbox.__main__ import main
from montra_sandbox.contract import describe, read_contract
from montra_sandbox.contract.schema_validation import make_validator
from montra_sandbox.datetimes import add_months, format_datetime, month_containing, parse_datetime
from montra_sandbox.faults import Fault, Faults, make_fault
from montra_sandbox.montra.analytics import bucket_edges, bucket_key
from montra_sandbox.montra.charges import apply_discount, prorate, tiered_charge
from montra_sandbox.montra.usage import aggregate, unique_value
from montra_sandbox.operations import OperationRegistry
from montra_sandbox.problems import Problem
from montra_sandbox.webhook_sender import is_local_url, retry_delay

UTC = timezone.utc
datetimes = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
prices = st.decimals(0, 10**6, places=2)


@pytest.mark.parametrize(("service", "handlers"), [("montra", montra.OPERATIONS), ("paywall", paywall.OPERATIONS)])
def test_every_operation_of_the_contract_has_a_handler_and_every_handler_an_operation(
    service: str, handlers: OperationRegistry[Any]
) -> None:
    assert {operation.id for operation in read_contract(service).operations} == set(handlers)


@pytest.mark.parametrize(("service", "handlers"), [("montra", montra.OPERATIONS), ("paywall", paywall.OPERATIONS)])
def test_a_handler_is_named_after_its_operation_and_documents_its_endpoint(
    service: str, handlers: OperationRegistry[Any]
) -> None:
    for operation in read_contract(service).operations:
        handler = handlers[operation.id]
        if operation.id.startswith("gateway_"):
            continue  # one handler for all methods
        path = operation.template.removeprefix("/v1/paywall/{paywall_id}")
        assert handler.__name__ == operation.id
        assert (inspect.getdoc(handler) or "").partition("\n")[0] == f"{operation.method} {path}."


def test_an_operation_has_one_handler() -> None:
    operation: OperationRegistry[Any] = OperationRegistry()

    @operation("get_a", "put_a")
    def handle(context: Any) -> Any:
        return context

    assert operation == {"get_a": handle, "put_a": handle}
    with pytest.raises(ValueError, match="'put_a' has two handlers"):
        operation("put_a")(handle)
    assert handle(1) == 1


def _public_callables() -> dict[str, Any]:
    """What users of the package call: its exports, the methods of `Sandbox`, the command line."""
    exported = {name: getattr(montra_sandbox, name) for name in montra_sandbox.__all__}
    methods = {
        f"Sandbox.{name}": getattr(montra_sandbox.Sandbox, name)
        for name in dir(montra_sandbox.Sandbox)
        if not name.startswith("_")
    }
    callables = {**exported, **methods, "main": main}
    return {name: value for name, value in callables.items() if callable(value) and value is not montra_sandbox.Unset}


@pytest.mark.parametrize("name", _public_callables())
def test_every_parameter_is_documented(name: str) -> None:
    function = _public_callables()[name]
    documentation = inspect.getdoc(function) or ""
    assert documentation.partition("\n")[0].endswith((".", ":"))
    if attrs.has(function):  # the SDK's users read it, and do not make it
        assert all(f"\n    {field.name}: " in documentation for field in attrs.fields(function))
        return
    arguments = documentation.partition("Args:")[2]
    for parameter in inspect.signature(function).parameters:
        if parameter != "self":
            assert f"\n    {parameter}: " in arguments, parameter
    made_of = function.__init__ if isinstance(function, type) else function
    assert get_type_hints(made_of)


@given(anchor=datetimes, value=datetimes)
def test_a_month_contains_its_datetime_and_ends_where_the_next_begins(anchor: datetime, value: datetime) -> None:
    start, end = month_containing(anchor, value)
    assert start <= value < end
    assert month_containing(anchor, end)[0] == end
    assert timedelta(days=28) <= end - start <= timedelta(days=31)
    assert start.day == min(anchor.day, (add_months(start.replace(day=1), 1) - timedelta(days=1)).day)


def test_the_31st_is_kept_after_a_short_month() -> None:
    anchor = datetime(2026, 1, 31, tzinfo=UTC)
    assert [add_months(anchor, n).date() for n in (1, 2, 3)] == [
        date(2026, 2, 28),
        date(2026, 3, 31),
        date(2026, 4, 30),
    ]


@given(old=prices, new=prices, start=datetimes, days=st.integers(1, 31), part=st.floats(-1, 2))
def test_proration(old: Decimal, new: Decimal, start: datetime, days: int, part: float) -> None:
    end = start + timedelta(days=days)
    proration = prorate(old, new, start, end, start + timedelta(days=days * part))
    assert 0 <= proration.remaining_ratio <= 1
    assert 0 <= proration.unused_amount <= old
    assert proration.net_amount == proration.remaining_amount - proration.unused_amount
    if part <= 0:
        assert (proration.unused_amount, proration.remaining_amount) == (old, new)
    if part >= 1:
        assert proration.net_amount == 0


def test_proration_half_way() -> None:
    start = datetime(2026, 4, 1, tzinfo=UTC)
    half = prorate(Decimal(10), Decimal("99.99"), start, start + timedelta(30), start + timedelta(15))
    assert (half.unused_amount, half.remaining_amount, half.net_amount) == (Decimal(5), Decimal("50.00"), Decimal(45))
    assert half.remaining_ratio == Decimal("0.5")
    assert prorate(Decimal(1), Decimal(2), start, start, start).remaining_ratio == 0


@given(events=st.lists(st.tuples(st.decimals(0, 10**6, places=3), st.text(max_size=3))))
def test_aggregations(events: list[tuple[Decimal, str]]) -> None:
    amounts = [amount for amount, _ in events]
    assert aggregate("sum", events) == sum(amounts)
    assert aggregate("max", events) == (max(amounts) if amounts else 0)
    assert aggregate("count", events) == len(events)
    assert aggregate("unique", events) == len(dict(tuple(reversed(event)) for event in events))


def test_unique_values_of_reports() -> None:
    assert unique_value(Decimal(1), {"unique_key": "a", "x": 1}) == unique_value(Decimal(2), {"unique_key": "a"})
    assert unique_value(Decimal(1), {"a": 1, "b": 2}) == unique_value(Decimal(2), {"b": 2, "a": 1})
    assert unique_value(Decimal("1.0"), None) == unique_value(Decimal(1), {})
    assert unique_value(Decimal(1), None) != unique_value(Decimal(2), None)


@given(units=st.decimals(0, 10**5, places=2), edge=st.integers(1, 10**5))
def test_tiers_price_the_units_that_fall_into_them(units: Decimal, edge: int) -> None:
    tiers = [{"up_to": str(edge), "unit_amount": "2"}, {"up_to": None, "unit_amount": "1"}]
    assert tiered_charge(units, tiers) == 2 * min(units, edge) + max(Decimal(0), units - edge)


@pytest.mark.parametrize(
    ("percent", "off", "left"),
    [("10", None, "269.10"), (None, "50", "249.00"), (None, "500", "0"), (None, None, "299")],
)
def test_discounts_never_go_below_zero(percent: str | None, off: str | None, left: str) -> None:
    amounts = [None if one is None else Decimal(one) for one in (percent, off)]
    assert apply_discount(Decimal(299), *amounts) == Decimal(left)


@given(interval=st.sampled_from(["daily", "weekly", "monthly"]), points=st.integers(1, 60), end=datetimes)
def test_buckets_are_adjacent_and_the_last_contains_the_end(interval: str, points: int, end: datetime) -> None:
    edges = bucket_edges(interval, points, end)
    assert len(edges) == points + 1
    assert edges == sorted(edges)
    assert edges[-2] <= end < edges[-1]
    assert len({bucket_key(interval, edge) for edge in edges}) == points + 1


def test_buckets_before_the_calendar_are_empty() -> None:
    for interval in ("daily", "weekly", "monthly"):
        assert len(bucket_edges(interval, 1000, datetime(1, 1, 1, 5, tzinfo=UTC))) == 1001


def test_bucket_keys() -> None:
    wednesday = datetime(2026, 11, 18, 13, tzinfo=UTC)
    assert bucket_key("weekly", bucket_edges("weekly", 1, wednesday)[0]) == "2026-11-16"
    assert bucket_key("monthly", bucket_edges("monthly", 1, wednesday)[0]) == "2026-11"


@given(st.datetimes(timezones=st.just(UTC)))
def test_stored_datetimes_sort_chronologically(value: datetime) -> None:
    text = format_datetime(value)
    assert len(text) == 27
    assert parse_datetime(text) == value


@pytest.mark.parametrize("text", ["", "x", "0001-01-01T00:00:00+12:00", "2026-02-30", "9999-12-31T23:59:59-12:00"])
def test_invalid_datetimes_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_datetime(text)


def test_datetimes_with_long_fractions() -> None:
    assert parse_datetime("2026-01-01T00:00:00.1234567+01:00") == datetime(2025, 12, 31, 23, 0, 0, 123456, tzinfo=UTC)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_round_trips(value: Any) -> None:
    assert sandbox_json.loads(sandbox_json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b'"\\ud800"', b"\xff", b"[" * 100_000])
def test_invalid_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        sandbox_json.loads(text)


def test_retry_delays_double_up_to_an_hour() -> None:
    assert [retry_delay(n).total_seconds() for n in (1, 2, 3, 12, 13, 99)] == [1, 2, 4, 2048, 3600, 3600]


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1/x", True),
        ("http://localhost", True),
        ("http://[::1]/", True),
        ("http://example.com", False),
        ("http://10.0.0.1", False),
        ("http://localhost.example.com", False),
        ("http://x:y:z", False),
    ],
)
def test_local_urls(url: str, here: bool) -> None:
    assert is_local_url(url) is here


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": None},
        {"kind": "gremlins"},
        {"kind": "latency", "seconds": "x"},
        {"kind": "latency", "seconds": 1e9},
        {"kind": "status", "status": 99},
        {"kind": "status", "status": True},
        {"kind": "latency", "times": 0},
        {"kind": "latency", "share": 2},
        {"kind": "latency", "path": 5},
        {"kind": "latency", "method": "GTE"},
        {"kind": "latency", "method": ""},
        {"kind": "latency", "path": ""},
        {"kind": "latency", "path": " "},
        {"kind": "latency", "path": "customers"},
        {"kind": "latency", "path": "api/v1/customers"},
        {"kind": "latency", "path": "http://127.0.0.1:4242/api/v1/customers"},
        {"kind": "latency", "path": "/customers?limit=5"},
        {"kind": "status", "retry_after": []},
        {"kind": "malformed", "body": "odd"},
    ],
)
def test_invalid_faults_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        make_fault(**fields)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/customers", "/customers"),
        ("/api/v1/customers", "/customers"),
        ("/api/v1/paywall/pw_1", "/paywall/pw_1"),
        ("/v1/paywall/pw_1", "/paywall/pw_1"),
        ("/api/paywall/cancel-subscription", "/paywall/cancel-subscription"),
        ("/api-gateway", "/api-gateway"),
        ("/api/v1/api-gateway/openai", "/api-gateway/openai"),
        ("/customers/api/v1", "/customers/api/v1"),
        ("/v1x", "/v1x"),
        ("/api/v1/", "/"),
        ("/api/v1", "/"),
        ("/api", "/"),
    ],
)
def test_the_path_of_a_fault_is_the_one_below_the_prefix(given: str, path: str) -> None:
    assert make_fault(kind="latency", path=given).path == path


def test_faults_affect_matching_requests_only() -> None:
    faults = Faults(seed=1)
    faults.add(make_fault(kind="status", times=2, method="post", path="/usage"))
    requests = [("GET", "/usage"), ("POST", "/x"), *[("POST", "/usage")] * 3]
    affected = [faults.next_fault(*request) is not None for request in requests]
    assert affected == [False, False, True, True, False]
    assert faults.active() == []
    faults.add(Fault(kind="latency", share=0.25))
    share = sum(faults.next_fault("GET", "/") is not None for _ in range(4000)) / 4000
    assert 0.2 < share < 0.3
    faults.clear()
    assert faults.next_fault("GET", "/") is None


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {}, "give exactly one of a or b"),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1}, "give exactly one of a or b"),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {}, "give at least one of a or b"),
        ({"format": "date-time"}, "x", "must be an ISO 8601 datetime with a time zone"),
        ({"format": "date"}, "x", "must be a date"),
        ({"anyOf": [{"format": "date"}, {"format": "date-time"}]}, "x", "must be an ISO 8601 date or datetime"),
        ({"minLength": 1}, "", "must not be empty"),
        ({"enum": ["a", "b"]}, "c", "must be one of a, b"),
        ({"pattern": "^a$"}, "c", "does not match ^a$"),
        ({"pattern": "@"}, "c", "must be an email address"),
        ({"pattern": "^http"}, "c", "must be a URL such as https://example.com/webhooks"),
        ({"maxItems": 1}, ["x" * 500, 2], "... (maxItems 1)"),
        ({"type": "integer"}, Decimal("1.5"), "is not of type 'integer'"),
    ],
)
def test_validation_messages(schema: dict[str, Any], value: Any, words: str) -> None:
    [problem] = describe(make_validator(schema), value)
    assert words in problem["message"]


def test_at_most_twenty_validation_errors_with_their_paths() -> None:
    check = make_validator({"properties": {"a": {"items": {"type": "string"}}}})
    problems = describe(check, {"a": list(range(100))})
    assert len(problems) == 20
    assert problems[3]["path"] == "a[3]"
    assert describe(make_validator({"type": "integer"}), Decimal("1.0")) == []


@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=2))
def test_plain_numbers_are_exact(value: Decimal) -> None:
    plain = sandbox_json.plain_numbers({"a": [value]})["a"][0]
    assert Decimal(str(plain)) == value
    assert isinstance(plain, (int, float, str))
