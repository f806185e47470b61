"""Secrets, and their removal from messages, logs, reprs and tracebacks. Text from outside, as it may be shown."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

SecretText: TypeAlias = Annotated[str, "secret"]
"""A string that is a secret: the type of a parameter that takes a key, password, token, one-time code or proxy.

To type checkers it is `str`. The generator of the facade reads it: a generated method whose parameter has this type (or
an alias or a union that names it) deletes the parameter from its frame, because error reporters print local variables.
"""

BODY_KEPT = 64 * 1024
"""Bytes of an error's body that an error shows."""

LONGEST_SECRET = 8 * 1024
"""Bytes; a text is cut after secrets are removed from it, or this far before its end."""

_LONGEST_MESSAGE = 4096
_LONGEST_NAME = 128

_SECRETS = re.compile(
    r"(?P<kind>\b(?:sk|rk|pk)_(?:test|live)_|\bsk_|\bwhsec_|\bBearer\s{1,8})(?P<secret>[A-Za-z0-9._~+/=-]{4,})",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"(?P<before>://)[^\s/?#@]{1,1024}@")

# Control characters (C0, DEL, C1), line and paragraph separators, what changes the direction of text, half surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def scrub(text: str, *known: Secret) -> str:
    """Remove secrets from a text.

    Args:
        text: the text.
        known: secrets that are removed wherever they occur. Strings that look like a key of the services, and
            credentials in URLs, are removed in any case.
    """
    for secret in sorted(known, key=lambda one: -len(one.reveal())):  # a secret may be a prefix of another
        if secret.reveal():
            text = text.replace(secret.reveal(), "***")
    if "://" in text:
        text = _CREDENTIALS.sub(r"\g<before>***@", text)
    return _SECRETS.sub(r"\g<kind>***", text)


class Secret:
    """A string that no repr, log or traceback with local variables shows.

    Args:
        value: the secret.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a secret is not pickled: create the client in the other process")


def mask(value: object) -> str:
    """The repr of a secret field, for `attrs.field(repr=mask)`: it shows only whether the field is None."""
    return "None" if value is None else "'***'"


class ShownWhenHalfBuilt:
    """Base of attrs classes whose `repr` works while the constructor runs.

    A validator that refuses an argument leaves an object without some of its fields in a frame, where error reporters
    find it. The `repr` that attrs generates would raise there.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        fields: tuple[Any, ...] = getattr(type(self), "__attrs_attrs__", ())
        shown = [f"{field.name}={_shown(self, field)}" for field in fields if field.repr]
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(made: object, field: Any) -> str:
    try:
        value = getattr(made, field.name)
    except AttributeError:
        return "?"
    return str(field.repr(value)) if callable(field.repr) else repr(value)


def clean_message(text: str, scrub: Callable[[str], str]) -> str:
    """A message of the service in one line, without secrets.

    It is cut afterwards: a part of a secret would not be recognised.
    """
    return bounded(on_one_line(scrub(text)), _LONGEST_MESSAGE)


def clean_name(text: str, scrub: Callable[[str], str]) -> str:
    """A code or an id of the service in one line, without secrets."""
    return bounded(on_one_line(scrub(text)), _LONGEST_NAME)


def on_one_line(text: str) -> str:
    """`text` with escapes, e.g. `\\n` or `\\x1b`, for what would forge a line of a log, or control a terminal."""
    return text if text.isprintable() else _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _NAMED.get(found[0]) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def bounded(text: str, longest: int) -> str:
    """`text`, cut to a maximum length."""
    return text if len(text) <= longest else f"{text[:longest]}..."


class _OneLine(logging.Filter):
    """Has each record of our loggers be one line, whatever text from outside it shows. A traceback stands below it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let each record pass."""
        try:
            text = record.getMessage()
        except Exception:  # arguments that can't be formatted: the handlers say so
            return True
        line = on_one_line(text)
        if line != text:
            record.msg, record.args = line, ()
        return True


for _name in ("montra", "montra.frameworks"):  # a filter does not apply to the loggers below its own
    logging.getLogger(_name).addFilter(_OneLine())
