"""Models from JSON objects: one function per class, written when the class is first needed.

The functions that cattrs writes call a hook for every value and then the class, whose `__init__` has to go around the
lock on an immutable object's slots. The ones here take a value of the right type as it is, and fill a draft: an object
with the same slots and no lock, which then becomes an object of the class. That takes a third of the time. For every
other value they call cattrs' hook.

An object with a value that doesn't fit is read once more, field by field (`build_field_by_field`): an optional field
has its default then, or of a list the elements that do fit, and the value as it came is in `extra`; a required one is
an error that says where.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ..limits import MAX_AMOUNT, refuse_deep
from ..type_guards import is_array, is_object
from .mismatches import FAILURES, MOST, Mismatch, inside

Hook = Callable[[Any, Any], Any]

MOST_ODD_ELEMENTS = 100
"""Elements that a list may lose. One with more isn't the list that was expected, and each takes its time."""


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
        default: makes the value of a field that is absent or null; without it, that is None.
        element: of a list, cattrs' way to an element, and the element's type.
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
    element: tuple[Hook, Any] | None


def builder(cls: type, slots: Sequence[Slot]) -> Hook:
    """A function from a JSON object to a `cls`, with everything unknown, and what fits no optional field, in `extra`.

    It raises a `Misfit` when the object doesn't fit.
    """
    known = frozenset(slot.wire for slot in slots)
    names: dict[str, Any] = {
        "cls": cls,
        "draft": _draft_of(cls),
        "new": object.__new__,
        "unknown": functools.partial(_unknown, known),
        "knows_all_of": known.issuperset,
        "checked": functools.partial(_checked, cls),
        "field_by_field": functools.partial(build_field_by_field, cls, slots, known),
        "failures": FAILURES,
        "most": MAX_AMOUNT,
        "least": -MAX_AMOUNT,
    }
    lines: list[str] = []
    for i, slot in enumerate(slots):
        names |= {f"hook{i}": slot.hook, f"kind{i}": slot.kind, f"as_is{i}": slot.as_is}
        names |= {f"default{i}": slot.default, f"all_of{i}": slot.members and slot.members.issuperset}
        lines += _value(i, slot)
    attempt = [
        "get = data.get",
        *lines,
        "model = new(draft)",
        *(f"model.{slot.name} = value{i}" for i, slot in enumerate(slots)),
        "model._extra = None if knows_all_of(data) else unknown(data)",
        "model.__class__ = cls",
        "return model",
    ]
    source = "\n    ".join(
        [
            "def build(data, _):",
            "if type(data) is not dict:",
            "    data = checked(data)",
            "    if type(data) is not dict: return data",
            "try:",
            *(f"    {line}" for line in attempt),
            "except failures: return field_by_field(data)",
        ]
    )
    exec(compile(source, f"<builder of {cls.__qualname__}>", "exec"), names)  # noqa: S102 - our own text, nobody's data
    build: Hook = names["build"]
    return build


def _value(i: int, slot: Slot) -> list[str]:
    """Lines that put the field's value into a variable."""
    value = f"value{i}"
    needs_hook = [f"{value} is not None"] if slot.optional and (slot.required or slot.default is None) else []
    if slot.as_is is not None:
        held = f"{value}.values()" if slot.as_is is dict else value
        otherwise = f" or not all_of{i}(map(type, {held}))" if slot.members else ""
        if slot.as_is is int:
            otherwise = f" or not least < {value} < most"
        needs_hook.append(f"(type({value}) is not as_is{i}{otherwise})")
    convert = f"{value} = hook{i}({value}, kind{i})"
    mend = f"if {' and '.join(needs_hook)}: {convert}" if needs_hook else convert
    if slot.required:
        return [f"{value} = data[{slot.wire!r}]", mend]
    if slot.default is None:
        return [f"{value} = get({slot.wire!r})", mend if slot.optional else f"if {value} is not None: {convert}"]
    return [
        f"{value} = get({slot.wire!r})",
        f"if {value} is None: {value} = default{i}()",
        f"el{mend}" if mend.startswith("if") else f"else: {mend}",
    ]


def build_field_by_field(cls: type, slots: Sequence[Slot], known: frozenset[str], data: dict[str, Any]) -> Any:
    """The same once more for an object that does not fit as it is, at no hurry."""
    found: dict[str, Any] = {}
    odd: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    for slot in slots:
        value = data.get(slot.wire)
        if slot.required and slot.wire not in data:
            problems.append((f".{slot.wire}", "required field missing"))
        elif value is None and (slot.optional or not slot.required):
            found[slot.name] = None if slot.required else _default(slot)
        else:
            try:
                found[slot.name] = slot.hook(value, slot.kind)
            except FAILURES as error:
                if slot.required:
                    problems += inside(f".{slot.wire}", error)
                found[slot.name], odd[slot.wire] = _what_fits(slot, value), value
        if len(problems) >= MOST:
            break
    if problems:
        raise Mismatch(problems[:MOST])
    refuse_deep(odd)
    return cls(**found, extra={**_unknown(known, data), **odd})


def _default(slot: Slot) -> Any:
    return None if slot.default is None else slot.default()


def _what_fits(slot: Slot, value: Any) -> Any:
    """Of a list, its elements that do, unless it is full of others; else the field's default."""
    if slot.required or slot.element is None or not is_array(value):
        return _default(slot)
    hook, kind = slot.element
    fitting: list[Any] = []
    for i, one in enumerate(value):
        try:
            fitting.append(hook(one, kind))
        except FAILURES:
            if i - len(fitting) >= MOST_ODD_ELEMENTS:
                return _default(slot)
    return fitting


def _unknown(known: frozenset[str], data: dict[str, Any]) -> dict[str, Any]:
    unknown = {name: value for name, value in data.items() if name not in known}
    refuse_deep(unknown)
    return unknown


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
