"""Generated functions that build models from JSON objects: one per class, generated when the class is first needed.

A function that cattrs generates calls a hook for every value and then the class, whose `__init__` has to bypass the
lock on the slots of a frozen object. The functions here take a value that already has the right type as it is, and fill
a draft: an object with the same slots and without the lock, which then becomes an object of the class. This takes a
third of the time. For any other value they call the hook of cattrs.

A builder does not call the constructor, so it must do exactly what the constructor does. `refuse_unsupported` raises
for every feature of attrs that a builder would skip, such as validators and converters.

An object with a value that does not fit is built again field by field (`build_field_by_field`): an optional field then
has its default, or of a list the elements that fit, and `extra` has the original value; a required field is an error
with its path.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs

from ..limits import MAX_AMOUNT, refuse_deep
from ..type_guards import is_array, is_object
from .mismatches import FAILURES, MOST, Mismatch, inside

Hook: TypeAlias = Callable[[Any, Any], Any]
"""A function that builds a value from a JSON value and the type of the field."""

MAX_SKIPPED_ELEMENTS = 100
"""Elements of a list that may be skipped because they do not fit. With more, the field has its default: the value is
not the expected list, and each element takes time."""


@attrs.frozen
class Slot:
    """One field of a model.

    Attributes:
        name: name of the attribute.
        wire: name in JSON.
        kind: type of the field, without `None`.
        optional: whether None is a value of the field.
        as_is: a value of exactly this type needs no hook; None when every value needs it.
        members: with `as_is`, the types that the members of the value may have; None for any.
        hook: builds a `kind` from a JSON value.
        required: whether the field has no default.
        default: returns the default value; None when that is None.
        element: for a list, the hook and the type of its elements.
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


def wire_name(field: attrs.Attribute[Any]) -> str:
    """Name of a field in JSON."""
    name: str = field.metadata.get("wire", field.name)
    return name


def refuse_unsupported(cls: type) -> None:
    """Check that a builder of an attrs class does what its constructor does.

    Args:
        cls: a class that attrs has made.

    Raises:
        TypeError: the class has a feature that a builder would skip. The message names it.
    """
    own: Any = cls.__dict__
    if "__attrs_attrs__" not in own:
        raise TypeError(f"{cls.__qualname__} is not decorated with @attrs.frozen(kw_only=True)")
    if "__slots__" not in own:
        raise TypeError(f"{cls.__qualname__} has no slots: the builder fills them")
    for hook in ("__attrs_pre_init__", "__attrs_post_init__"):
        if hasattr(cls, hook):
            raise TypeError(f"{cls.__qualname__} has {hook}, which the builder does not call")
    if hasattr(cls, "__attrs_init__") or any("__new__" in vars(one) for one in cls.__mro__ if one is not object):
        raise TypeError(f"{cls.__qualname__} has its own __init__ or __new__, which the builder does not call")
    if "__eq__" not in own:
        raise TypeError(f"{cls.__qualname__} is not compared by its fields (eq=False)")
    names: set[str] = set()
    for field in attrs.fields(cls):
        problem = _problem_of(field, names)
        if problem is not None:
            raise TypeError(f"{cls.__qualname__}.{field.name} has {problem}, which the builder does not support")
        names.add(wire_name(field))


def _problem_of(field: attrs.Attribute[Any], names: set[str]) -> str | None:
    attribute: Any = field  # the type stubs of attrs lack `inherited`
    if field.name == "_extra" and attribute.inherited:  # the builder fills it as its converter does
        return None
    problems = {
        "init=False": not field.init,
        "a validator": field.validator is not None,
        "a converter": attribute.converter is not None,
        "eq with a key": attribute.eq_key is not None,
        "on_setattr": field.on_setattr is not None,
        "an alias": field.alias != field.name,
        "a default that depends on the instance": getattr(attribute.default, "takes_self", False),
        f"the JSON name {wire_name(field)!r} of another field": wire_name(field) in names,
    }
    return next((problem for problem, found in problems.items() if found), None)


