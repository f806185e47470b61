"""Secrets of webhooks: which are refused, and that nothing shows any."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from montra_async import Montra
from montra_async.core.errors import chain_of
from montra_async.paywall import BillingClient
from montra_async.webhooks import (
    Claim,
    MemoryStore,
    RedisStore,
    Secret,
    WebhookEvent,
    WebhookHelpers,
    WebhookReceiver,
    parse,
    parse_paywall,
)
from montra_async.webhooks.signature import sign, signing_secrets, verify_signature

CANARY = "whsec_canary_4711_of_the_tests"
RAW = b'{"id":"evt_1","type":"x.y"}'
HELPERS = [WebhookHelpers("montra"), WebhookHelpers("paywall")]
READERS = [
    *(parse, parse_paywall, Montra.webhooks.parse, BillingClient.webhooks.parse),
    *(one.parse for one in HELPERS),
]


def shown(error: BaseException) -> str:
    """All that an error reporter records, but for the frames of this file."""
    found: list[str] = [str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error))]
    for one in chain_of(error):
        for frame in traceback.TracebackException.from_exception(one, capture_locals=True).stack:
            if frame.filename != __file__:
                found.append(f"{frame.filename}:{frame.lineno} {frame.locals}")
    return "\n".join(found)


@pytest.mark.parametrize(
    "secret", ["", " ", "\t\n", "\xa0" * 20, [], [""], None, [CANARY, ""], [CANARY, " "], (), iter(())]
)
def test_blank_secrets_are_refused(secret: Any) -> None:
    if not isinstance(secret, Iterator):
        assert verify_signature(RAW, sign(RAW, ""), secret) is False
    for read in READERS:
        with pytest.raises(ValueError, match="no webhook secret") as caught:
            read(RAW, "0" * 64, secret)
        assert CANARY not in shown(caught.value)
    with pytest.raises(ValueError, match="no webhook secret") as caught:
        WebhookReceiver(secret, store=MemoryStore())
    assert CANARY not in shown(caught.value)


@pytest.mark.parametrize("odd", ["{}\n", " {}", "{}\0", "{} x", "{}\x7f", "{}\ud800", "{}\u2028"])
def test_secrets_with_spaces_or_control_characters_are_refused(odd: str) -> None:
    secret = odd.format(CANARY)
    signature = sign(RAW, secret)
    assert verify_signature(RAW, signature, secret) is False
    assert verify_signature(RAW, signature, [secret, "whsec_of_the_tests"]) is False
    for read in READERS:
        with pytest.raises(ValueError, match="line break") as caught:
            read(RAW, signature, secret)
        assert CANARY not in shown(caught.value)
    with pytest.raises(ValueError, match="line break"):
        WebhookReceiver([secret], store=MemoryStore())


@pytest.mark.parametrize("secret", [5, [None], [CANARY, 5], [b"whsec_"], b"whsec_bytes_are_not_text", object()])
def test_what_is_no_secret(secret: Any) -> None:
    for read in READERS:
        with pytest.raises(ValueError, match=r"secret: a .*string") as caught:
            read(RAW, "0" * 64, secret)
        assert CANARY not in shown(caught.value)


@pytest.mark.parametrize(
    "use", [lambda one: parse(RAW, sign(RAW, one), one), lambda one: WebhookReceiver(one, store=MemoryStore())]
)
def test_short_secrets_are_warned_of(use: Callable[[str], object]) -> None:
    with pytest.warns(UserWarning, match="fewer than 16 characters") as caught:
        use("whsec_15_chars!")
    assert [one.filename for one in caught] == [__file__]
    assert "whsec_15" not in str(caught[0].message)
    use("whsec_16_chars!!")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verify_signature(RAW, sign(RAW, "short"), "short")  # only says yes or no


def test_a_warning_that_is_an_error_shows_nothing() -> None:
    for work in (lambda: parse(RAW, "", CANARY[:15]), lambda: WebhookReceiver(CANARY[:15], store=MemoryStore())):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning) as caught:
                work()
        assert CANARY[:15] not in shown(caught.value)


def _at(when: str, kind: str = "x.y", data: Any = None) -> bytes:
    return json.dumps({"id": "evt_1", "type": kind, "created_at": when, "data": data}).encode()


OLD = _at("2020-01-01T00:00:00Z")
FUTURE = _at("9999-01-01T00:00:00Z")
MISFIT = _at("2026-01-01T00:00:00Z", "customer.created", {"id": 5, "name": []})
SPACED = json.dumps(json.loads(RAW), indent=1).encode()


@pytest.mark.parametrize(
    ("raw", "signature"),
    [
        (RAW, None),
        (RAW, "abc"),
        (RAW, "0" * 64),
        (RAW, {}),
        (RAW, {"Montra-Signature": ["0" * 64] * 9, "X-Signature": ["0" * 64] * 9}),
        (SPACED, sign(RAW, CANARY)),
        ({"id": "evt_1"}, "0" * 64),
        (b"no", sign(b"no", CANARY)),
        (b"[]", sign(b"[]", CANARY)),
        (b"{}", sign(b"{}", CANARY)),
        (OLD, sign(OLD, CANARY)),
        (FUTURE, sign(FUTURE, CANARY)),
        (MISFIT, sign(MISFIT, CANARY)),
        (RAW, sign(RAW, CANARY)),
    ],
)
@pytest.mark.parametrize("kind", [lambda one: one, lambda one: [one], lambda one: (one, f"{one}_2"), Secret])
def test_no_way_out_of_parse_shows_a_secret(raw: Any, signature: Any, kind: Callable[[str], Any]) -> None:
    secret = kind(CANARY)
    for read in READERS:
        with pytest.raises(Exception) as caught:
            read(raw, signature, secret, max_age=timedelta(days=1), require_created_at=True)
        assert CANARY not in shown(caught.value)


@pytest.mark.parametrize(
    "more",
    [
        *({"store": f"redis://:{CANARY}@h"}, {"store": MemoryStore}, {"store": MemoryStore(retention=60)}),
        *(
            {"max_body_size": 0},
            {"claim_ttl": -1},
            {"namespace": " "},
            {"max_age": "5"},
            {"clock_skew": "x"},
            {"source": "montra"},
        ),
    ],
)
def test_no_receiver_that_can_not_be_made_shows_a_secret(more: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        WebhookReceiver(CANARY, **{"store": MemoryStore(), **more})
    assert CANARY not in shown(caught.value)


def _receiver(store: Any = None) -> WebhookReceiver:
    return WebhookReceiver([CANARY, f"{CANARY}_2"], store=store or MemoryStore())


def _everything(one: object, depth: int = 4) -> str:
    """Its repr, and its attributes', and theirs."""
    found = [repr(one), str(one)]
    if depth and hasattr(one, "__dict__"):
        for name in dir(one):
            if not name.startswith("__"):
                value = getattr(one, name)
                found.append(f"{name}={value!r}")
                found.append(_everything(value, depth - 1) if type(value).__module__.startswith("montra") else "")
    return "\n".join(found)


