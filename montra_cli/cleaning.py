"""Text from outside as it may be printed. A name or an address of a customer must not control the terminal."""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), line and paragraph separators, what changes the direction of text, half surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: str, *, breaks: bool = False) -> str:
    """Text in one line: what controls a terminal is shown as an escape, e.g. `\\x1b`.

    Args:
        text: any text.
        breaks: whether line breaks and tabs stay. Default: False.
    """
    return _UNSAFE.sub(_escaped_but_breaks if breaks else _escaped, text)


def clean_lines(text: str) -> str:
    """The same, but line breaks stay.

    Args:
        text: any text.
    """
    return "\n".join(clean(line) for line in text.split("\n"))


def clean_json(text: str) -> str:
    """JSON whose strings hold nothing that controls a terminal; it means the same.

    Args:
        text: JSON; the line breaks and tabs between its values stay.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in _NAMED else f"\\u{ord(found[0]):04x}", text)


def _escaped_but_breaks(found: re.Match[str]) -> str:
    return found[0] if found[0] in _NAMED else _escaped(found)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _NAMED.get(found[0]) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
