"""The log of aiohttp's server: what a client sent wrong is one line without a traceback."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError

from ..log import OneLine

MAX_LINE_SIZE: int = 64 * 1024
"""Bytes of a request's first line, and of a header. Beyond it, aiohttp answers 400 by itself."""
_MAX_SHOWN = 200


class _BadRequests(logging.Filter):
    """A request that can't be parsed is the client's fault, and needs no traceback of the server."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let each record pass."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
            # Behind a colon stands what the client sent, which may be a key.
            record.msg, record.args = "refused a request: %s", (error.message.partition(":")[0][:_MAX_SHOWN],)
            record.exc_info = record.exc_text = None
        return True


server_log: logging.Logger = logging.getLogger("montra_sandbox.http")
server_log.addFilter(_BadRequests())
server_log.addFilter(OneLine())
