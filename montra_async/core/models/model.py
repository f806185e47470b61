"""JSON values <-> attrs models: numbers exact, moments UTC, nothing unknown lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs

from ..limits import TOO_DEEP, is_too_deep
from ..type_guards import is_array, is_object
from .builder import Hook, Slot, builder
from .converters import SCALARS, to_anything, to_count, to_flag, to_moment, to_money, to_object, to_quantity, to_text
from .datetimes import format_datetime
from .json import dump_kept
from .mismatches import FAILURES, Mismatch, first_mismatches, inside

T = TypeVar("T")
M = TypeVar("M", bound="Model")


class SerdeError(ValueError):
    """The JSON does not fit the model; the text says where."""


def wire(name: str) -> dict[str, str]:
    """Metadata of a field whose name on the wire differs from the Python one."""
    return {"wire": name}


def _or_none(extra: dict[str, Any] | None) -> dict[str, Any] | None:
    return extra or None


# attrs copies this annotation to the constructor of every model. As text it would need `Any` in the model's module.
_or_none.__annotations__["extra"] = dict[str, Any] | None


@attrs.frozen(kw_only=True)
class Model:
    """Base of everything the services answer: immutable, with room for what this SDK does not know yet."""

    # Nearly always there is nothing extra, and 10,000 empty dicts are a burden to the garbage collector.
    _extra: dict[str, Any] | None = attrs.field(default=None, alias="extra", converter=_or_none, repr=False, hash=False)

    @property
    def extra(self) -> dict[str, Any]:
        """Fields that came with the object and have no attribute here. Numbers with a fraction are `Decimal`.

        Also those whose value is not what the attribute can hold: the attribute has its default then (of a list, the
        elements that can be read), and the value as it came is here, under its name on the wire.
        """
        return {} if self._extra is None else self._extra

    @classmethod
    def from_dict(cls: type[M], data: Mapping[str, Any]) -> M:
        """Build one from a dict of wire fields, e.g. what `to_dict` gave.

        Raises:
            ValueError: a required field is missing, or its value can't be what it should be.
        """
        own = dict(data)
        if is_too_deep(own):
            raise SerdeError(TOO_DEEP)
        return structure(_copied(own), cls)

    def to_dict(self) -> dict[str, Any]:
        """The object as the wire had it: wire names, everything in `extra` included, None fields left out.

        Money stays `Decimal`, moments become ISO 8601 text.
        """
        found = {
            name: _unstructure(value)
            for name, value in ((wire_name(field), getattr(self, field.name)) for field in _own_fields(type(self)))
            if value is not None
        }
        return {**found, **self.extra}

    def to_json(self) -> str:
        """`to_dict` as JSON text with every digit kept."""
        return dump_kept(self.to_dict())


def _own_fields(cls: type) -> list[attrs.Attribute[Any]]:
    return [field for field in attrs.fields(cls) if field.name != "_extra"]


def wire_name(field: attrs.Attribute[Any]) -> str:
    name: str = field.metadata.get("wire", field.name)
    return name


def _copied(value: Any) -> Any:
    """Somebody else's JSON, to be taken over."""
    if is_object(value):
        return {key: _copied(one) for key, one in value.items()}
    if is_array(value):
        return [_copied(one) for one in value]
    return value


def _unstructure(value: Any) -> Any:
    if isinstance(value, Model):
        return value.to_dict()
    if is_array(value):
        return [_unstructure(one) for one in value]
    if isinstance(value, datetime):
        return format_datetime(value)
    return value


def structure(data: Any, kind: type[T]) -> T:
    """`data` as a `kind` (a model, or `list[model]`). Takes `data` over: parts of it become parts of the result.

    A value that doesn't fit an optional field costs only that field, see `Model.extra`.

    Raises:
        SerdeError: it doesn't fit; the message gives the path of the first misfits.
    """
    try:
        made: T = _hook_of(kind)(data, kind)
        return made
    except FAILURES as error:
        raise SerdeError(str(Mismatch(inside(getattr(kind, "__name__", "list"), error)))) from None


def _is_open_enum(kind: Any) -> bool:
    """`Literal["active", ...] | str`: known values for editors, anything at run time."""
    return get_origin(kind) is Union and any(get_origin(one) is Literal for one in get_args(kind))


def _is_quantity(kind: Any) -> bool:
    return set(get_args(kind)) == {int, float}


