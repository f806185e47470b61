"""The environment variable `MONTRA_LOG`: the log on standard error, one `key=value` line per record.

Without the variable, nothing here does anything: an application configures the logger `montra` as it likes.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Mapping
from typing import TextIO

_LEVELS = {"info": logging.INFO, "debug": logging.DEBUG}
_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\xa0\u2028\u2029\ud800-\udfff]+")
_LONGEST = 2_000
"""Characters of a value."""

log: logging.Logger = logging.getLogger("montra")


class _StandardError(logging.Handler):
    """Writes to what `sys.stderr` is at the moment. Silent when another handler shows the record on a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_LineFormatter())

    def __repr__(self) -> str:
        return "<handler of MONTRA_LOG>"

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        stream: TextIO | None = sys.stderr  # None in a process without one
        if stream is None or _is_shown(record.levelno):
            return
        try:
            stream.write(f"{self.format(record)}\n")
            stream.flush()
        except Exception:
            self.handleError(record)


class _LineFormatter(logging.Formatter):
    """One line per record, and the traceback of an exception below it."""

    def format(self, record: logging.LogRecord) -> str:
        at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
        text = record.getMessage()
        rest = text if hasattr(record, "montra") else f"msg={as_value(text)}"
        line = f"time={at} level={record.levelname.lower()} logger={as_value(record.name)} {rest}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def log_from_environment() -> bool:
    """Set up the logger as `MONTRA_LOG` says, once per process. Returns whether each attempt is to be logged."""
    value = os.environ.get("MONTRA_LOG", "").strip().lower()
    if not value:
        return False
    level = _LEVELS.get(value)
    if level is None:
        warnings.warn("MONTRA_LOG: `info` or `debug`; the log is not changed", UserWarning, stacklevel=2)
        return False
    if not any(isinstance(one, _StandardError) for one in log.handlers):
        log.addHandler(_StandardError())
    if log.level == logging.NOTSET or log.level > level:
        log.setLevel(level)
    return True


def as_line(fields: Mapping[str, object]) -> str:
    """Fields as `key=value` pairs, without those that are None."""
    return " ".join(f"{name}={as_value(value)}" for name, value in fields.items() if value is not None)


def as_value(value: object) -> str:
    """A value that ends where it ends: quoted if it holds a space, a quote or a control character."""
    text = f"{value:.1f}" if isinstance(value, float) else str(value)[:_LONGEST]
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else _escape(one) for one in escaped) + '"'


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _is_shown(level: int) -> bool:
    """Whether a handler of the application writes a record of the logger to a terminal's stream."""
    logger: logging.Logger | None = log
    while logger is not None:
        if any(_writes_to_terminal(one) and one.level <= level for one in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _writes_to_terminal(handler: logging.Handler) -> bool:
    if isinstance(handler, _StandardError) or not isinstance(handler, logging.StreamHandler):
        return False
    stream: object = vars(handler).get("stream")
    return stream is not None and stream in (sys.stderr, sys.__stderr__, sys.stdout, sys.__stdout__)
