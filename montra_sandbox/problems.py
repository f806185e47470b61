"""Errors that the sandbox reports: an HTTP status, a code and a message."""

from __future__ import annotations

import decimal
from typing import Any

OUT_OF_RANGE: tuple[type[ArithmeticError], ...] = (OverflowError, decimal.InvalidOperation, decimal.Overflow)
"""Raised by Python and SQLite for dates outside the calendar and numbers that don't fit a column."""


class Problem(Exception):
    """A request or a control that was refused. Raising it rolls the transaction back.

    Over HTTP it becomes the error envelope; the controls of `Sandbox` raise it.

    Args:
        status: the HTTP status, 400 to 599.
        code: a machine-readable code such as `not_found`.
        message: what went wrong, for people.
        details: further JSON for the error envelope.

    Attributes:
        status: as given.
        code: as given.
        message: as given; also `str()` of the exception.
        details: as given; None when there is nothing to add.
    """

    status: int
    code: str
    message: str
    details: Any

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details

    def envelope(self) -> dict[str, Any]:
        """The body of Montra's error response."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"success": False, "error": error}


class CommittedProblem(Problem):
    """A problem that commits the transaction: what was written before it stays, such as a counted attempt."""


def client_disconnected() -> Problem:
    """499 `client_disconnected`: nobody waits for the response; the log of requests shows it."""
    return Problem(499, "client_disconnected", "the client closed the connection before its request was complete")


def out_of_range(error: Exception) -> Problem:
    """400 `out_of_range`: valid input led to a number or date that is out of range.

    Args:
        error: one of `OUT_OF_RANGE`.
    """
    return Problem(400, "out_of_range", f"a number or date is out of range: {error}"[:200])


def invalid(message: str, details: Any = None) -> Problem:
    """400 `validation_error`.

    Args:
        message: what is wrong.
        details: a list of all problems, when there are several.
    """
    return Problem(400, "validation_error", message, details)


def not_found(what: str, which: str) -> Problem:
    """404 `not_found`.

    Args:
        what: the kind of resource, in words.
        which: its id or slug.
    """
    return Problem(404, "not_found", f"no {what} {which!r}")


def conflict(code: str, message: str) -> Problem:
    """409.

    Args:
        code: the machine-readable code.
        message: what the request conflicts with.
    """
    return Problem(409, code, message)
