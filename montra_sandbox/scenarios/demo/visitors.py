"""Visitors of the paywall: they look, some buy, use their tokens, ask for help, cancel."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from ...paywall import purchase_lifecycle
from ...problems import Problem
from ..calls import Calls
from .names import Person
from .timeline import Timeline

_PRICES = ("101", "102", "103", "104")
_PRICE_WEIGHTS = (62, 14, 4, 20)
_TICKETS = (
    ("Receipt for my company", "Could you put our VAT number on the receipt?"),
    ("Tokens are missing", "I bought 50 questions, and the app still shows 3."),
    ("Change of address", "My email address has changed. How do I keep my plan?"),
    ("Cancel", "Where do I cancel? I would like to stop at the end of the month."),
    ("Dark mode", "The paywall is very bright at night."),
)
_CANCEL_REASONS = ("too expensive", "missing features", "switched to another product", "project ended")


class Visitors:
    """Lets visitors come to a paywall.

    Args:
        calls: the merchant's calls.
        paywall_id: the paywall; it has the prices of the demo paywall.
        timeline: the past.
    """

    def __init__(self, calls: Calls, paywall_id: str, timeline: Timeline) -> None:
        self._calls = calls
        self._paywall_id = paywall_id
        self._timeline = timeline
        self._count = 0

    def visit(self, person: Person, rng: random.Random) -> None:
        """Let somebody visit the paywall now, and plan what follows.

        Args:
            person: who it is.
            rng: decides about the visitor.
        """
        self._count += 1
        visitor_id, price_id = f"visitor-{self._count}", rng.choices(_PRICES, _PRICE_WEIGHTS)[0]
        self._track(visitor_id, ("paywall_opened", {}), ("price_selected", {"price_id": price_id}))
        if rng.random() < 0.75:
            self._track(visitor_id, ("checkout_started", {"price_id": price_id}))
            self._start(person, rng, price_id, visitor_id)
        if rng.random() < 0.12:
            self._later(rng, 2, 60, lambda: self._ask(person, rng))

    def _start(self, person: Person, rng: random.Random, price_id: str, visitor_id: str) -> None:
        body: dict[str, Any] = {"priceId": price_id, "email": person.email, "visitorId": visitor_id}
        if price_id == "101" and rng.random() < 0.3:
            body["trial_days"] = 7
        if price_id == "102" and rng.random() < 0.4:
            body["offerId"] = "201"
        checkout = self._call("start_checkout", body)
        if rng.random() < 0.15:
            return  # abandoned
        purchase_id = self._calls.pay_checkout(self._paywall_id, checkout)
        self._track(visitor_id, ("purchase_completed", {"price_id": price_id}))
        if price_id in ("101", "102") and rng.random() < 0.35:
            self._later(rng, 3, 120, lambda: self._cancel(person, rng, purchase_id))
        if rng.random() < 0.04:
            self._later(rng, 1, 12, lambda: self._refund(purchase_id))
        self._later(rng, 0.1, 6, lambda: self._use_tokens(person, rng))

    def _use_tokens(self, person: Person, rng: random.Random) -> None:
        try:
            self._call("change_balance", {**self._tokens(person), "op": "debit", "amount": rng.randrange(1, 25)})
        except Problem:  # used up; some of them ask, and get some as a present
            if rng.random() < 0.2:
                self._call("change_balance", {**self._tokens(person), "op": "credit", "amount": 10})
        if rng.random() < 0.8:
            self._later(rng, 1, 20, lambda: self._use_tokens(person, rng))

    def _tokens(self, person: Person) -> dict[str, Any]:
        return {"email": person.email, "type": "gpt-4"}

    def _ask(self, person: Person, rng: random.Random) -> None:
        subject, content = rng.choice(_TICKETS)
        body = {"subject": subject, "content": content, "customer_email": person.email}
        self._call("create_ticket", body)

    def _cancel(self, person: Person, rng: random.Random, purchase_id: str) -> None:
        body = {"subscriptionId": purchase_id, "paywallId": self._paywall_id, "email": person.email}
        self._call("cancel_subscription", {**body, "cancellationReason": rng.choice(_CANCEL_REASONS)})

    def _refund(self, purchase_id: str) -> None:
        context = self._calls.paywall_context(self._paywall_id)
        purchase_lifecycle.refund(context, purchase_lifecycle.get_purchase(context, purchase_id))

    def _track(self, visitor_id: str, *events: tuple[str, dict[str, Any]]) -> None:
        ts = int(self._calls.now().timestamp() * 1000)
        body = {
            "visitor_id": visitor_id,
            "events": [{"type": kind, "ts": ts, "props": props} for kind, props in events],
        }
        self._call("track_events", body)

    def _later(self, rng: random.Random, least: float, most: float, action: Any) -> None:
        self._timeline.at(self._calls.now() + timedelta(days=rng.uniform(least, most)), action)

    def _call(self, operation_id: str, body: dict[str, Any]) -> Any:
        return self._calls.paywall(self._paywall_id, operation_id, body)