def test_a_receiver_shows_no_secret() -> None:
    receiver = _receiver()
    assert CANARY not in _everything(receiver)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secrets"):
            copied(receiver)
    with pytest.raises(TypeError, match="secrets"):
        pickle.dumps(signing_secrets(CANARY))


def test_secrets_can_be_added_to_a_receiver() -> None:
    receiver = WebhookReceiver(CANARY, store=MemoryStore())
    receiver.on("*")(lambda _: None)
    receiver.secrets = ["whsec_of_a_rotation", *receiver.secrets]  # type: ignore[misc, list-item]
    for i, secret in enumerate((CANARY, "whsec_of_a_rotation")):
        raw = _at(datetime.now(timezone.utc).isoformat()).replace(b"evt_1", b"evt_%d" % i)
        assert receiver.handle_blocking(raw, {"Montra-Signature": sign(raw, secret)}).status == 200
    with pytest.raises(ValueError, match="no webhook secret"):
        receiver.secrets = ""


class Failing(MemoryStore):
    def __init__(self, *failing: str) -> None:
        super().__init__()
        self.failing = failing

    def _fail(self, what: str) -> None:
        if what in self.failing:
            raise OSError(f"{what} failed")

    def claim(self, key: str, token: str, claim_ttl: float) -> Claim:
        self._fail("claim")
        return super().claim(key, token, claim_ttl)

    def done(self, key: str, token: str, *, forever: bool = False) -> bool:
        self._fail("done")
        return super().done(key, token, forever=forever)

    def release(self, key: str, token: str) -> None:
        self._fail("release")
        super().release(key, token)


