"""Answers with the envelope: JSON, a request id, and what aiohttp refuses by itself in our words."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ..problems import Problem
from ..wire import dumps

MOST_UPLOAD = 20 * 1024 * 1024


def respond(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        charset="utf-8",
        headers={"x-request-id": f"req_{secrets.token_hex(8)}", **(headers or {})},
    )


def respond_problem(problem: Problem) -> web.Response:
    headers: dict[str, str] = {}
    if problem.status == 405 and problem.details:
        headers["Allow"] = problem.details["allowed"]
    return respond(problem.status, dumps(_for_both(problem)).encode(), headers)


def _for_both(problem: Problem) -> dict[str, Any]:
    """Montra's clients read the envelope, the paywall service's read `code` and `message` beside it."""
    return {**problem.envelope(), "code": problem.code, "message": problem.message}


def http_problem(error: web.HTTPException) -> Problem:
    """What aiohttp refuses by itself, in our words."""
    if error.status == 413:
        return Problem(413, "too_large", f"at most {MOST_UPLOAD} bytes")
    if error.status == 404:
        return Problem(404, "unknown_route", "there is nothing here; the APIs are below /api")
    return Problem(error.status, f"http_{error.status}", error.reason)
