"""Models from JSON objects, quickly: one function per class, written when the class is first needed.

The functions that cattrs writes call a hook for every value and then the class, whose `__init__` sets the slots of an
immutable object by name. The ones here take a value of the right type as it is and fill slots through their
descriptors, in half the time. For every other value they call cattrs' hook, and whatever is wrong is left to cattrs to
explain (`serde`): there is one set of rules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from .shapes import is_object

Hook = Callable[[Any, Any], Any]

_MISSING = object()


@attrs.frozen
class Slot:
    """One field of a model.

    Attributes:
        wire: its name on the wire.
        kind: its type, without `None`.
        optional: None is a value of its own.
        as_is: a value of exactly this type needs no hook.
        hook: cattrs' way from a JSON value to a `kind`.
        required: absent is a mistake.
        default: makes the value of a field that is absent; without it, that is None.
    """

    name: str
    wire: str
    kind: Any
    optional: bool
    as_is: type | None
    hook: Hook
    required: bool
    default: Callable[[], Any] | None


def builder(cls: type, slots: Sequence[Slot]) -> Hook:
    """A function from a JSON object to a `cls`, with everything unknown in `extra`.

    It raises anything at all when the object doesn't fit.
    """
    known = frozenset(slot.wire for slot in slots)
    names: dict[str, Any] = {
        "cls": cls,
        "new": object.__new__,
        "missing": _MISSING,
        "known": known,
        "knows_all_of": known.issuperset,
        "set_extra": _setter(cls, "_extra"),
        "checked": functools.partial(_checked, cls),
    }
    lines: list[str] = []
    for i, slot in enumerate(slots):
        names |= {f"hook{i}": slot.hook, f"kind{i}": slot.kind, f"as_is{i}": slot.as_is}
        names |= {f"default{i}": slot.default, f"set{i}": _setter(cls, slot.name)}
        lines += _value(i, slot)
    source = "\n    ".join(
        [
            "def build(data, _):",
            "if type(data) is not dict:",
            "    data = checked(data)",
            "    if type(data) is not dict: return data",
            "get = data.get",
            *lines,
            "model = new(cls)",
            *(f"set{i}(model, value{i})" for i in range(len(slots))),
            "set_extra(model, None if knows_all_of(data) else {n: data[n] for n in data if n not in known})",
            "return model",
        ]
    )
    exec(compile(source, f"<builder of {cls.__qualname__}>", "exec"), names)  # noqa: S102 - our own text, nobody's data
    build: Hook = names["build"]
    return build


def _value(i: int, slot: Slot) -> list[str]:
    """Lines that put the field's value into a variable."""
    value = f"value{i}"
    convert = f"{value} = hook{i}({value}, kind{i})"
    needs_hook = [f"{value} is not None"] if slot.optional else []
    if slot.as_is is not None:
        needs_hook.append(f"type({value}) is not as_is{i}")
    mend = f"if {' and '.join(needs_hook)}: {convert}" if needs_hook else convert
    if slot.required:
        return [f"{value} = data[{slot.wire!r}]", mend]
    if slot.default is None:
        return [f"{value} = get({slot.wire!r})", mend]
    return [
        f"{value} = get({slot.wire!r}, missing)",
        f"if {value} is missing: {value} = default{i}()",
        f"el{mend}" if mend.startswith("if") else f"else: {mend}",
    ]


def _setter(cls: type, name: str) -> Callable[[Any, Any], None]:
    setter: Callable[[Any, Any], None] = getattr(cls, name).__set__
    return setter


def _checked(cls: type, data: Any) -> Any:
    """A `cls` as it is, a subclass of dict as a dict."""
    if isinstance(data, cls):
        return data
    if not is_object(data):
        raise ValueError(f"an object was expected, not {type(data).__name__}")
    return dict(data)
