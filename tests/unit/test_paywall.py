"""Event streams, languages, caches and shared calls of the paywall clients."""

from __future__ import annotations

import asyncio
import codecs
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async.core.redaction import Secret
from montra_async.paywall import AuthClient, Bootstrap, Offer, PaywallSettings, Price, ServerSentEvent
from montra_async.paywall.cache import MAX_ENTRIES, Cache
from montra_async.paywall.locales import candidates, localized, preferred
from montra_async.paywall.single_flight import Flight, SingleFlight
from montra_async.paywall.sse import MAX_EVENT_SIZE, EventReader, LineReader

# Lines and events

ENDS = st.sampled_from(["\n", "\r", "\r\n"])
LINES = st.lists(
    st.tuples(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=9), ENDS)
)


def _cut(content: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return [content[a:b] for a, b in pairwise(edges)]


@given(LINES, st.text("ab", max_size=3), st.lists(st.integers(0, 10_000), max_size=12))
def test_lines_do_not_depend_on_chunk_boundaries(lines: list[tuple[str, str]], rest: str, places: list[int]) -> None:
    text = "".join(line + end for line, end in lines) + rest
    reader = LineReader()
    found = [line for chunk in _cut(text.encode(), places) for line in reader.feed(chunk)]
    found += reader.feed(b"", end=True)
    whole = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert found == (whole if whole[-1] else whole[:-1])


def test_the_length_of_a_line_is_limited() -> None:
    reader = LineReader()
    with pytest.raises(ValueError, match="a line of more than"):
        for _ in range(MAX_EVENT_SIZE // 1_000_000 + 2):
            reader.feed(b"x" * 1_000_000)


FIELD = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=9)


@given(st.lists(st.tuples(st.lists(FIELD, min_size=1, max_size=3), st.none() | FIELD.filter(bool))))
def test_events_round_trip(events: list[tuple[list[str], str | None]]) -> None:
    reader = EventReader()
    found: list[ServerSentEvent] = []
    for data, kind in events:
        lines = [*([] if kind is None else [f"event: {kind}"]), *(f"data: {one}" for one in data), ""]
        found += [event for event in map(reader.feed, lines) if event is not None]
    assert [(event.data, event.event) for event in found] == [
        ("\n".join(data), kind or "message") for data, kind in events
    ]


def _events(text: str) -> list[ServerSentEvent]:
    lines, events = LineReader(), EventReader()
    found = [events.feed(line) for line in lines.feed(text.encode(), end=True)]
    return [event for event in found if event is not None]


def test_fields_of_event_streams() -> None:
    assert _events("\ufeffdata: first\n\n")[0].data == "first"
    assert _events(": a comment\n\ndata\n\n") == [ServerSentEvent(data="")]
    assert _events("data:no space\ndata:  two\n\n")[0].data == "no space\n two"
    assert _events("event: a\n\ndata: b\n\n") == [ServerSentEvent(data="b")]  # an event without data is none
    assert _events("data: half") == []
    assert _events("id: 7\nretry: 100\ndata: a\n\nretry: soon\ndata: b\n\nid: x\0\ndata: c\n\n") == [
        ServerSentEvent(data="a", id="7", retry=100),
        ServerSentEvent(data="b", id="7"),
        ServerSentEvent(data="c", id="7"),
    ]
    assert _events("unknown: x\ndata: a\n\n")[0].data == "a"


@given(st.binary(max_size=200))
def test_readers_accept_any_bytes(content: bytes) -> None:
    events = EventReader()
    for encoding in ("utf-8", "latin-1", "utf-16-le"):
        for line in LineReader(codecs.lookup(encoding).name).feed(content, end=True):
            events.feed(line)


# Languages


def test_languages_are_sorted_by_quality_value() -> None:
    assert preferred("de-AT") == ["de-AT"]
    assert preferred("fr;q=0.1, de , en;q=0.5, *;q=0.9, it;q=0, es;q=x") == ["de", "es", "en", "fr"]
    assert candidates("pt_BR", "en-US") == ["pt-br", "pt", "en-us", "en"]
    assert candidates(None, None) == []


@given(st.text(max_size=50))
def test_any_accept_language_header_is_accepted(header: str) -> None:
    assert all(tag.strip() for tag in preferred(header))


def _bootstrap(locales: Any, default: str | None = None) -> Bootstrap:
    return Bootstrap(
        settings=PaywallSettings(locale_default=default),
        prices=[
            Price(id="1", currency="USD", amount=1, label="one"),
            Price(id="2", currency="USD", amount=2, label="two"),
        ],  # type: ignore[arg-type]
        offers=[Offer(id="1", label="offer")],
        locales=locales,
    )


@pytest.mark.parametrize(
    ("locale", "default", "label"),
    [
        ("de-AT", None, "AT"),
        ("DE-at", None, "AT"),
        ("de-CH", None, "DE"),
        ("fr", "de", "DE"),
        ("fr", None, "one"),
        (None, "de", "DE"),
    ],
)
def test_exact_tag_then_its_base_then_the_default(locale: str | None, default: str | None, label: str) -> None:
    texts = {"de": {"prices": {"1": {"label": "DE"}}}, "de_AT": {"prices": {"1": {"label": "AT"}}}}
    assert [price.label for price in localized(_bootstrap(texts, default), locale).prices] == [label, "two"]


def test_overrides_change_label_and_description_only() -> None:
    texts = {
        "de": {"prices": {"1": {"description": "d", "amount": 0, "label": 5}}, "offers": {"1": {"label": "Angebot"}}}
    }
    found = localized(_bootstrap(texts), "de")
    assert (found.prices[0].label, found.prices[0].description, found.prices[0].amount) == ("one", "d", 1)
    assert found.offers[0].label == "Angebot"


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.dictionaries(st.sampled_from(["de", "prices", "offers", "1", "label"]), inner),
        max_leaves=20,
    )
)
def test_any_locales_are_accepted(texts: Any) -> None:
    localized(_bootstrap({"de": texts}), "de")


