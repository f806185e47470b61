"""What goes wrong on purpose: an HTTP status with a code and a sentence."""

from __future__ import annotations

from typing import Any


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


def invalid(message: str, details: Any = None) -> Problem:
    return Problem(400, "validation_error", message, details)


def not_found(what: str, which: str) -> Problem:
    return Problem(404, "not_found", f"no {what} {which!r}")


def conflict(code: str, message: str) -> Problem:
    return Problem(409, code, message)
