"""Lifecycles at the paywall service, at the merchant's first paywall and its prices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ..database import Row
from ..datetimes import parse_datetime
from ..paywall.purchase_lifecycle import get_purchase
from ..paywall.tokens import list_balances
from ..paywall.users import find_by_email, list_user_purchases
from ..problems import Problem, conflict
from .paywall_triggers import cancel
from .stage import Scenario, Stage, Step

_TRIAL_DAYS = 7


def _paywall_id(stage: Stage) -> str:
    return str(stage.calls.get_paywall()["id"])


def _call(stage: Stage, operation_id: str, body: dict[str, Any], **context: Any) -> Any:
    return stage.calls.paywall(_paywall_id(stage), operation_id, body, **context)


def _monthly_price(stage: Stage) -> str:
    return str(_find_price(stage, "a price per month", _is_monthly)["id"])


def _is_monthly(price: dict[str, Any]) -> bool:
    return bool(price["interval"] == "month")


def _is_token_pack(price: dict[str, Any]) -> bool:
    return not price["interval"] and bool(price.get("tokens"))


def _token_pack(stage: Stage) -> dict[str, Any]:
    return _find_price(stage, "a price without an interval that has tokens", _is_token_pack)


def _find_price(stage: Stage, what: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    prices: list[dict[str, Any]] = stage.calls.paywall_context(_paywall_id(stage)).config["prices"]
    for price in prices:
        if fits(price):
            return price
    raise conflict("price_not_found", f"this scenario needs {what} at the paywall {_paywall_id(stage)!r}")


def _purchase(stage: Stage) -> Row:
    return get_purchase(stage.calls.paywall_context(_paywall_id(stage)), stage.ids["purchase"])


def _user(stage: Stage, email: str) -> Row:
    user = find_by_email(stage.calls.paywall_context(_paywall_id(stage)), email)
    assert user is not None
    return user


# Trials


def _start_trial(stage: Stage) -> str:
    body = {"priceId": _monthly_price(stage), "email": stage.email, "trial_days": _TRIAL_DAYS}
    stage.ids["purchase"] = stage.calls.pay_checkout(_paywall_id(stage), _call(stage, "start_checkout", body))
    return f"the trial ends at {_purchase(stage)['current_period_end']}"


def _to_period_end(stage: Stage) -> str:
    stage.advance_to(parse_datetime(_purchase(stage)["current_period_end"]))
    return f"the subscription is {_purchase(stage)['status']}"


def _cancel_trial(stage: Stage) -> None:
    stage.advance(timedelta(days=3))
    cancel(stage.calls, _paywall_id(stage), _purchase(stage), "not what I need")


# Tokens


def _buy_tokens(stage: Stage) -> str:
    price_id = _token_pack(stage)["id"]
    stage.calls.pay_checkout(
        _paywall_id(stage), _call(stage, "start_checkout", {"priceId": price_id, "email": stage.email})
    )
    return _describe_balances(stage)


def _use_all_tokens(stage: Stage) -> str:
    for balance in _balances(stage):
        if balance["count"]:
            body = {"email": stage.email, "type": balance["type"], "amount": balance["count"], "op": "debit"}
            _call(stage, "change_balance", body)
    return _describe_balances(stage)


def _use_one_more(stage: Stage) -> str:
    try:
        return _use_one(stage)
    except Problem as problem:
        return f"{problem.status} {problem.code}"


def _use_one(stage: Stage) -> str:
    kind = next(iter(_token_pack(stage)["tokens"]))
    _call(stage, "change_balance", {"email": stage.email, "type": kind, "amount": 1, "op": "debit"})
    return _describe_balances(stage)


def _balances(stage: Stage) -> list[dict[str, Any]]:
    return list_balances(stage.calls.paywall_context(_paywall_id(stage)), _user(stage, stage.email))


def _describe_balances(stage: Stage) -> str:
    return ", ".join(f"{balance['count']} {balance['type']}" for balance in _balances(stage))


# Guests


def _buy_as_guest(stage: Stage) -> str:
    body = {"priceId": _monthly_price(stage), "email": stage.email, "visitorId": f"visitor-{stage.suffix}"}
    checkout = _call(stage, "start_checkout", body, is_owner=False)
    stage.ids["purchase"] = stage.calls.pay_checkout(_paywall_id(stage), checkout)
    return f"bought by {stage.email}"


def _request_code(stage: Stage) -> None:
    member = f"member.{stage.suffix}@example.com"
    stage.ids["member"] = member
    stage.add(member)
    _call(stage, "send_otp", {"email": member}, is_owner=False)


def _sign_in(stage: Stage) -> str:
    member = stage.ids["member"]
    code = stage.calls.db.value(
        "SELECT codes.token FROM temp.codes JOIN paywall_mails mail ON mail.id = codes.mail_id WHERE mail.email = ?"
        " ORDER BY mail.rowid DESC LIMIT 1",
        member,
    )
    proof = {"email": member, "token": code, "type": "email", "visitor_id": f"visitor-{stage.suffix}"}
    _call(stage, "verify_otp", proof, is_owner=False)
    context = stage.calls.paywall_context(_paywall_id(stage))
    return f"{member} has {len(list_user_purchases(context, _user(stage, member)))} purchase"


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="trial_then_paid",
        title="A trial becomes a paid subscription",
        service="paywall",
        steps=(
            Step("A user starts a trial of seven days with a card", _start_trial),
            Step("The trial ends: the first payment is made", _to_period_end),
            Step("A month later the subscription renews", _to_period_end),
        ),
    ),
    Scenario(
        name="trial_cancelled",
        title="A trial is cancelled before the first payment",
        service="paywall",
        steps=(
            Step("A user starts a trial of seven days with a card", _start_trial),
            Step("On the third day the user cancels", _cancel_trial),
            Step("The trial ends without a payment", _to_period_end),
        ),
    ),
    Scenario(
        name="tokens_run_out_then_topped_up",
        title="A user runs out of tokens and buys more",
        service="paywall",
        steps=(
            Step("A user buys a pack of tokens", _buy_tokens),
            Step("All tokens are used", _use_all_tokens),
            Step("One more is refused", _use_one_more),
            Step("The user buys another pack", _buy_tokens),
            Step("One more is no longer refused", _use_one),
        ),
    ),
    Scenario(
        name="guest_checkout_then_sign_in",
        title="A guest buys, then signs in with another address: the purchase moves",
        service="paywall",
        steps=(
            Step("A guest buys a subscription", _buy_as_guest),
            Step("The guest asks for a code at another address", _request_code),
            Step("The guest signs in with it in the same browser: the purchase moves", _sign_in),
            Step("A month later the subscription renews for the new address", _to_period_end),
        ),
    ),
)
