"""Calls of the Montra API as the merchant whose data is seen: what the API refuses, a form is refused, too."""

from __future__ import annotations

from ..scenarios.calls import Calls
from .view import View


def calls(view: View) -> Calls:
    """The calls of the merchant whose data is seen.

    Args:
        view: the request.
    """
    return Calls(view.world, view.merchant_id)
