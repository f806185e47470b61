"""What a stranger may make us do before a signature has been believed: little, and never more than linearly."""

from __future__ import annotations

import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from montra_async.webhooks import (
    MemoryStore,
    WebhookError,
    WebhookReceiver,
    WebhookSignatureError,
    parse,
    parse_paywall,
    parsing,
    signature as signatures,
)
from montra_async.webhooks.signature import MAX_SECRETS, MAX_SIGNATURE_LENGTH, digest_of, sign, verify_signature

from ..steps import steps_of

SECRET = "whsec_of_the_tests"
BODY = b'{"id": "evt_1", "type": "customer.created"}'


class Counted(str):
    """Text that counts how many characters are copied or searched by its own methods."""

    touched = 0

    def strip(self, *args: Any) -> str:
        Counted.touched += len(self)
        return super().strip(*args)

    lower = casefold = strip  # type: ignore[assignment]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all that HMACs are computed of."""
    sizes: list[int] = []
    real = hmac.digest

    def digest(key: Any, message: bytes, kind: Any) -> bytes:
        sizes.append(len(message))
        return real(key, message, kind)

    monkeypatch.setattr(signatures.hmac, "digest", digest)
    return sizes


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all that the regular expression looks at."""
    sizes: list[int] = []
    pattern = signatures._SIGNATURE

    class Pattern:
        def fullmatch(self, text: str) -> Any:
            sizes.append(len(text))
            return pattern.fullmatch(text)

    monkeypatch.setattr(signatures, "_SIGNATURE", Pattern())
    return sizes


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all bodies that are read as JSON."""
    sizes: list[int] = []
    real, ours = json.loads, parsing.loads

    def loads(body: Any, *args: Any, **more: Any) -> Any:
        sizes.append(len(body))
        return real(body, *args, **more)

    def exact(body: bytes) -> Any:
        sizes.append(len(body))
        return ours(body)

    monkeypatch.setattr(parsing.json, "loads", loads)
    monkeypatch.setattr(parsing, "loads", exact)
    return sizes


ATTACKS = ["\xa0", " ", "\t", "0", "sha256=", "sha256= ", "\u2028", "\u017f", "a" * 64, "é", "\udc80", "\0", ","]


@pytest.mark.parametrize("piece", ATTACKS)
def test_a_long_header_costs_nothing(piece: str, hashed: list[int], searched: list[int]) -> None:
    for times in (1_000, 30_000):
        Counted.touched = 0
        long = Counted(piece * times)
        assert not verify_signature(BODY, long, SECRET)
        for headers in (long, {"Montra-Signature": long}, {"montra-signature": [long, long]}):
            with pytest.raises(WebhookSignatureError, match="malformed_header"):
                parse(BODY, headers, SECRET)  # type: ignore[arg-type]
        with pytest.raises(WebhookSignatureError):
            parse_paywall(BODY, {"X-Signature": long}, SECRET)
        assert Counted.touched <= 4 * MAX_SIGNATURE_LENGTH
    assert (hashed, searched) == ([], [])


@given(
    st.text(st.sampled_from(" \t\xa0\u2003sha256=SHA\u017f0123456789abcdefABCDEFg,\0é"), max_size=300)
    | st.builds(
        lambda a, b, c: a + b + c, *[st.text(st.sampled_from(" \t\n\xa0sha256="), max_size=60)] * 2, st.just("a" * 64)
    )
)
def test_no_header_makes_us_work_more_than_a_genuine_one(header: str) -> None:
    genuine = sign(BODY, SECRET)
    most = steps_of(lambda: verify_signature(BODY, f" sha256={genuine} ", SECRET))
    assert steps_of(lambda: verify_signature(BODY, header, SECRET)) <= most
    assert (digest_of(header) is None) or len(header) <= MAX_SIGNATURE_LENGTH


def test_one_hmac_per_secret_whatever_the_number_of_candidates(hashed: list[int]) -> None:
    body = b"x" * 100_000
    wrong = ["0" * 64, "1" * 64, "2" * 64, "3" * 64]
    with pytest.raises(WebhookSignatureError, match="wrong_signature"):
        parse(body, {"Montra-Signature": wrong}, [SECRET, f"{SECRET}_2"])  # type: ignore[dict-item]
    assert hashed == [len(body)] * 2
    hashed.clear()
    for several in (["0" * 64] * 5, ["0" * 64] * 100_000):
        with pytest.raises(WebhookSignatureError, match="malformed_header: more than 4"):
            parse(body, {"Montra-Signature": several}, SECRET)  # type: ignore[dict-item]
    assert hashed == []


