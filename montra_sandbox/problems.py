"""What goes wrong on purpose: an HTTP status with a code and a sentence."""

from __future__ import annotations

import decimal
from typing import Any

OUT_OF_RANGE = (OverflowError, decimal.InvalidOperation, decimal.Overflow)
"""What Python and SQLite raise for dates past the calendar and numbers past their columns."""


class Problem(Exception):
    """Becomes the error envelope. Raising it undoes the request's transaction."""

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details

    def envelope(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"success": False, "error": error}


class CountedProblem(Problem):
    """A refusal that is remembered: what was written before it was raised stays, such as the count of wrong guesses."""


def out_of_range(error: Exception) -> Problem:
    """A number or a date that was valid by itself and led to one that is not."""
    return Problem(400, "out_of_range", f"a number or date is out of range: {error}"[:200])


def invalid(message: str, details: Any = None) -> Problem:
    return Problem(400, "validation_error", message, details)


def not_found(what: str, which: str) -> Problem:
    return Problem(404, "not_found", f"no {what} {which!r}")


def conflict(code: str, message: str) -> Problem:
    return Problem(409, code, message)
