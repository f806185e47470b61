"""Any token response, storage, language or body is parsed, or refused with a `PaywallError`."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from yarl import URL

from montra_async.core.http.messages import RawResponse, Request
from montra_async.paywall import AuthSession, PaywallError
from montra_async.paywall.locales import candidates, preferred, validated_language
from montra_async.paywall.oauth import _state_of
from montra_async.paywall.responses import error_of, quota_error
from montra_async.paywall.token_responses import session_of, stored_session, valid_datetime

NUMBERS = (
    st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([10**17, 1e300, -1e-300])
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=12)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
TIMES = JSON | st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2030-01-01", "2030-13-01"])
TOKENS = st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.just("at") | JSON,
        "refresh_token": st.just("rt") | JSON,
        "expires_in": st.just(60) | JSON,
        "expires_at": TIMES,
        "user": st.dictionaries(st.sampled_from(["id", "email", "name", "is_anonymous", "x"]), JSON) | JSON,
    },
)


def _call(path: str = "/api/v1/paywall/pw/auth/refresh") -> Request:
    return Request(method="POST", url=URL(f"http://localhost{path}"), path=path)


def _answer(body: bytes, status: int = 200) -> RawResponse:
    return RawResponse(status=status, headers={}, body=body)


def _fuzz_tokens(told: Any) -> None:
    previous = AuthSession(access_token="old", refresh_token="old", expires_at=datetime.now(timezone.utc))
    for before in (None, previous):
        try:
            session = session_of(_answer(json.dumps(told).encode()), _call(), before)
        except PaywallError as error:
            assert error.code == "invalid_response"  # noqa: PT017 - most of them are good
            continue
        assert session.access_token
        assert session.access_token.isprintable()
        assert (session.expires_at - datetime.now(timezone.utc)).total_seconds() < 1e12
        session.to_json()
        assert stored_session(json.loads(session.to_json())) is not None


@given(TOKENS | JSON)
def test_token_responses(told: Any) -> None:
    _fuzz_tokens(told)


@pytest.mark.hostile
@given(TOKENS | JSON)
@settings(max_examples=8_000)
def test_token_responses_for_long(told: Any) -> None:
    _fuzz_tokens(told)


@given(st.binary(max_size=200))
def test_token_responses_of_any_bytes(body: bytes) -> None:
    with pytest.raises(PaywallError):
        session_of(_answer(body), _call())


@given(TOKENS | JSON | st.builds(object) | st.dictionaries(st.integers(), JSON))
def test_any_value_of_a_storage(found: Any) -> None:
    session = stored_session(found)
    assert session is None or session.access_token


@given(TIMES | NUMBERS)
def test_datetimes_are_between_1970_and_9000(value: Any) -> None:
    found = valid_datetime(value)
    assert found is None or 1970 <= found.year <= 9000


def test_datetimes_in_milliseconds() -> None:
    assert (
        valid_datetime(1_900_000_000)
        == valid_datetime(1_900_000_000_000)
        == datetime(2030, 3, 17, 17, 46, 40, tzinfo=timezone.utc)
    )


@given(JSON, st.sampled_from([200, 302, 400, 401, 402, 404, 409, 500]))
def test_errors_of_any_body(told: Any, status: int) -> None:
    for body in (told, {"code": told, "error": told, "message": told}, {"details": {"balances": [told, [told]]}}):
        for make in (lambda answer: error_of(answer, _call("/x"), {}), lambda answer: quota_error(answer, _call("/x"))):
            error = make(_answer(json.dumps(body).encode(), status))
            assert isinstance(error, PaywallError)
            assert str(error)


@pytest.mark.parametrize("depth", [100, 500, 900, 5_000, 200_000])
def test_deeply_nested_details(depth: int) -> None:
    for inner in ('{"balances":[', "[[", '{"balances":['):
        close = inner.translate(str.maketrans("{[", "}]"))[::-1].replace(":secnalab", "").replace('"', "")
        body = ('{"details":{"balances":[' + inner * depth + close * depth + "]}}").encode()
        assert quota_error(_answer(body, 402), _call("/x")).balances == []


@given(st.text(max_size=200) | st.lists(st.sampled_from(["de", ";q=", "nan", "inf", "-1", ",", "*", " "])).map("".join))
def test_languages(header: str) -> None:
    assert all(preferred(header))
    assert len(candidates(header, header)) <= 4 * (header.count(",") + 1)
    try:
        wanted = validated_language("locale", header)
    except ValueError as error:
        assert str(error).startswith("locale: ")  # noqa: PT017 - most of them are good
        return
    assert wanted is not None
    assert wanted.isascii()
    assert not set(wanted) & set("\r\n\0")


@given(st.text(max_size=60))
def test_state_of_any_url(url: str) -> None:
    state = _state_of(url)
    assert state is None or isinstance(state, str)
