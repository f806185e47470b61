"""Limits of numbers and depth: no value takes more time or memory than in proportion to its length."""

from __future__ import annotations

import contextlib
import decimal
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings, strategies as st

from montra_async import ApiError, InvalidArgumentError, InvalidResponseError, Montra, ServerError
from montra_async.core import validation
from montra_async.core.http.retry import parse_retry_after
from montra_async.core.limits import MAX_DEPTH, MAX_DIGITS, is_too_deep
from montra_async.core.models import json as jsontext
from montra_async.core.models.datetimes import datetime_from_number, parse_datetime
from montra_async.core.validation import exact_float
from montra_async.webhooks import WebhookPayloadError, parse
from montra_async.webhooks.signature import sign

from ..steps import steps_of

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
EDGE = timezone(timedelta(hours=10))
HOSTILE = [
    b"1e1000000",
    b"1e10000000",
    b"-1e10000000",
    b"1e-10000000",
    b"1e1000000000000000000",
    b"1e-1000000000000000000",
    b"0e1000000",
    b"1" * 401,
    b"-" + b"9" * 4301,
    b"7" * 1_000_000,
    b"1." + b"0" * 401,
    b"0." + b"3" * 1_000_000,
    b"[" * 101 + b"]" * 101,
    b"[" * 100_000,
    b'{"a":' * 500 + b"1" + b"}" * 500,
]
names = [one[:24].decode() for one in HOSTILE]


# What comes


@pytest.mark.parametrize("text", HOSTILE, ids=names)
def test_json_beyond_the_limits_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(b'{"usage":%b}' % text)


@given(before=st.text("ab1 ", max_size=90), digits=st.integers(380, 420), after=st.text("ab1 ", max_size=90))
def test_the_limit_of_digits_is_exact_at_every_position(before: str, digits: int, after: str) -> None:
    body = json.dumps([before, 0, after]).replace("0", "8" * digits, 1).encode()
    if digits > MAX_DIGITS:
        with pytest.raises(ValueError, match="digits"):
            jsontext.loads(body)
    else:
        assert jsontext.loads(body) == [before, int("8" * digits), after]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_can_be_read(value: float) -> None:
    assert float(jsontext.loads(repr(value).encode())) == value
    assert float(jsontext.loads(format(Decimal(repr(value)), "f").encode())) == value


@given(
    st.binary(max_size=40)
    | st.text('[]{}",:0123456789eE+-. \\ud8', max_size=40).map(str.encode)
    | st.text(max_size=20).map(lambda text: text.encode("utf-16"))
    | st.text(max_size=20).map(lambda text: json.dumps(text).encode("utf-8-sig"))
)
def test_any_bytes_give_a_value_or_a_value_error(body: bytes) -> None:
    try:
        value = jsontext.loads(body)
    except ValueError:
        return
    assert jsontext.loads(jsontext.dump_kept(value).encode()) == value


def test_the_last_of_two_equal_names_is_used() -> None:
    assert jsontext.loads(b'{"a":1,"a":2}') == {"a": 2}


@given(st.integers(1, MAX_DEPTH + 50), st.lists(st.booleans(), min_size=1), st.integers(0, 3))
def test_depth_is_counted_in_levels(levels: int, kinds: list[bool], siblings: int) -> None:
    text = "1"
    for i in range(levels):
        beside = "".join("[[]]," for _ in range(siblings)) if i > 2 else ""
        text = f'{{"a":{text}}}' if kinds[i % len(kinds)] else f"[{beside}{text}]"
    assert is_too_deep(json.loads(text)) is (levels > MAX_DEPTH)


@asynccontextmanager
async def _answering(body: bytes, status: int = 200) -> AsyncIterator[Montra]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with Montra("sk_test_1", f"http://127.0.0.1:{runner.addresses[0][1]}", max_attempts=1) as montra:
            yield montra
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("number", HOSTILE, ids=names)
async def test_a_response_with_a_hostile_number_is_refused(number: bytes) -> None:
    async with _answering(b'{"success":true,"data":{"has_access":true,"usage":%b}}' % number) as montra:
        with pytest.raises(InvalidResponseError):
            await montra.check_entitlement("c", "m")


@pytest.mark.parametrize("number", HOSTILE, ids=names)
async def test_an_error_response_with_a_hostile_number_keeps_its_class(number: bytes) -> None:
    async with _answering(b'{"success":false,"error":{"code":"x","details":%b}}' % number, 500) as montra:
        with pytest.raises(ServerError) as caught:
            await montra.check_entitlement("c", "m")
    assert (caught.value.status, caught.value.details) == (500, None)


async def test_a_response_that_is_nested_too_deeply_is_refused() -> None:
    deep = b"[" * 300 + b"]" * 300
    async with _answering(b'{"success":true,"data":[{"id":"c","email":"e","x":%b}]}' % deep) as montra:
        with pytest.raises(InvalidResponseError, match="nested"):
            await montra.list_customers()