def builder(cls: type, slots: Sequence[Slot]) -> Hook:
    """Generate the function that builds a `cls` from a JSON object.

    Unknown fields, and values that do not fit an optional field, are in `extra`. The function raises a `Mismatch` when
    a required field does not fit.

    Args:
        cls: a frozen attrs class with slots.
        slots: its fields, without `extra`.

    Raises:
        TypeError: see `refuse_unsupported`.
    """
    refuse_unsupported(cls)
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
        "maximum": MAX_AMOUNT,
        "minimum": -MAX_AMOUNT,
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
    exec(compile(source, f"<builder of {cls.__qualname__}>", "exec"), names)  # noqa: S102 - our own text, no input
    build: Hook = names["build"]
    return build


def _value(i: int, slot: Slot) -> list[str]:
    """Source lines that assign the value of the field to a variable."""
    value = f"value{i}"
    needs_hook = [f"{value} is not None"] if slot.optional and (slot.required or slot.default is None) else []
    if slot.as_is is not None:
        members = f"{value}.values()" if slot.as_is is dict else value
        otherwise = f" or not all_of{i}(map(type, {members}))" if slot.members else ""
        if slot.as_is is int:
            otherwise = f" or not minimum < {value} < maximum"
        needs_hook.append(f"(type({value}) is not as_is{i}{otherwise})")
    convert = f"{value} = hook{i}({value}, kind{i})"
    convert_if_needed = f"if {' and '.join(needs_hook)}: {convert}" if needs_hook else convert
    if slot.required:
        return [f"{value} = data[{slot.wire!r}]", convert_if_needed]
    if slot.default is None:
        return [
            f"{value} = get({slot.wire!r})",
            convert_if_needed if slot.optional else f"if {value} is not None: {convert}",
        ]
    return [
        f"{value} = get({slot.wire!r})",
        f"if {value} is None: {value} = default{i}()",
        f"el{convert_if_needed}" if convert_if_needed.startswith("if") else f"else: {convert_if_needed}",
    ]


def build_field_by_field(cls: type, slots: Sequence[Slot], known: frozenset[str], data: dict[str, Any]) -> Any:
    """Build an object that does not fit as a whole. Slower than the generated function."""
    found: dict[str, Any] = {}
    mismatched: dict[str, Any] = {}
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
                found[slot.name], mismatched[slot.wire] = _what_fits(slot, value), value
        if len(problems) >= MOST:
            break
    if problems:
        raise Mismatch(problems[:MOST])
    refuse_deep(mismatched)
    return cls(**found, extra={**_unknown(known, data), **mismatched})


def _default(slot: Slot) -> Any:
    return None if slot.default is None else slot.default()


def _what_fits(slot: Slot, value: Any) -> Any:
    """The elements of a list that fit, unless too many do not; for any other field its default."""
    if slot.required or slot.element is None or not is_array(value):
        return _default(slot)
    hook, kind = slot.element
    fitting: list[Any] = []
    for i, one in enumerate(value):
        try:
            fitting.append(hook(one, kind))
        except FAILURES:
            if i - len(fitting) >= MAX_SKIPPED_ELEMENTS:
                return _default(slot)
    return fitting


def _unknown(known: frozenset[str], data: dict[str, Any]) -> dict[str, Any]:
    unknown = {name: value for name, value in data.items() if name not in known}
    refuse_deep(unknown)
    return unknown


def _draft_of(cls: type) -> type:
    """A class with the same slots whose objects are not frozen."""
    own: Any = cls.__dict__
    unlocked = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(cls.__name__, cls.__bases__, {"__slots__": own["__slots__"], **unlocked})


def _checked(cls: type, data: Any) -> Any:
    """A `cls` as it is, or a subclass of dict as a dict."""
    if isinstance(data, cls):
        return data
    if not is_object(data):
        raise ValueError(f"an object was expected, not {type(data).__name__}")
    return dict(data)
