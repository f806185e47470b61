"""Headers as users get them."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, strategies as st
from multidict import CIMultiDict

from montra_async import ResponseHeaders
from montra_async.core.headers import MAX_HEADERS, MAX_SIZE, clean_headers

NAMES = st.sampled_from(["A", "a", "Vary", "VARY", "vary", "X-Request-Id"])
FIELDS = st.lists(st.tuples(NAMES, st.text(max_size=5)), max_size=8)


@given(FIELDS, NAMES)
def test_names_match_in_any_case_as_in_a_multidict(fields: list[tuple[str, str]], name: str) -> None:
    headers, known = ResponseHeaders(fields), CIMultiDict(fields)
    assert headers.get(name) == known.get(name)
    assert headers.get_all(name) == known.getall(name, [])
    assert (name in headers) == (name in known)
    assert len(headers) == len({one.lower() for one, _ in fields}) == len(list(headers))
    assert headers.multi_items() == fields
    assert dict(headers) == {one: headers[one] for one in headers}
    for other in (pickle.loads(pickle.dumps(headers)), copy.deepcopy(headers)):
        assert (other, hash(other)) == (headers, hash(headers))


def test_two_are_equal_when_their_fields_are() -> None:
    assert ResponseHeaders([("A", "1")]) == ResponseHeaders([("a", "1")])
    assert ResponseHeaders([("A", "1")]) != ResponseHeaders([("A", "2")])
    assert ResponseHeaders([("A", "1")]) != {"A": "1"}
    assert 5 not in ResponseHeaders([("A", "1")])
    with pytest.raises(KeyError, match="b"):
        ResponseHeaders([("A", "1")])["b"]


def test_they_are_bounded() -> None:
    assert len(ResponseHeaders((f"x-{i}", "v") for i in range(10_000))) == MAX_HEADERS
    large = ResponseHeaders((f"x-{i}", "v" * 10_000) for i in range(10_000))
    assert sum(len(name) + len(value) for name, value in large.multi_items()) == MAX_SIZE


def test_secrets_are_neither_kept_nor_shown() -> None:
    given = {
        "X-Echo": "Bearer sk_live_canary99",
        "Set-Cookie": "sid=canary",
        "X-Auth": "canary",
        "Retry-After": "3",
        "Location": "https://a.example/?code=canary",
        "X-RateLimit-Remaining": "7",
        "X-Request-Id": "req_1",
    }
    headers = clean_headers(CIMultiDict(given), lambda text: text.replace("sk_live_canary99", "***"))
    assert headers["x-echo"] == "Bearer ***"
    assert "set-cookie" not in headers
    assert b"sid=canary" not in pickle.dumps(headers)
    assert "canary" not in repr(headers)
    assert all(text in repr(headers) for text in ("('Retry-After', '3')", "'7'", "req_1"))