# Started OAuth sign-ins


def test_a_verifier_expires_after_ten_minutes() -> None:
    now = [0.0]
    verifiers = AuthClient("pw", "https://pay.example.com")._verifiers
    verifiers.clock = lambda: now[0]
    verifiers.put("a", Secret("verifier"))
    now[0] = 599.0
    found = verifiers.get("a")
    assert found is not None
    assert found.reveal() == "verifier"
    now[0] = 600.0
    assert verifiers.get("a") is None
    verifiers.put("b", Secret("x"))
    assert len(verifiers) == 1  # the expired one was removed
    verifiers.remove("b")
    verifiers.remove("b")


def test_the_number_of_verifiers_is_limited() -> None:
    verifiers = AuthClient("pw", "https://pay.example.com")._verifiers
    for i in range(10_100):
        verifiers.put(str(i), Secret("x"))
    assert len(verifiers) == 10_000
    assert verifiers.get("0") is None
    assert verifiers.get("10099") is not None


# Caches


def test_cache_entries_expire() -> None:
    now = [0.0]
    cache: Cache[str] = Cache(ttl=60, clock=lambda: now[0])
    cache.put("a", "1")
    now[0] = 4.9
    assert cache.get("a", max_age=5) == "1"
    cache.update("a", lambda value: value + "!")
    cache.update("b", lambda value: value + "!")
    now[0] = 5.0
    assert (cache.get("a", max_age=5), cache.get("a", max_age=6)) == (None, "1!")
    cache.remove("a")
    cache.remove("a")
    assert cache.get("a", max_age=6) is None


def test_the_number_of_cache_entries_is_limited() -> None:
    now = [0.0]
    cache: Cache[int] = Cache(ttl=60, clock=lambda: now[0])
    for i in range(MAX_ENTRIES):
        cache.put(i, i)
    cache.put("one more", 1)
    assert (len(cache), cache.get(0), cache.get(1), cache.get("one more")) == (MAX_ENTRIES, None, 1, 1)
    now[0] = 59.9
    cache.put(2, 2)  # now the youngest
    now[0] = 60.0
    assert (cache.get(3), cache.get(2)) == (None, 2)
    cache.put("later", 1)
    assert len(cache) == 2  # expired entries are removed


def test_max_entries_is_never_exceeded() -> None:
    cache: Cache[int] = Cache(ttl=60, max_entries=3)
    for i in range(1_000):
        cache.put(i % 7, i)
    assert len(cache) == 3


async def test_callers_share_a_flight_and_cancellation_affects_one_caller() -> None:
    flights, started, go = SingleFlight(), [], asyncio.Event()

    async def make(_: Flight) -> str:
        started.append(1)
        await go.wait()
        return "done"

    waiting = [asyncio.create_task(flights.run("k", make)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    go.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert (results[1:], started) == (["done", "done"], [1])
    assert await flights.run("k", make) == "done"


@pytest.mark.parametrize("cancel_when_abandoned", [True, False])
async def test_a_flight_without_waiters(cancel_when_abandoned: bool) -> None:
    flights, ended, go = SingleFlight(), [], asyncio.Event()

    async def make(_: Flight) -> None:
        try:
            await go.wait()
            ended.append("completed")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    waiting = asyncio.create_task(flights.run("k", make, cancel_when_abandoned=cancel_when_abandoned))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    await asyncio.sleep(0.01)
    assert ended == (["cancelled"] if cancel_when_abandoned else ["completed"])


async def test_a_failed_flight_fails_for_all_callers() -> None:
    flights = SingleFlight()

    async def make(_: Flight) -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(flights.run("k", make) for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in results] == [ValueError, ValueError]
    with pytest.raises(ValueError, match="no"):
        await flights.run("k", make)
