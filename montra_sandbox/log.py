"""The sandbox's logger: each record is one line, whatever a client or an application has sent."""

from __future__ import annotations

import logging
import unicodedata

log: logging.Logger = logging.getLogger("montra_sandbox")


class OneLine(logging.Filter):
    """Shows control characters, line separators and the like as escapes. A traceback stands below its line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let each record pass."""
        try:
            text = record.getMessage()
        except Exception:  # arguments that can't be formatted: the handlers say so
            return True
        if not text.isprintable():
            record.msg, record.args = "".join(map(_shown, text)), ()
        return True


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # spaces of other scripts
        return character
    return character.encode("unicode_escape").decode("ascii")


log.addFilter(OneLine())