class Locals(logging.Handler):
    """What an error reporter sends of each record, its local variables included."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self.sent.write(record.getMessage())
        if record.exc_info and record.exc_info[1]:
            self.sent.write(shown(record.exc_info[1]))


@pytest.mark.parametrize("failing", [(), ("claim",), ("done",), ("release",)])
@pytest.mark.parametrize("problem", [None, ValueError, asyncio.CancelledError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("blocking", [False, True])
def test_no_way_out_of_a_receiver_shows_a_secret(
    failing: tuple[str, ...], problem: type[BaseException] | None, blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("montra_async.webhooks.claims.RETRY_DELAYS", (0.0,))
    receiver = _receiver(Failing(*failing))
    reporter = Locals()

    @receiver.on("*")
    def handler(_: WebhookEvent) -> None:
        if problem is not None:
            raise problem()

    raw = _at(datetime.now(timezone.utc).isoformat())
    deliveries: list[tuple[Any, Any]] = [
        (raw, {"Montra-Signature": sign(raw, CANARY)}),
        *(
            (raw, {}),
            (raw, {"Montra-Signature": "0" * 64}),
            (OLD, {"Montra-Signature": sign(OLD, CANARY)}),
            (None, None),
        ),
    ]
    logging.getLogger("montra").addHandler(reporter)
    try:
        for body, headers in deliveries:
            try:
                if blocking:
                    receiver.handle_blocking(body, headers)
                else:
                    asyncio.run(receiver.handle(body, headers))
            except BaseException as error:
                reporter.sent.write(shown(error))
    finally:
        logging.getLogger("montra").removeHandler(reporter)
    assert reporter.sent.getvalue()
    assert CANARY not in reporter.sent.getvalue()


PASSWORD = "canary-password-4711"


@pytest.mark.parametrize("url", [f"http://:{PASSWORD}@h", f"redis://:{PASSWORD}@h:port/0"])
def test_the_address_of_a_redis_shows_no_password(url: str) -> None:
    pytest.importorskip("redis")
    with pytest.raises(ValueError, match="not the URL of a Redis") as caught:
        RedisStore(url)
    assert PASSWORD not in shown(caught.value)
    with pytest.raises(ValueError, match="retention") as caught:
        RedisStore(url, retention=-1)
    assert PASSWORD not in shown(caught.value)


async def test_a_redis_that_can_not_be_reached_shows_no_password() -> None:
    pytest.importorskip("redis")
    store = RedisStore(f"redis://:{PASSWORD}@127.0.0.1:1/0")
    assert PASSWORD not in repr(store)
    with pytest.raises(Exception, match="ConnectionError") as caught:
        store.claim("e", "t", 60)
    assert PASSWORD not in shown(caught.value)


def test_the_search_finds_what_there_is_to_find() -> None:
    """A harness that could not fail would prove nothing."""
    code = compile("def leak(secret):\n    raise ValueError('no')", "elsewhere.py", "exec")
    space: dict[str, Any] = {}
    exec(code, space)
    with pytest.raises(ValueError) as caught:
        space["leak"](CANARY)
    assert CANARY in shown(caught.value)
    assert sys.exc_info()[0] is None
