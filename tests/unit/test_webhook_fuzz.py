"""Nothing but our own errors, whatever a body, its headers or its fields hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from montra_async.webhooks import (
    MONTRA,
    PAYWALL,
    MemoryStore,
    WebhookError,
    WebhookEvent,
    WebhookPayloadError,
    WebhookReceiver,
    WebhookSignatureError,
    parse,
    parse_paywall,
)
from montra_async.webhooks.events import EVENTS
from montra_async.webhooks.paywall_events import PAYWALL_EVENTS
from montra_async.webhooks.signature import sign, verify_signature

SECRET = "whsec_of_the_tests"
WEEK = timedelta(days=7)

ODD: list[Any] = [
    *(10**400, -(10**18), 2**63, 1e308, -0.0),
    *("", " ", "\0", "\ud800", "x" * 5000, "1e999999999", "NaN"),
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(ODD)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
FIELDS = (
    *("id", "customer_id", "status", "amount", "currency", "amount_due", "email", "name", "metadata", "created_at"),
    *("trial_ends_at", "line_items", "usage", "limit", "price", "user", "unit_amount", "payment", "subscription"),
    *("current_period_start", "refund", "customer", "quantity", "discount"),
)
DATA = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6) | JSON
YEAR_ONE = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00.5+00:01"]
MOMENTS: list[Any] = [
    *YEAR_ONE,
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0000-00-00T00:00:00Z", "2026-01-01T00:00:00+23:59"),
    *("2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+99:99", "0001-01-01T00:00:00+00:00:01"),
    *("2026-02-30", "2026-W01-1", "20260101T000000Z", "soon", "", " ", "\ud800", "\u0662\u0660\u0662\u0666-01-01"),
    *("2026-01-01T00:00:00." + "9" * 5000, 0, -1, 5, 10**17, 10**400, -(10**30), 1e17, 1e308, -1e308, 1.5),
    *(True, [], {}),
]
BODIES = st.fixed_dictionaries(
    {"id": st.just("evt_1") | JSON, "type": st.sampled_from([*EVENTS, *PAYWALL_EVENTS, "new.type"]) | JSON},
    optional={"created_at": st.sampled_from(MOMENTS) | JSON, "data": DATA, "extra": JSON},
)
DEEP = b'{"a":' * 900 + b"1" + b"}" * 900
RAW = st.sampled_from(
    [
        *(b"[" * 200_000, b'{"id":"e","type":"x","data":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
        b'{"id":"e","type":"customer.created","data":{"id":"c","name":"n","email":"e","metadata":' + DEEP + b"}}",
        *(b"\xff\xfe{", b'{"id": "\\ud800", "type": "x"}', b"\xef\xbb\xbf{}", b"NaN", b"1" * 5_000),
        *(b'{"id":"e","type":"t"}\0', b'{"id":"e","type":"x","id":5}', b'{"id":"e\\n","type":"x\\u2028"}'),
        b'{"id":"e","type":"x","created_at":1' + b"0" * 4_000 + b"}",
        b'{"id":"e","type":"x","created_at":1e1000000000000000000}',
    ]
)


def signed(raw: bytes) -> dict[str, str]:
    return {"Montra-Signature": sign(raw, SECRET), "X-Signature": sign(raw, SECRET)}


@given(BODIES.map(lambda body: json.dumps(body).encode()) | RAW | st.binary(max_size=50), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_signed_bodies_of_every_kind(raw: bytes, aged: bool, required: bool) -> None:
    """An event, or our own error; and the receiver answers, whatever it is."""
    told: list[str] = []
    for read in (parse, parse_paywall):
        try:
            event = read(raw, signed(raw), SECRET, max_age=WEEK if aged else None, require_created_at=required)
        except WebhookError as error:
            told.append(str(error))
        else:
            assert isinstance(event, WebhookEvent)
            assert not aged or event.created_at is None or event.created_at.tzinfo is timezone.utc
    assert all(len(one) < 1_000 and one.isprintable() for one in told)
    for source in (MONTRA, PAYWALL):
        receiver = WebhookReceiver(SECRET, store=MemoryStore(), source=source, require_created_at=required)
        receiver.on("*")(lambda _: None)
        assert receiver.handle_blocking(raw, signed(raw)).status in (200, 400)


class Strange:
    def items(self) -> Any:
        return 5


class Unpaired:
    def items(self) -> Iterator[Any]:
        yield ("Montra-Signature", "0" * 64)
        yield 5


VALUES = (
    st.none()
    | st.integers()
    | st.text(max_size=80)
    | st.binary(max_size=80)
    | st.lists(st.text(max_size=5), max_size=7)
)
NAMES = ["Montra-Signature", "MONTRA-SIGNATURE", b"montra-signature", "X-Signature", "\ud800", "", 5, None, ()]
ODD_HEADERS: list[Any] = [Strange(), Unpaired(), dict, object(), [("a", "b")]]
HEADERS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6) | VALUES | st.sampled_from(ODD_HEADERS)
GARBAGE = (
    st.none() | st.integers() | st.text(max_size=20) | st.binary(max_size=20) | st.dictionaries(st.text(), st.text())
)


@given(GARBAGE, HEADERS)
@settings(max_examples=300, deadline=None)
def test_unsigned_deliveries_of_every_kind(body: Any, headers: Any) -> None:
    for read in (parse, parse_paywall):
        with pytest.raises(WebhookError):
            read(body, headers, SECRET)
    assert verify_signature(body, headers, SECRET) is False
    receiver = WebhookReceiver(SECRET, store=MemoryStore())
    assert receiver.handle_blocking(body, headers).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {b"montra-signature": 1},
        {"montra-signature": 2},
        {"MONTRA-SIGNATURE": [3]},
        {"Montra-Signature": (4, "x" * 64), 5: None},
        Unpaired(),
    ],
)
def test_headers_as_frameworks_give_them(headers: Any) -> None:
    raw = b'{"id":"e","type":"x"}'
    if isinstance(headers, Unpaired):
        with pytest.raises(WebhookError, match="wrong_signature"):
            parse(raw, headers, SECRET)  # type: ignore[arg-type]
        return
    genuine = sign(raw, SECRET)

    def fill(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [fill(one) for one in value]
        return {1: genuine.encode(), 2: genuine, 3: genuine, 4: f"sha256={genuine.upper()}"}.get(value, value)

    assert parse(raw, {name: fill(value) for name, value in headers.items()}, SECRET).id == "e"


@pytest.mark.parametrize("body", [memoryview(b"abcdef")[::2], memoryview(b"abc")])
def test_buffers_are_bodies_too(body: memoryview) -> None:
    assert verify_signature(body, sign(bytes(body), SECRET), SECRET)  # type: ignore[arg-type]
    signature = sign(body, SECRET)
    body.release()
    assert not verify_signature(body, signature, SECRET)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="raw_body"):
        sign(body, SECRET)


# When it happened


def at(when: Any, **more: Any) -> tuple[bytes, dict[str, str]]:
    raw = json.dumps({"id": "evt_1", "type": "x.y", "created_at": when, "data": None, **more}).encode()
    return raw, signed(raw)


def now_and(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


UNREADABLE = [*YEAR_ONE, "soon", "", "2026-02-30T00:00:00Z", True, [], {}, 1e300, 10**300, "9" * 5_000]


@pytest.mark.parametrize("when", UNREADABLE, ids=lambda when: f"{when!r:.30}")
async def test_a_time_that_can_not_be_read(when: Any) -> None:
    """Where ages count it is refused; elsewhere it is kept as it came."""
    raw, headers = at(when)
    with pytest.raises(WebhookPayloadError, match="can't be read"):
        parse(raw, headers, SECRET, max_age=WEEK)
    with pytest.raises(WebhookPayloadError, match="can't be read"):
        parse(raw, headers, SECRET, require_created_at=True)
    event = parse(raw, headers, SECRET)
    assert (event.created_at, "created_at" in event.extra) == (None, True)
    receiver = WebhookReceiver(SECRET, store=MemoryStore())
    receiver.on("*")(lambda _: pytest.fail("handled"))
    assert (await receiver.handle(raw, headers)).status == 400


@pytest.mark.parametrize(
    ("when", "skew", "taken"),
    [
        (-10, timedelta(minutes=5), True),
        (240, timedelta(minutes=5), True),
        (400, timedelta(minutes=5), False),
        (400, timedelta(minutes=10), True),
        (10, timedelta(0), False),
        (8_000_000, timedelta(minutes=5), False),
    ],
)
async def test_the_future_is_refused_but_for_a_small_skew(when: float, skew: timedelta, taken: bool) -> None:
    raw, headers = at(now_and(when))
    receiver = WebhookReceiver(SECRET, store=MemoryStore(), clock_skew=skew)
    receiver.on("*")(lambda _: None)
    assert (await receiver.handle(raw, headers)).status == (200 if taken else 400)
    if taken:
        assert parse(raw, headers, SECRET, max_age=WEEK, clock_skew=skew).created_at
    else:
        with pytest.raises(WebhookPayloadError, match="in the future"):
            parse(raw, headers, SECRET, max_age=WEEK, clock_skew=skew)
    assert parse(raw, headers, SECRET).created_at


@pytest.mark.parametrize("when", [-8_000_000, 8_000_000])
def test_a_sandbox_may_send_events_of_any_age(when: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock can be moved. Everything else is checked as ever."""
    raw, headers = at(now_and(when))
    with pytest.raises(WebhookPayloadError):
        parse(raw, headers, SECRET, max_age=WEEK)
    for said, live in (("0", ""), ("false", ""), ("no", ""), (" ", ""), ("1", "sk_live_x")):
        monkeypatch.setenv("MONTRA_SANDBOX", said)
        monkeypatch.setenv("MONTRA_API_KEY", live)
        with pytest.raises(WebhookPayloadError):
            parse(raw, headers, SECRET, max_age=WEEK)
    monkeypatch.setenv("MONTRA_SANDBOX", "1")
    monkeypatch.setenv("MONTRA_API_KEY", "sk_test_sandbox")
    assert parse(raw, headers, SECRET, max_age=WEEK).created_at
    with pytest.raises(WebhookSignatureError):
        parse(raw + b" ", headers, SECRET, max_age=WEEK)