async def test_the_message_for_a_list_of_empty_objects_is_short() -> None:
    async with _answering(b'{"success":true,"data":[' + b",".join([b"{}"] * 195_000) + b"]}") as montra:
        with pytest.raises(ApiError) as caught:
            await montra.list_customers()
    assert str(caught.value).count("required field missing") == 3


@pytest.mark.parametrize("number", HOSTILE, ids=names)
def test_a_signed_webhook_with_a_hostile_number_is_refused(number: bytes) -> None:
    body = b'{"id":"e","type":"usage.limit_reached","created_at":"%b","data":{"customer_id":"c","usage":%b}}'
    raw = body % (datetime.now(timezone.utc).isoformat().encode(), number)
    with pytest.raises(WebhookPayloadError):
        parse(raw, sign(raw, "whsec_0123456789abcdef"), "whsec_0123456789abcdef")


# What is given


class Status(str, Enum):
    ACTIVE = "active"


class NumpyLike(float):
    """As numpy 2 does."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"


class Rude(int):
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


WRONG_NUMBERS: list[Any] = [
    10**400,
    -(10**400),
    10**5000,
    10**64,
    Decimal("sNaN"),
    Decimal("NaN"),
    Decimal("-Infinity"),
    Decimal("1e999999"),
    Decimal("1e-999999"),
    float("inf"),
    float("nan"),
    1e300,
    True,
    "1",
    None,
    Rude(-1),
    Decimal("-0." + "3" * 1000),
]


@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=[str(i) for i in range(len(WRONG_NUMBERS))])
@pytest.mark.parametrize("check", [validation.number, validation.whole])
def test_an_invalid_number_is_an_error_that_names_the_parameter(check: Callable[..., Any], value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check("amount", value)
    assert caught.value.parameter == "amount"
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("parameter", "call"),
    [
        ("limit", lambda m: m.list_audit_logs(limit=10**400)),
        ("offset", lambda m: m.list_audit_logs(offset=10**5000)),
        ("page_size", lambda m: anext(m.iter_audit_logs(page_size=10**5000))),
        ("points", lambda m: m.get_analytics_series(interval="daily", points=10**5000)),
        ("amount", lambda m: m.report_usage(customer_id="c", meter_slug="s", amount=10**400)),
        ("amount", lambda m: m.create_refund(transaction_id="t", amount=Decimal("sNaN"))),
        ("amount", lambda m: m.create_refund(transaction_id="t", amount=Decimal("0." + "3" * 401))),
        ("percent_off", lambda m: m.create_discount(name="n", code="c", duration="once", percent_off=10**5000)),
        (
            "line_items[0].quantity",
            lambda m: m.create_checkout_link(
                link_name="l", payment_name="p", line_items=[{"product_id": "p", "quantity": 10**5000}]
            ),
        ),
        ("metadata.a", lambda m: m.report_usage(customer_id="c", meter_slug="s", metadata={"a": 10**400})),
        ("metadata.a[0]", lambda m: m.report_usage(customer_id="c", meter_slug="s", metadata={"a": [10**5000]})),
        ("metadata.a", lambda m: m.report_usage(customer_id="c", meter_slug="s", metadata={"a": Decimal("sNaN")})),
        ("metadata.a", lambda m: m.report_usage(customer_id="c", meter_slug="s", metadata={"a": Decimal("1e401")})),
        ("metadata.a", lambda m: m.report_usage(customer_id="c", meter_slug="s", metadata={"a": {"\ud800": 1}})),
        (
            "metadata.a",
            lambda m: m.report_usage(
                customer_id="c", meter_slug="s", metadata={"a": datetime.min.replace(tzinfo=EDGE)}
            ),
        ),
        ("end", lambda m: m.get_analytics_series(interval="daily", points=1, end=datetime.min.replace(tzinfo=EDGE))),
        ("amount", lambda m: m.create_product(pricing_model_id="p", name="n", price_type="recurring")),
    ],
)
async def test_an_invalid_argument_is_named(parameter: str, call: Callable[[Any], Awaitable[Any]]) -> None:
    async with Montra("sk_test_1") as montra:
        with pytest.raises(InvalidArgumentError) as caught:
            await call(montra)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 400, 5000, 100_000])
def test_arguments_that_are_nested_too_deeply_are_refused(levels: int) -> None:
    value: Any = 1
    for i in range(levels):
        value = (value,) if i % 2 else {"a": value}
    with pytest.raises(InvalidArgumentError, match="nested"):
        jsontext.dumps(value)


def test_the_maximum_depth_is_accepted() -> None:
    value: Any = "x"
    for _ in range(MAX_DEPTH):
        value = [value, "[[[[{{{{"]
    assert jsontext.loads(jsontext.dumps(value)) == value


@given(value=st.decimals() | st.integers() | st.floats() | st.integers(390, 410).map(lambda n: 10**n))
@settings(max_examples=300)
def test_any_number_is_sent_with_all_digits_or_refused(value: Any) -> None:
    try:
        written = jsontext.dumps(value)
    except InvalidArgumentError:
        return
    assert Decimal(str(jsontext.loads(written))) == Decimal(str(value))


def test_the_decimal_context_of_the_thread_is_not_used() -> None:
    with decimal.localcontext() as context:
        context.prec = 3
        context.traps[decimal.Inexact] = context.traps[decimal.Rounded] = True
        context.traps[decimal.FloatOperation] = True
        assert exact_float(0.1 + 0.2) == Decimal("0.3")
        assert validation.number("amount", 1234.5678) == Decimal("1234.5678")
        assert jsontext.loads(b"[1.23456789]") == [Decimal("1.23456789")]
        assert jsontext.dumps([Decimal("1.23456789")]) == b"[1.23456789]"


def test_subclasses_of_numbers_and_strings_are_sent_by_value() -> None:
    assert validation.number("amount", NumpyLike(0.25)) == Decimal("0.25")
    assert validation.query(status=Status.ACTIVE) == "?status=active"
    assert validation.segment("id", Status.ACTIVE) == "active"
    assert validation.whole("limit", Rude(3)) == 3
    assert jsontext.dumps([Status.ACTIVE, Rude(3), NumpyLike(0.5)]) == b'["active",3,0.5]'


async def test_a_description_may_be_empty_and_line_items_too_with_an_amount() -> None:
    async with _answering(b'{"success":true,"data":{"id":"l","url":"u"}}') as montra:
        link = await montra.create_checkout_link(
            link_name="l", payment_name="p", amount=5, description="", line_items=[]
        )
        assert link.url == "u"
    assert validation.optional_description("description", None) is None
    with pytest.raises(InvalidArgumentError):
        validation.optional_description("description", "  ")


# Every parser of outside text takes steps in proportion to its length


def _steps(parse: Callable[[], object]) -> int:
    """Lines of Python and calls into C that it takes."""

    def work() -> None:
        with contextlib.suppress(ValueError):
            parse()

    return steps_of(work, calls_into_c=True)


PARSERS: dict[str, Callable[[str], object]] = {
    "json": lambda text: jsontext.loads(text.encode("utf-8", "surrogatepass")),
    "datetime": parse_datetime,
    "retry-after": lambda text: parse_retry_after(text, NOW),
}
SEEDS = [" ", "1", "[", '{"a":', "[1],", '"\\', "1.", "2025-12-23T11:00:00.", "Thu, 01 Jan 2026 ", "\u00a0", "-", "1:"]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("seed", [*SEEDS, "[1e5,", "[[],"])
def test_parsing_takes_linear_time(parser: str, seed: str) -> None:
    read = PARSERS[parser]
    few, more = (_steps(lambda n=n: read(seed * n)) for n in (1000, 2000))  # type: ignore[misc]
    assert more <= 2 * few + 50


@given(st.lists(st.sampled_from([*SEEDS, "Z", "+02:00", "GMT", "-9999", "9" * 30, "T", ":", ",", "Feb", "\ud800"])))
def test_any_string_is_a_datetime_or_a_value_error(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        parsed = parse_datetime(text)
    except ValueError:
        pass
    else:
        assert parsed.utcoffset() == timedelta(0)
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or seconds >= 0


DATES = st.tuples(
    st.sampled_from(["Thu, ", "", ","]),
    st.integers(-1, 99),
    st.sampled_from([" Jan ", " Feb ", "-Dec-", " x "]),
    st.sampled_from(["1", "0001", "2026", "9999", "99999999999", "²"]),
    st.sampled_from([" 12:00:00", " 23:59:60", " 1", " 12.00", "", ":"]),
    st.sampled_from([" GMT", " +0000", " -2359", " +99999999999999999", " EST", ""]),
).map(lambda parts: "".join(map(str, parts)))


@given(DATES)
@settings(max_examples=300)
def test_any_retry_after_is_seconds_or_none(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or seconds >= 0


@given(st.integers() | st.decimals() | st.sampled_from([10**400, 10**5000, Decimal("1e1000000")]))
def test_any_number_is_a_datetime_or_a_value_error(number: Any) -> None:
    with suppress(ValueError):
        assert datetime_from_number(number).utcoffset() == timedelta(0)


@given(st.datetimes(timezones=st.sampled_from([timezone.utc, EDGE, timezone(-timedelta(hours=23))])) | st.dates())
def test_any_date_is_sent_or_refused(value: date) -> None:
    try:
        sent = validation.optional_date("end", value)
    except InvalidArgumentError:
        return
    assert sent is not None
    assert parse_datetime(sent) is not None