def test_many_headers_of_the_right_name_are_refused_unread(hashed: list[int]) -> None:
    class Duplicates:
        """As `aiohttp` and `starlette` give them."""

        def __init__(self, times: int) -> None:
            self.times = times

        def items(self) -> Any:
            return iter([("X-Signature", "0" * 64), ("x-monetize-signature", "1" * 64)] * self.times)

    with pytest.raises(WebhookSignatureError, match="wrong_signature"):
        parse_paywall(BODY, Duplicates(2), SECRET)  # type: ignore[arg-type]
    assert len(hashed) >= 1
    hashed.clear()
    with pytest.raises(WebhookSignatureError, match="malformed_header: more than 4"):
        parse_paywall(BODY, Duplicates(750), SECRET)  # type: ignore[arg-type]
    assert hashed == []


@pytest.mark.parametrize("as_bytes", [False, True])
def test_headers_that_came_joined_are_several(hashed: list[int], as_bytes: bool) -> None:
    """API gateways join the headers of a name with commas."""
    body = BODY.replace(b"customer.created", b"x")
    genuine, wrong = sign(body, SECRET), "0" * 64

    def headers(*signatures: str) -> Any:
        joined = ", ".join(signatures)
        return {"montra-signature": joined.encode() if as_bytes else joined}

    for one in ((genuine, wrong), (wrong, f"sha256={genuine}"), (genuine, "")):
        assert parse(body, headers(*one), SECRET).id == "evt_1"
    with pytest.raises(WebhookSignatureError, match="wrong_signature"):
        parse(body, headers(wrong, wrong), SECRET)
    hashed.clear()
    for refused in ([genuine] * 5, [genuine] * 100_000, ["", "", ""]):
        with pytest.raises(WebhookSignatureError, match="malformed_header"):
            parse(body, headers(*refused), SECRET)
    assert hashed == []


def test_work_grows_linearly_with_the_number_of_headers() -> None:
    def refuse(count: int) -> None:
        with pytest.raises(WebhookSignatureError):
            parse(BODY, {f"X-{i}": "y" for i in range(count)}, SECRET)

    few, many = steps_of(lambda: refuse(100)), steps_of(lambda: refuse(1_000))
    assert many < 11 * few


def test_at_most_eight_secrets() -> None:
    secrets = [f"{SECRET}_{i}" for i in range(MAX_SECRETS + 1)]
    assert parse(
        BODY.replace(b"customer.created", b"x"), sign(BODY.replace(b"customer.created", b"x"), secrets[7]), secrets[:8]
    ).id
    for several in (secrets, iter(secrets), (f"{SECRET}_{i}" for i in range(10**9))):
        with pytest.raises(ValueError, match="at most 8"):
            parse(BODY, "0" * 64, several)


@pytest.mark.parametrize("size", [16 * 1024 + 1, 1024 * 1024])
def test_a_large_body_that_is_not_signed_is_never_parsed(size: int, parsed: list[int], hashed: list[int]) -> None:
    body = json.dumps({"id": "x" * size}).encode()
    with pytest.raises(WebhookSignatureError, match="wrong_signature"):
        parse(body, "0" * 64, SECRET)
    assert (parsed, hashed) == ([], [len(body)])


def test_a_small_body_that_is_not_signed_is_parsed_once(parsed: list[int], hashed: list[int]) -> None:
    body = json.dumps({"id": "x" * 16_000}).encode()
    with pytest.raises(WebhookSignatureError, match="wrong_signature"):
        parse(body, "0" * 64, SECRET)
    assert parsed == [len(body)]
    assert sum(hashed) <= 5 * len(body)


async def test_the_receiver_measures_before_it_hashes_or_parses(parsed: list[int], hashed: list[int]) -> None:
    receiver = WebhookReceiver(SECRET, store=MemoryStore(), max_body_size=1000)
    receiver.on("*")(print)
    for body in (b"x" * 1001, "é" * 501, bytearray(1001), memoryview(b"x" * 1001), "x" * 1001):
        reply = await receiver.handle(body, {"Montra-Signature": "0" * 64})  # type: ignore[arg-type]
        assert reply.status == 413
    assert (parsed, hashed) == ([], [])


NESTED = st.sampled_from([b"[" * 5_000, b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900])


@given(NESTED | st.binary(max_size=2_000), st.sampled_from(["0" * 64, "1" * 64]))
@settings(max_examples=50)
def test_a_hint_is_never_dearer_than_the_body(body: bytes, signature: str) -> None:
    with pytest.raises(WebhookError):
        parse(body, signature, SECRET)
