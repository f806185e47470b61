"""Models from JSON objects, quickly: one function per class, written when the class is first needed.

The functions that cattrs writes call a hook for every value and then the class, whose `__init__` has to go around the
lock on an immutable object's slots. The ones here take a value of the right type as it is, and fill a draft: an object
with the same slots and no lock, which then becomes an object of the class. That takes a third of the time. For every
other value they call cattrs' hook, and whatever is wrong is left to cattrs to explain (`serde`): there is one set of
rules.
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
        as_is: a value of exactly this type needs no hook,
        members: if what it holds, where it holds something, is of these types.
        hook: cattrs' way from a JSON value to a `kind`.
        required: absent is a mistake.
        default: makes the value of a field that is absent; without it, that is None.
    """

    name: str
    wire: str
    kind: Any
    optional: bool
    as_is: type | None
    members: frozenset[type] | None
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
        "draft": _draft_of(cls),
        "new": object.__new__,
        "missing": _MISSING,
        "known": known,
        "knows_all_of": known.issuperset,
        "checked": functools.partial(_checked, cls),
    }
    lines: list[str] = []
    for i, slot in enumerate(slots):
        names |= {f"hook{i}": slot.hook, f"kind{i}": slot.kind, f"as_is{i}": slot.as_is}
        names |= {f"default{i}": slot.default, f"all_of{i}": slot.members and slot.members.issuperset}
        lines += _value(i, slot)
    source = "\n    ".join(
        [
            "def build(data, _):",
            "if type(data) is not dict:",
            "    data = checked(data)",
            "    if type(data) is not dict: return data",
            "get = data.get",
            *lines,
            "model = new(draft)",
            *(f"model.{slot.name} = value{i}" for i, slot in enumerate(slots)),
            "model._extra = None if knows_all_of(data) else {n: data[n] for n in data if n not in known}",
            "model.__class__ = cls",
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
        held = f"{value}.values()" if slot.as_is is dict else value
        other_members = f" or not all_of{i}(map(type, {held}))" if slot.members else ""
        needs_hook.append(f"(type({value}) is not as_is{i}{other_members})")
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


def _draft_of(cls: type) -> type:
    """A class of the same layout whose objects can be assigned to."""
    own: Any = cls.__dict__
    unlocked = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(cls.__name__, cls.__bases__, {"__slots__": own["__slots__"], **unlocked})


def _checked(cls: type, data: Any) -> Any:
    """A `cls` as it is, a subclass of dict as a dict."""
    if isinstance(data, cls):
        return data
    if not is_object(data):
        raise ValueError(f"an object was expected, not {type(data).__name__}")
    return dict(data)
