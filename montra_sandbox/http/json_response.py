"""JSON responses with a request id, and the body of errors outside the two APIs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ..json import dumps
from ..problems import Problem

MAX_UPLOAD_SIZE: int = 20 * 1024 * 1024
"""Largest body of an upload, in bytes."""


def json_response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """A response with a JSON body and a new `x-request-id`.

    Args:
        status: the HTTP status.
        body: the encoded JSON.
        headers: further headers.
    """
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        charset="utf-8",
        headers={"x-request-id": f"req_{secrets.token_hex(8)}", **(headers or {})},
    )


def problem_response(problem: Problem, body: Any = None) -> web.Response:
    """A response for a problem; with `Allow` for 405.

    Args:
        problem: the problem.
        body: the JSON in the format of an API. By default one that clients of both APIs can read: Montra's envelope
            with the paywall service's `code` and `message` beside it.
    """
    headers: dict[str, str] = {}
    if problem.status == 405 and problem.details:
        headers["Allow"] = problem.details["allowed"]
    if body is None:
        body = {**problem.envelope(), "code": problem.code, "message": problem.message}
    return json_response(problem.status, dumps(body).encode(), headers)


def problem_of_http_error(error: web.HTTPException) -> Problem:
    """The problem for an error that aiohttp raises by itself.

    Args:
        error: the error, with a status from 400.
    """
    if error.status == 413:
        return Problem(413, "too_large", f"at most {MAX_UPLOAD_SIZE} bytes")
    if error.status == 404:
        return Problem(404, "unknown_route", "there is nothing here; the APIs are below /api")
    return Problem(error.status, f"http_{error.status}", error.reason)
