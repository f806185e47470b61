"""A provider behind the gateway that floods or tricks its reader; arguments that would write headers of their own."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async.paywall import ApiGatewayClient, BillingClient, GatewayResponse, PaywallError, QuotaExceededError
from montra_async.paywall.responses import without_tokens
from montra_async.paywall.sse import EventReader, LineReader

from ..scripted import Scripted, Step, scripted_server
from ..steps import steps_of

MIB = 1024 * 1024


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted_server() as running:
        yield running


def answer(*pieces: bytes, times: int = 1, kind: str = "text/event-stream", status: str = "200 OK") -> list[Step]:
    head = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nContent-Type: {kind}\r\n\r\n".encode()
    framed = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return [head, *framed[:-1], *framed[-1:] * times, b"0\r\n\r\n"]


@asynccontextmanager
async def streamed(server: Scripted) -> AsyncIterator[GatewayResponse]:
    """The answer of a provider."""
    async with ApiGatewayClient("pw", server.url, user_id="u") as gateway, await gateway.call("openai") as stream:
        yield stream


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (b"data: " + b"x" * 60_000 + b"\n", "an event of more than 131072 characters"),
        (b"data:\n" * 10_000, "an event of more than"),
        (b"x" * 60_000, "a line of more than 131072 characters"),
    ],
    ids=["long event", "empty lines of data", "long line"],
)
async def test_an_event_without_an_end_is_refused(server: Scripted, piece: bytes, words: str) -> None:
    server.says(answer(piece, times=500))
    async with streamed(server) as stream:
        tracemalloc.start()
        try:
            with pytest.raises(PaywallError, match=words) as caught:
                async for _ in stream.iter_sse(max_event_size=MIB // 8):
                    raise AssertionError("it is no event")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert caught.value.code == "invalid_response"
    assert peak < 5 * MIB


async def test_many_events_are_no_problem(server: Scripted) -> None:
    server.says(answer(b"data: " + b"x" * 1000 + b"\n\n", times=3000))
    async with streamed(server) as stream:
        assert sum([1 async for _ in stream.iter_sse(max_event_size=2000)]) == 3000


async def test_a_whole_body_has_a_limit(server: Scripted) -> None:
    server.says(answer(b"x" * MIB, times=50))
    async with ApiGatewayClient("pw", server.url, user_id="u", max_response_size=2 * MIB) as gateway:
        for read in ("read", "text", "json"):
            async with await gateway.call("openai", body={}) as stream:
                with pytest.raises(PaywallError, match=r"max_response_size, 2097152 bytes; raise it") as caught:
                    await getattr(stream, read)()
            assert caught.value.code == "invalid_response"


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "zlib", "hex", "utf-7", "rot13", "unicode_escape", "'", "x" * 9999]
)
async def test_a_provider_chooses_among_ordinary_encodings(server: Scripted, charset: str) -> None:
    server.says(answer("zä".encode(), kind=f"text/plain; charset={charset}"[:8000]))
    async with streamed(server) as stream:
        assert await stream.text() == "zä"
    server.says(answer("zä".encode("latin-1"), kind='text/plain; charset="ISO-8859-1"'))
    async with streamed(server) as stream:
        assert await stream.text() == "zä"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0", "\ud800"])
async def test_no_argument_writes_a_header_of_its_own(server: Scripted, value: str) -> None:
    async with ApiGatewayClient("pw", server.url, user_id="u") as gateway:
        for arguments in (
            {"headers": {"X-Mine": value}},
            {"headers": {"Content-Type": value}},
            {"headers": {value: "x"}},
            {"headers": {"Host: evil.com": "x"}},
            {"path": value},
        ):
            with pytest.raises(PaywallError) as caught:
                await gateway.call("openai", body={}, **arguments)  # type: ignore[arg-type]
            assert caught.value.code == "invalid_argument"
        with pytest.raises(PaywallError, match="user_id"):
            gateway.for_user(user_id=value)
    for make in (
        lambda: ApiGatewayClient("pw", server.url, user_id=value),
        lambda: BillingClient("pw", server.url, "sk_key", capabilities=[value]),
        lambda: BillingClient("pw", server.url, "sk_key", headers={"X-Mine": value}),
    ):
        with pytest.raises(PaywallError) as refused:
            make()
        assert refused.value.code in ("invalid_argument", "invalid_config")
    assert server.connections == 0


@pytest.mark.parametrize(
    ("details", "balances", "left"),
    [
        ({"balances": [{"balances": [{"type": "q", "count": 0}]}], "currentBalance": {"type": "q", "count": 3}}, 1, 3),
        ({"balances": [[{"type": "q", "count": 0}]], "currentBalance": 7}, 1, 7),
        ({"balances": [{"type": "q", "count": 0}, 5, None, {"type": 5}], "currentBalance": None}, 1, None),
        ({"balances": "x", "currentBalance": {"count": "x"}}, 0, None),
        ({"balances": [[[[[[]]]]]], "currentBalance": [True]}, 0, None),
        ([], 0, None),
    ],
)
async def test_what_is_left_of_a_quota(server: Scripted, details: Any, balances: int, left: int | None) -> None:
    server.says(answer(json.dumps({"error": "not-enough-queries", "details": details}).encode(), status="402 Pay"))
    async with ApiGatewayClient("pw", server.url, user_id="u") as gateway:
        with pytest.raises(QuotaExceededError) as caught:
            await gateway.call("openai", body={})
    assert (len(caught.value.balances), caught.value.current_balance) == (balances, left)


async def test_details_that_are_nested_deeply(server: Scripted) -> None:
    for depth in (400, 900, 20_000):
        body = b'{"error":"e","details":{"balances":' + b"[" * depth + b"]" * depth + b"}}"
        server.says(answer(body, status="402 Pay"))
        async with ApiGatewayClient("pw", server.url, user_id="u") as gateway:
            with pytest.raises(QuotaExceededError) as caught:
                await gateway.call("openai", body={})
        assert caught.value.balances == []


def test_a_quota_error_made_by_hand_is_whole() -> None:
    error = QuotaExceededError("a", "b")
    assert (error.balances, error.query_type, error.current_balance) == ([], None, None)


@given(st.lists(st.binary(max_size=20), max_size=20), st.sampled_from(["utf-8", "utf-16le", "latin-1", "shift_jis"]))
def test_any_bytes_are_lines_and_events(chunks: list[bytes], encoding: str) -> None:
    lines, events = LineReader(encoding), EventReader()
    found = [line for chunk in chunks for line in lines.feed(chunk)] + lines.feed(b"", end=True)
    for line in found:
        event = events.feed(line)
        if event is not None:
            assert event.retry is None or event.retry < 10**9
            with contextlib.suppress(ValueError):
                event.json()


@pytest.mark.parametrize(
    "piece", [b"data: x\n\n", b"\r", b"\n", b":\n", b"retry: 1\n", b"x", b"data\n", b"id: " + b"9" * 50 + b"\n"]
)
def test_reading_events_takes_steps_in_proportion(piece: bytes) -> None:
    def read(times: int) -> int:
        lines, events = LineReader(), EventReader()

        def work() -> None:
            for _ in range(times):
                for line in lines.feed(piece):
                    events.feed(line)

        return steps_of(work)

    assert read(800) <= 4 * read(200) + 50


def test_no_field_that_is_named_like_a_secret_is_shown() -> None:
    shown = without_tokens(
        {"access_token": "a", "x": [{"refreshToken": "b", "id_token": None, "user": {"apiKey": "c"}}]}
    )
    assert shown == {"access_token": "***", "x": [{"refreshToken": "***", "id_token": None, "user": {"apiKey": "***"}}]}