def _builder_hook(converter: cattrs.Converter) -> Callable[[type[Model]], Hook]:
    def make(cls: type[Model]) -> Hook:
        attrs.resolve_types(cls)
        return builder(cls, [_slot(field, converter) for field in _own_fields(cls)])

    return make


def _slot(field: attrs.Attribute[Any], converter: cattrs.Converter) -> Slot:
    optional = _is_optional(field.type)
    kind = _without_none(field.type) if optional else field.type
    as_is, members = _as_is(kind)
    element = get_args(kind)[0] if _is_list(kind) else None
    return Slot(
        name=field.name,
        wire=wire_name(field),
        kind=kind,
        optional=optional,
        as_is=as_is,
        members=members,
        hook=converter.get_structure_hook(kind),
        required=field.default is attrs.NOTHING,
        default=_default(field),
        element=None if element is None else (converter.get_structure_hook(element), element),
    )


def _as_is(kind: Any) -> tuple[type | None, frozenset[type] | None]:
    """The type of values, and of what they hold, that are right as they come."""
    if _is_open_enum(kind):
        return str, None
    if _is_object(kind):
        return dict, SCALARS
    if _is_list(kind) and get_args(kind) == (str,):
        return list, frozenset({str})
    return (kind if kind in (str, int, bool) else None), None


def _default(field: attrs.Attribute[Any]) -> Callable[[], Any] | None:
    given: Any = field.default
    if given is None or given is attrs.NOTHING:
        return None
    return given.factory if hasattr(given, "factory") else lambda: given


def _is_optional(kind: Any) -> bool:
    args = get_args(kind)
    return get_origin(kind) is not Literal and len(args) > 1 and type(None) in args


def _optional_hook(converter: cattrs.Converter) -> Callable[[Any], Callable[[Any, Any], Any]]:
    def make(kind: Any) -> Callable[[Any, Any], Any]:
        inner = _without_none(kind)
        hook = converter.get_structure_hook(inner)
        return lambda value, _: None if value is None else hook(value, inner)

    return make


def _without_none(kind: Any) -> Any:
    rest = tuple(one for one in get_args(kind) if one is not type(None))
    return rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007 - built at run time


def _list_hook(converter: cattrs.Converter) -> Callable[[Any], Hook]:
    """Leaves the array as it is: when an element doesn't fit, `extra` gets it."""

    def make(kind: Any) -> Hook:
        (inner,) = get_args(kind)
        hook = converter.get_structure_hook(inner)

        def structure_list(value: Any, _: Any) -> Any:
            found = _array(value)
            try:
                return [hook(one, inner) for one in found]
            except FAILURES:
                raise first_mismatches(found, lambda one: hook(one, inner)) from None

        return structure_list

    return make


def _list_in_place(kind: Any) -> Hook:
    """For the list that is a whole answer: what was read is freed while the rest is still being built."""
    (inner,) = get_args(kind)
    hook = _converter.get_structure_hook(inner)

    def structure_list(value: Any, _: Any) -> Any:
        found = _array(value)
        try:
            for i, one in enumerate(found):
                found[i] = hook(one, inner)
        except FAILURES:
            raise first_mismatches(found, lambda one: hook(one, inner)) from None
        return found

    return structure_list


def _array(value: Any) -> list[Any]:
    if not is_array(value):
        raise ValueError(f"an array was expected, not {type(value).__name__}")
    return value


def _is_object(kind: Any) -> bool:
    return get_origin(kind) is dict


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def _is_any(kind: Any) -> bool:
    return kind is Any


def _made() -> cattrs.Converter:
    made = cattrs.Converter(detailed_validation=False)
    made.register_structure_hook(str, to_text)
    made.register_structure_hook(Decimal, to_money)
    made.register_structure_hook(int, to_count)
    made.register_structure_hook(bool, to_flag)
    made.register_structure_hook(datetime, to_moment)
    made.register_structure_hook_func(_is_any, to_anything)
    made.register_structure_hook_func(_is_object, to_object)
    made.register_structure_hook_func(_is_quantity, to_quantity)
    made.register_structure_hook_func(_is_open_enum, to_text)
    made.register_structure_hook_factory(_is_optional, _optional_hook(made))
    made.register_structure_hook_factory(_is_list, _list_hook(made))
    made.register_structure_hook_factory(_is_model, _builder_hook(made))
    return made


_converter = _made()


def _structure_hook(kind: Any) -> Hook:
    return _list_in_place(kind) if _is_list(kind) else _converter.get_structure_hook(kind)


_hook_of: Callable[[Any], Hook] = cache(_structure_hook)
