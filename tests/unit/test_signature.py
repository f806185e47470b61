from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async import Montra, verify_signature
from montra_async.webhooks.signature import sign

SECRET = "whsec_test"
SECRETS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=16)
BODY = b'{"id":"evt_1","type":"checkout.completed"}'


def _expected(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@given(body=st.binary(), secret=SECRETS)
def test_a_genuine_signature_is_accepted_in_every_spelling(body: bytes, secret: str) -> None:
    signature = sign(body, secret)
    for spelling in (signature, f"sha256={signature}", signature.upper(), f"  SHA256={signature}\n"):
        assert verify_signature(body, spelling, secret)
    assert verify_signature(body, signature, [secret, f"{secret}x"])
    assert verify_signature(bytearray(body), signature, [b"nonsense", "whsec_old", secret])  # type: ignore[arg-type, list-item]


def test_it_is_hmac_sha256() -> None:
    assert sign(BODY, SECRET) == _expected(BODY, SECRET)
    assert verify_signature(BODY.decode(), _expected(BODY, SECRET), SECRET)
    assert Montra("sk_test_x").webhooks.verify_signature(BODY, _expected(BODY, SECRET), SECRET)


@given(body=st.binary(min_size=1), position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_changed_bit_is_noticed(body: bytes, position: int, bit: int) -> None:
    changed = bytearray(body)
    changed[position % len(body)] ^= 1 << bit
    assert not verify_signature(bytes(changed), sign(body, SECRET), SECRET)


@pytest.mark.parametrize(
    "signature", [None, "", " ", "sha256=", "x" * 64, "0" * 64, 5, b"abc", ["a"], "\udc80", "é" * 64, "1" * 100_000]
)
@pytest.mark.parametrize("secret", [SECRET, "", [], None, 5, [None], ["", SECRET]])
def test_garbage_is_false_and_never_an_exception(signature: Any, secret: Any) -> None:
    assert verify_signature(BODY, signature, secret) is False


@pytest.mark.parametrize("body", [None, 5, {"id": 1}, ["x"]])
def test_a_parsed_body_is_false(body: Any) -> None:
    assert verify_signature(body, sign(BODY, SECRET), SECRET) is False


def test_an_empty_secret_signs_nothing() -> None:
    assert verify_signature(BODY, _expected(BODY, ""), "") is False
    assert verify_signature(BODY, _expected(BODY, ""), [""]) is False


def test_surrogates_in_a_text_body() -> None:
    assert verify_signature("\ud800", sign(BODY, SECRET), SECRET) is False
