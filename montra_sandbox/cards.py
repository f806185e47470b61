"""The test cards of both checkout pages."""

from __future__ import annotations

import re
from collections.abc import Mapping

CARDS: dict[str, tuple[str, str | None]] = {
    "4242424242424242": ("pays", None),
    "4000000000000002": ("is declined", "The card was declined."),
    "4000000000009995": ("has insufficient funds", "The card has insufficient funds."),
    "4000000000000069": ("has expired", "The card has expired."),
}
"""By number: what happens, and the message for the payer when it is declined."""

EMAIL: re.Pattern[str] = re.compile(r"[^@\s]{1,200}@[^@\s]{1,100}")
_DECLINED = "The payment was declined."


def list_cards() -> list[tuple[str, str]]:
    """Number and effect of each card, for the page."""
    return [(number, effect) for number, (effect, _) in CARDS.items()]


def find_error(fields: Mapping[str, str]) -> str | None:
    """Why the card of a form can't be used, for the payer; None when it can.

    Args:
        fields: the form.
    """
    if fields.get("action") != "decline" and _number(fields) not in CARDS:
        return "Please use one of the test cards."
    return None


def decline_reason(fields: Mapping[str, str]) -> str | None:
    """Why the payment is declined, for the payer; None when it succeeds.

    Args:
        fields: the form, without errors.
    """
    return _DECLINED if fields.get("action") == "decline" else CARDS[_number(fields)][1]


def chosen_card(fields: Mapping[str, str]) -> str:
    """The number of the card that a form shows as chosen; the first card by default.

    Args:
        fields: the form.
    """
    return number if (number := _number(fields)) in CARDS else next(iter(CARDS))


def _number(fields: Mapping[str, str]) -> str:
    return re.sub(r"\D", "", fields.get("card", ""))
