"""What a dashboard remembers between requests, in memory only."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Any

from ..pages.form_memory import FormMemory

_MAX_REPORTS = 20


class Memory:
    """The memory of one dashboard.

    Attributes:
        forms: what was entered in forms, and the messages of the next pages.
        readers: how many pages are connected to the live feed.
    """

    forms: FormMemory
    readers: int

    def __init__(self) -> None:
        self.forms = FormMemory()
        self.readers = 0
        self._reports: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def keep_report(self, report: dict[str, Any]) -> str:
        """Keep the report of a scenario; returns its token.

        Args:
            report: the report.
        """
        token = secrets.token_urlsafe(9)
        self._reports[token] = report
        while len(self._reports) > _MAX_REPORTS:
            self._reports.popitem(last=False)
        return token

    def get_report(self, token: str) -> dict[str, Any] | None:
        """A kept report; None for an unknown token.

        Args:
            token: what `keep_report` returned.
        """
        return self._reports.get(token)
