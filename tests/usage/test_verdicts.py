"""What the end of an attempt means."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from montra_async.core.errors import (
    ConfigError,
    InvalidArgumentError,
    InvalidResponseError,
    MontraError,
    PoolTimeoutError,
    RequestTimeoutError,
    error_class,
)
from montra_async.usage.events import MAX_CODE_LENGTH, MAX_MESSAGE_LENGTH, Outcome
from montra_async.usage.sending.verdicts import (
    DUPLICATE_CODES,
    IN_PROGRESS_CODES,
    Signal,
    describe,
    settlement_of,
    verdict_of,
)

from .fake_outbox import usage_request
from .sending import CALL, answer, lost

RETRY, REFUSED, DELIVERED = Outcome.RETRY, Outcome.REFUSED, Outcome.DELIVERED


@pytest.mark.parametrize(
    ("status", "outcome", "sent", "signal"),
    [
        (301, RETRY, False, Signal.BLOCKED),
        (302, RETRY, True, Signal.BLOCKED),
        (304, RETRY, True, Signal.BLOCKED),
        (308, RETRY, False, Signal.BLOCKED),
        (400, REFUSED, False, Signal.ALIVE),
        (401, RETRY, False, Signal.BLOCKED),
        (402, REFUSED, False, Signal.ALIVE),
        (403, RETRY, False, Signal.BLOCKED),
        (404, REFUSED, False, Signal.ALIVE),
        (407, RETRY, False, Signal.BLOCKED),
        (408, RETRY, True, Signal.FAILED),
        (409, REFUSED, False, Signal.ALIVE),
        (413, REFUSED, False, Signal.ALIVE),
        (421, RETRY, False, Signal.FAILED),
        (422, REFUSED, False, Signal.ALIVE),
        (423, RETRY, False, Signal.ALIVE),
        (425, RETRY, False, Signal.ALIVE),
        (429, RETRY, False, Signal.THROTTLED),
        (500, RETRY, True, Signal.FAILED),
        (502, RETRY, True, Signal.FAILED),
        (503, RETRY, True, Signal.OVERLOADED),
        (504, RETRY, True, Signal.FAILED),
        (599, RETRY, True, Signal.FAILED),
        (200, REFUSED, False, Signal.ALIVE),
    ],
)
def test_statuses(status: int, outcome: Outcome, sent: bool, signal: Signal) -> None:
    verdict = verdict_of(answer(status))
    assert (verdict.outcome, verdict.sent, verdict.signal) == (outcome, sent, signal)


@pytest.mark.parametrize("code", [*DUPLICATE_CODES, "Already-Recorded", " DUPLICATE "])
def test_a_duplicate_was_delivered(code: str) -> None:
    assert verdict_of(answer(409, code)).outcome is DELIVERED


@pytest.mark.parametrize("code", IN_PROGRESS_CODES)
def test_a_request_in_progress_may_be_counted(code: str) -> None:
    verdict = verdict_of(answer(409, code))
    assert (verdict.outcome, verdict.sent) == (RETRY, True)


@pytest.mark.parametrize("code", ["idempotency_mismatch", "conflict", "http_409", "duplicates_are_fine", ""])
def test_any_other_conflict_is_refused(code: str) -> None:
    assert verdict_of(answer(409, code)).outcome is REFUSED


@pytest.mark.parametrize("code", ["duplicate", "in_progress"])
def test_codes_mean_nothing_with_other_statuses(code: str) -> None:
    assert verdict_of(answer(422, code)).outcome is REFUSED
    assert verdict_of(answer(500, code)).outcome is RETRY


@pytest.mark.parametrize(
    ("error", "outcome", "sent", "signal"),
    [
        (lost(sent=True), RETRY, True, Signal.FAILED),
        (lost(sent=False), RETRY, False, Signal.FAILED),
        (RequestTimeoutError("late", CALL), RETRY, True, Signal.FAILED),
        (RequestTimeoutError("late", CALL, sent=False), RETRY, False, Signal.FAILED),
        (PoolTimeoutError("busy", CALL, sent=False), RETRY, False, Signal.CROWDED),
        (ConfigError("the session is closed"), RETRY, False, Signal.BLOCKED),
        (InvalidArgumentError("amount", "negative"), REFUSED, False, Signal.NONE),
        (MontraError("what?"), RETRY, True, Signal.FAILED),
        (RuntimeError("a hook"), RETRY, True, Signal.FAILED),
    ],
)
def test_errors_without_an_answer(error: Exception, outcome: Outcome, sent: bool, signal: Signal) -> None:
    verdict = verdict_of(error)
    assert (verdict.outcome, verdict.sent, verdict.signal) == (outcome, sent, signal)


def test_a_success_with_a_broken_body_is_sent_again_under_the_same_key() -> None:
    """The key makes that harmless, while a proxy's page that counts as a success would lose the event."""
    verdict = verdict_of(InvalidResponseError("a page", status=200, code="invalid_response", call=CALL))
    assert (verdict.outcome, verdict.sent, verdict.signal) == (RETRY, True, Signal.FAILED)


def test_texts_of_strangers_are_not_shown() -> None:
    verdict = verdict_of(ValueError("password=hunter2"))
    assert "hunter2" not in describe(verdict)


def test_a_refusal_tells_why() -> None:
    request = usage_request()
    settlement = settlement_of(request, verdict_of(answer(404, "not_found", "no such meter")), 0.0)
    assert settlement[:2] == (request, REFUSED)
    assert (settlement.status, settlement.code, settlement.message) == (404, "not_found", "no such meter")
    invalid = settlement_of(request, verdict_of(InvalidArgumentError("amount", "negative")), 0.0)
    assert (invalid.status, invalid.code) == (None, "invalid_argument")


@given(st.integers(200, 599), st.text(), st.text(max_size=5000), st.none() | st.floats(0, 1e9))
def test_a_verdict_is_bounded_and_never_loses_a_request(
    status: int, code: str, message: str, retry_after: float | None
) -> None:
    error = error_class(status)(message, status=status, code=code, call=CALL, retry_after=retry_after)
    verdict = verdict_of(error)
    assert len(verdict.code) <= MAX_CODE_LENGTH + 3
    assert len(verdict.message) <= MAX_MESSAGE_LENGTH + 3
    assert (verdict.outcome is DELIVERED) <= (status == 409)
    if verdict.outcome is REFUSED:
        assert status < 300 or 400 <= status < 500
