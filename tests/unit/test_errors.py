"""The error tree: one way to catch the errors of both services, and the same facts on each of them."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

import montra_async
from montra_async import (
    ApiError,
    CallInfo,
    CallInterruptedError,
    ConfigError,
    MontraError,
    NetworkError,
    RequestTimeoutError,
)
from montra_async.core import errors as core_errors
from montra_async.paywall import PaywallError, QuotaExceededError, errors as paywall_errors
from montra_async.paywall.errors import error_class, translate, translate_errors
from montra_async.webhooks import errors as webhook_errors

INFO = CallInfo(method="POST", path="/refunds", attempts=3, idempotency_key="k")


def _classes() -> list[type[MontraError]]:
    found = {
        one
        for module in (core_errors, paywall_errors, webhook_errors)
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, MontraError)
    }
    return sorted(found, key=lambda one: one.__name__)


def _by_hand(kind: type[MontraError]) -> MontraError:
    """An error with no more than its required arguments."""
    given: dict[str, Any] = {"status": 500, "call": INFO}
    required = [
        parameter
        for parameter in inspect.signature(kind.__init__).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ][1:]
    positional = [given.get(one.name, "text") for one in required if one.kind is one.POSITIONAL_OR_KEYWORD]
    keywords = {one.name: given.get(one.name, "text") for one in required if one.kind is one.KEYWORD_ONLY}
    return kind(*positional, **keywords)


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_error_has_the_same_facts_also_by_hand_and_unpickled(kind: type[MontraError]) -> None:
    error = _by_hand(kind)
    for one in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(one) is kind
        assert str(one) == str(error)
        key, attempts = (None, 0) if one.call is None else ("k", 3)
        assert (one.idempotency_key, one.attempts) == (key, attempts)
        assert (one.request_id, one.retry_after) == (None, None)
        assert one.may_have_executed is (
            issubclass(kind, (ApiError, CallInterruptedError))
            or (issubclass(kind, NetworkError) and not issubclass(kind, PaywallError))
        )


def test_a_quota_error_by_hand_has_no_balances() -> None:
    error = QuotaExceededError("a", "b")
    assert error.balances == []
    assert pickle.loads(pickle.dumps(error)).balances == []


@pytest.mark.parametrize("status", [300, 400, 401, 402, 403, 404, 409, 418, 422, 429, 500, 503, 599, 999])
def test_statuses_have_the_classes_of_both_trees(status: int) -> None:
    kind = error_class(status)
    assert issubclass(kind, PaywallError)
    assert issubclass(kind, core_errors.error_class(status))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NetworkError("gone", INFO, sent=False), "network_error"),
        (RequestTimeoutError("late", INFO, phase="read"), "timeout"),
        (core_errors.PoolTimeoutError("busy", INFO, sent=False, phase="pool"), "timeout"),
        (ConfigError("no key"), "invalid_config"),
        (core_errors.InvalidArgumentError("amount", "too small"), "invalid_argument"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_errors_of_the_core_keep_their_class_and_facts_when_translated(error: MontraError, code: str) -> None:
    translated = translate(error)
    assert isinstance(translated, PaywallError)
    assert isinstance(translated, type(error))
    assert translated.code == code
    for name in ("call", "attempts", "idempotency_key", "sent", "phase", "parameter", "problem"):
        assert getattr(translated, name, None) == getattr(error, name, getattr(translated, name, None))
    assert translate(translated) is translated


def test_a_time_out_has_no_error_number() -> None:
    error = RequestTimeoutError("late", INFO)
    assert (error.errno, error.strerror) == (None, None)
    assert error.args == ("late", INFO)


def test_what_is_refused_before_sending_is_a_value_error_in_both_services() -> None:
    with pytest.raises(ValueError, match="key: empty") as caught, translate_errors():
        raise core_errors.InvalidArgumentError("key", "empty")
    assert isinstance(caught.value, PaywallError)
    with pytest.raises(ValueError, match="no paywall"):
        montra_async.paywall.BillingClient()  # type: ignore[attr-defined]


async def test_a_missing_server_key_is_a_config_error() -> None:
    billing = montra_async.paywall.BillingClient("pw", "https://pay.example.com")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="needs a server key") as caught:
        await billing.for_user(email="a@example.com").list_purchases()
    assert caught.value.code == "apikey_required"
