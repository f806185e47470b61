"""The test cards of both services' checkout pages."""

from __future__ import annotations

import re
from collections.abc import Mapping

CARDS = {
    "4242424242424242": ("pays", None),
    "4000000000000002": ("is declined", "The card was declined."),
    "4000000000009995": ("has insufficient funds", "The card has insufficient funds."),
    "4000000000000069": ("has expired", "The card has expired."),
}
"""What happens, and what the payer is told."""

EMAIL = re.compile(r"[^@\s]{1,200}@[^@\s]{1,100}")
_DECLINED = "The payment was declined."


def shown() -> list[tuple[str, str]]:
    return [(number, what) for number, (what, _) in CARDS.items()]


def problem(fields: Mapping[str, str]) -> str | None:
    """What is wrong with the card of a form, in words for the payer."""
    if fields.get("action") != "decline" and _number(fields) not in CARDS:
        return "Please use one of the test cards."
    return None


def refusal(fields: Mapping[str, str]) -> str | None:
    """Why the payment is refused; None when it goes through."""
    return _DECLINED if fields.get("action") == "decline" else CARDS[_number(fields)][1]


def _number(fields: Mapping[str, str]) -> str:
    return re.sub(r"\D", "", fields.get("card", ""))
