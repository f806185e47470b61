"""Building a client: keys, addresses, settings, views."""

from __future__ import annotations

import inspect
import logging
import pickle
import traceback
from typing import Any

import aiohttp
import pytest

import montra_async
import montra_sync
from montra_async import (
    ApiError,
    CallInfo,
    ConfigError,
    InvalidArgumentError,
    Montra,
    MontraError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    Timeout,
)
from montra_async.core.errors import error_class
from montra_async.core.http.connection import Connection
from montra_async.core.redaction import Secret, scrub

KEY = "sk_test_0123456789abcdef"
COROUTINES = [
    (name, method)
    for name, method in inspect.getmembers(Montra, inspect.isfunction)
    if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
]


def test_a_long_path_is_cut_in_messages() -> None:
    assert str(NetworkError("p", CallInfo(method="GET", path="/" + "x" * 5000))) == f"p (GET /{'x' * 299}...)"


def test_a_missing_key_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (None, "", "  "):
        with pytest.raises(ConfigError, match="MONTRA_API_KEY"):
            Montra(wrong)
    monkeypatch.setenv("MONTRA_API_KEY", f"{KEY}\n")
    monkeypatch.setenv("MONTRA_BASE_URL", "https://billing.example.com/api/v1/")
    assert repr(Montra()) == "<Montra https://billing.example.com/api/v1>"


@pytest.mark.parametrize("key", ["two words", "sk_test_\x00", "ключ", "'sk_test_1'", "MONTRA_API_KEY=sk_test_1"])
def test_a_malformed_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Montra(key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.montra.fi/v1",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://[::2]/",
        "ftp://x/",
        "api.montra.fi/v1",
        "https://",
        "https://user:secret@api.montra.fi",
        "https://api.montra.fi/v1?key=1",
        "https://api.montra.fi/v1#x",
        "https://api.montra.fi:99999999/",
    ],
)
def test_base_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Montra(KEY, url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:4242", "http://localhost/x/", "http://[::1]:80/", "https://a.fi/v1"])
def test_base_urls_that_are_accepted(url: str) -> None:
    Montra(KEY, url)


def test_plain_http_is_accepted_with_allow_insecure_http() -> None:
    Montra(KEY, "http://10.0.0.1/v1", allow_insecure_http=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": "5"},
        {"timeout": float("nan")},
        {"max_attempts": 0},
        {"max_attempts": True},
        {"pool_size": 0},
        {"headers": {"Authorization": "x"}},
        {"headers": {"idempotency-key": "x"}},
        {"headers": {"X-A": "a\r\nb: c"}},
        {"headers": {"": "x"}},
        {"headers": {"X-A": 5}},
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        Montra(KEY, **settings)
    if "pool_size" not in settings:
        with pytest.raises(InvalidArgumentError):
            Montra(KEY).with_options(**settings)


def test_time_outs_by_kind() -> None:
    with pytest.raises(InvalidArgumentError, match="read"):
        Timeout(read=0)
    assert Timeout(total=None).total is None


async def test_a_given_session_excludes_other_connection_settings() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigError):
            Connection(session=session, proxy=Secret("http://proxy"))


def test_views_add_headers_and_share_the_rest() -> None:
    client = Montra(KEY, headers={"X-Team": "a"}, timeout=10)
    view = client.with_options(headers={"X-Request": "1"}, max_attempts=1)
    assert view._transport is client._transport
    assert dict(view._options.headers) == {"X-Team": "a", "X-Request": "1"}
    assert view._options.timeout.total == 10
    assert (view._options.max_attempts, client._options.max_attempts) == (1, 3)


def test_a_key_is_in_no_repr_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = Montra(KEY)
    shown = [repr(client), str(client), repr(vars(client)), repr(vars(client._transport)), caplog.text]
    try:
        Montra(KEY, "http://example.com")
    except ConfigError as error:
        shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert not any("0123456789abcdef" in text for text in shown)


def _shown(value: object) -> str:
    """The repr that an error reporter shows, also of an object whose constructor failed."""
    try:
        return repr(value)
    except AttributeError:
        return "<unfinished>"


@pytest.mark.parametrize("facade", [montra_async.Montra, montra_sync.Montra], ids=["async", "sync"])
@pytest.mark.parametrize(
    "wrong", [{"base_url": "http://example.com"}, {"timeout": "5"}, {"pool_size": 0}, {"headers": {"Host": "x"}}]
)
def test_no_local_variable_of_a_failed_construction_holds_a_secret(facade: Any, wrong: dict[str, Any]) -> None:
    try:
        facade(KEY, proxy="http://user:hunter2@proxy", **wrong)
    except ValueError as error:
        ours = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
    shown = " ".join(f"{name}={_shown(value)}" for frame in ours for name, value in frame.f_locals.items())
    assert "wrong" not in shown, "only frames of the SDK"
    assert "0123456789abcdef" not in shown
    assert "hunter2" not in shown


def test_a_bad_time_out_is_named_as_it_was_given() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^timeout: "):
        Montra(KEY, timeout="5")  # type: ignore[arg-type]


def test_secrets_are_removed_from_texts() -> None:
    text = f"key {KEY}, other sk_live_abcdefgh, hook whsec_12345678, Authorization: Bearer xyz.abc-123 and odd-key"
    clean = scrub(text, Secret("odd-key"), Secret(""))
    for secret in ("0123456789abcdef", "abcdefgh", "12345678", "xyz.abc-123", "odd-key"):
        assert secret not in clean
    assert f"{Secret('x')}{Secret('x')!r}" == "'***''***'"


INFO = CallInfo(method="POST", path="/refunds", attempts=3, idempotency_key="k")


@pytest.mark.parametrize(
    "status", [300, 302, 399, 400, 401, 402, 403, 404, 405, 409, 410, 418, 422, 425, 429, 500, 503, 599, 999]
)
def test_every_status_has_a_class(status: int) -> None:
    kind = error_class(status)
    assert issubclass(kind, ApiError)
    assert (kind is ServerError) == (status >= 500)
    assert (kind is NotFoundError) == (status == 404)


def test_errors_say_what_happened_and_to_which_call() -> None:
    error = RateLimitError("slow down", status=429, code="rate_limited", call=INFO, request_id="req_1", retry_after=2.0)
    assert str(error) == "429 rate_limited: slow down (POST /refunds, 3 attempts, request req_1)"
    assert (error.method, error.path, error.attempts, error.idempotency_key) == ("POST", "/refunds", 3, "k")
    assert str(NetworkError("gone", INFO)) == "gone (POST /refunds, 3 attempts)"
    timeout = RequestTimeoutError("late", INFO, phase="read")
    assert isinstance(timeout, TimeoutError)
    assert isinstance(timeout, MontraError)


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slow down", status=429, code="c", call=INFO, details={"a": 1}, retry_after=2.0),
        NetworkError("gone", INFO, sent=False),
        RequestTimeoutError("late", INFO, phase="read"),
        InvalidArgumentError("amount", "too small"),
        ConfigError("no key"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_pickled(error: MontraError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(("name", "method"), COROUTINES, ids=[name for name, _ in COROUTINES])
def test_every_call_is_documented_and_typed(name: str, method: Any) -> None:
    signature = inspect.signature(method)
    assert method.__doc__
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not p.empty for n, p in signature.parameters.items() if n != "self")
    if name not in ("aclose", "with_raw_response"):
        assert "(`" in method.__doc__, "the docstring names the endpoint"
        if "`POST " in method.__doc__:
            assert "idempotency_key" in signature.parameters