def test_year_9999_is_the_future_and_year_1_is_long_ago() -> None:
    with pytest.raises(WebhookPayloadError, match="in the future"):
        parse(*at("9999-12-31T23:59:59.999999Z"), SECRET, max_age=timedelta.max, clock_skew=WEEK)
    with pytest.raises(WebhookPayloadError, match="old; `max_age` is"):
        parse(*at("0001-01-01T00:00:00Z"), SECRET, max_age=WEEK)


def test_seconds_since_1970_are_a_time_as_well() -> None:
    for scale in (1, 1000):
        raw, headers = at(round(datetime.now(timezone.utc).timestamp() * scale))
        assert parse(raw, headers, SECRET, max_age=WEEK).created_at
    with pytest.raises(WebhookPayloadError, match="old; `max_age` is"):
        parse(*at(5), SECRET, max_age=WEEK)


@pytest.mark.parametrize("body", [{"created_at": None}, {}])
def test_an_event_without_a_time(body: dict[str, Any]) -> None:
    raw = json.dumps({"id": "evt_1", "type": "x.y", **body}).encode()
    event = parse(raw, signed(raw), SECRET, max_age=WEEK)
    assert (event.created_at, event.extra) == (None, {})
    for read in (parse, parse_paywall):
        with pytest.raises(WebhookPayloadError, match="has no `created_at`"):
            read(raw, signed(raw), SECRET, require_created_at=True)


@pytest.mark.parametrize(
    "more",
    [
        *({"max_age": wrong} for wrong in (timedelta(0), 0, -5, float("nan"), float("inf"), "5", True)),
        *({"clock_skew": wrong} for wrong in (timedelta(-1), -1, float("nan"), "5", None)),
    ],
)
def test_ages_that_can_not_be_meant(more: Any) -> None:
    with pytest.raises(ValueError, match="timedelta"):
        parse(*at(now_and(0)), SECRET, **more)


@pytest.mark.hostile
@given(BODIES.map(lambda body: json.dumps(body).encode()) | RAW | st.binary(max_size=500))
@settings(max_examples=20_000, deadline=None)
def test_signed_bodies_at_length(raw: bytes) -> None:
    for source, read in ((MONTRA, parse), (PAYWALL, parse_paywall)):
        with contextlib.suppress(WebhookError):
            read(raw, signed(raw), SECRET, max_age=WEEK)
        receiver = WebhookReceiver(SECRET, store=MemoryStore(), source=source)
        receiver.on("*")(lambda _: None)
        assert asyncio.run(receiver.handle(raw, signed(raw))).status in (200, 400)
