"""Names of attributes, and what may be in them: nothing that names a customer, and no secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..core.redaction import clean_name

# Of the semantic conventions of OpenTelemetry, stable.
HTTP_METHOD = "http.request.method"
HTTP_RESEND_COUNT = "http.request.resend_count"
HTTP_STATUS = "http.response.status_code"
URL_TEMPLATE = "url.template"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"

# Ours.
SERVICE = "montra.service"
OPERATION_NAME = "montra.operation"
ATTEMPTS = "montra.attempts"
REQUEST_ID = "montra.request_id"
ERROR_CODE = "montra.error.code"
ERROR_PHASE = "montra.error.phase"
ERROR_CAUSE = "montra.error.cause"
REPLAYED = "montra.replayed"
JOINED = "montra.joined"
MIRROR = "montra.mirror"
BACKGROUND = "montra.background"
STREAM_COMPLETE = "montra.stream.complete"
RETRY_PAUSE = "montra.retry.pause"
RETRY_REASON = "montra.retry.reason"

_CODE = re.compile(r"[A-Za-z](?:[A-Za-z_.-]|[0-9]{1,3}(?![0-9])){0,63}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/+=-]{0,127}")


def error_type(error: BaseException) -> str:
    """The name of an error's class. Its message may hold anything."""
    return type(error).__qualname__


def error_code(error: BaseException) -> str | None:
    """The service's code of an error; None without one, and for one that does not look like a code."""
    code: Any = getattr(error, "code", None)
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def request_id(value: str | None, scrub: Callable[[str], str]) -> str | None:
    """The id of a request, without secrets; None without one, and for what does not look like an id.

    Args:
        value: of the response.
        scrub: removes known secrets from a text.
    """
    if value is None:
        return None
    cleaned = clean_name(value, scrub)
    return cleaned if cleaned == value and _REQUEST_ID.fullmatch(value) else None
