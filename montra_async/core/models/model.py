"""JSON values <-> attrs models: numbers are exact, datetimes are UTC, unknown fields are kept."""

# No `from __future__ import annotations` here: attrs copies the annotation of `extra` to constructors of subclasses,
# and their modules need not import its names.

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs

from ..limits import TOO_DEEP, is_too_deep
from ..type_guards import is_array, is_mapping, is_object
from .builder import Hook, Slot, builder, refuse_unsupported, wire_name
from .converters import SCALARS, to_anything, to_count, to_datetime, to_flag, to_money, to_object, to_quantity, to_text
from .datetimes import format_datetime
from .json import dump_kept
from .mismatches import FAILURES, Mismatch, first_mismatches, inside

T = TypeVar("T")
M = TypeVar("M", bound="Model")


class SerdeError(ValueError):
    """The JSON does not fit the model. The message has the paths of the first mismatches."""


def wire(name: str) -> dict[str, str]:
    """Metadata of a field whose name in JSON differs from its Python name."""
    return {"wire": name}


def _or_none(extra: dict[str, Any] | None) -> dict[str, Any] | None:
    return extra or None


# attrs copies them into the `__init__` of every model, in whose module their names may be unknown.
_or_none.__annotations__ = get_type_hints(_or_none)


class HashedByValue:
    """Base of attrs classes whose objects are hashed by the fields that are compared.

    Equal objects have equal hashes. A field whose value can't be hashed (a list or dict) does not contribute to the
    hash, so every object can be a dictionary key or a member of a set.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # Before attrs decorates the class: it keeps a `__hash__` that exists.
        cls.__hash__ = HashedByValue.__hash__  # type: ignore[method-assign]

    def __hash__(self) -> int:
        return hash((type(self), *(_hash_of(getattr(self, name)) for name in _compared_fields(type(self)))))


def _find_compared_fields(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls) if field.eq)


_compared_fields: Callable[[Any], tuple[str, ...]] = cache(_find_compared_fields)


def _hash_of(value: Any) -> int:
    try:
        return hash(value)
    except TypeError:
        return 0


@attrs.frozen(kw_only=True)
class Model(HashedByValue):
    """Base of all objects that the services return. Models are immutable, compared and hashed by value.

    Equal models have equal hashes. Lists, dicts and `extra` are compared, but do not contribute to the hash, so every
    model can be a dictionary key or a member of a set.

    Attributes:
        extra: fields that the SDK does not know.
    """

    # Most objects have no unknown fields, and 10,000 empty dicts are work for the garbage collector.
    _extra: dict[str, Any] | None = attrs.field(default=None, alias="extra", converter=_or_none, repr=False)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__attrs_attrs__" in cls.__dict__:  # attrs replaces the class that was written by one with slots
            refuse_unsupported(cls)

    @property
    def extra(self) -> dict[str, Any]:
        """Fields of the JSON object that the SDK does not know, by their names in JSON. Fractions are `Decimal`.

        It also has the original value of every known field whose value did not fit. The attribute then has its
        default, or of a list the elements that fit.
        """
        return {} if self._extra is None else self._extra

    @classmethod
    def from_dict(cls: type[M], data: Mapping[str, Any]) -> M:
        """Build a model from a JSON object, e.g. from the result of `to_dict`.

        Args:
            data: the fields by their names in JSON. It is copied.

        Raises:
            ValueError: a required field is missing or has a value that does not fit.
        """
        if not is_mapping(data):
            raise SerdeError(f"a JSON object was expected, not {type(data).__name__}")
        own = dict(data)
        if is_too_deep(own):
            raise SerdeError(TOO_DEEP)
        return structure(_copied(own), cls)

    def to_dict(self) -> dict[str, Any]:
        """The model as a JSON object: names as in JSON, with the fields of `extra`, without fields that are None.

        Amounts stay `Decimal`; datetimes become ISO 8601 strings. `json_default` helps other JSON libraries with them.
        """
        found = {
            name: _unstructure(value)
            for name, value in ((wire_name(field), getattr(self, field.name)) for field in _own_fields(type(self)))
            if value is not None
        }
        return {**found, **self.extra}

    def to_json(self) -> str:
        """`to_dict` as JSON text. Numbers keep all their digits."""
        return dump_kept(self.to_dict())

    def _repr_html_(self) -> str:
        from .html import model_table

        return model_table(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from .pydantic_schema import core_schema_of  # pydantic asks, so it is there

        return core_schema_of(cls, handler)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        from .pydantic_schema import json_schema_of

        return json_schema_of(cls, schema, handler)


def _own_fields(cls: type) -> "list[attrs.Attribute[Any]]":
    return [field for field in attrs.fields(cls) if field.name != "_extra"]


def _copied(value: Any) -> Any:
    """A copy of JSON that belongs to the caller."""
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
    """Build a model, or a list of models, from JSON. Parts of `data` become parts of the result.

    A value that does not fit an optional field is in `extra`, see `Model.extra`.

    Args:
        data: a JSON value, as `loads` returns it. The caller must not use it afterwards.
        kind: a model class, or `list[model class]`.

    Raises:
        SerdeError: a required field does not fit. The message has the paths of the first mismatches.
    """
    hook = _hook_of(kind)
    try:
        made: T = hook(data, kind)
        return made
    except FAILURES as error:
        raise SerdeError(str(Mismatch(inside(getattr(kind, "__name__", "list"), error)))) from None


def _is_open_enum(kind: Any) -> bool:
    """`Literal["active", ...] | str`: editors suggest the known values; any string is accepted at run time."""
    return get_origin(kind) is Union and any(get_origin(one) is Literal for one in get_args(kind))


def _is_quantity(kind: Any) -> bool:
    return set(get_args(kind)) == {int, float}


def _builder_hook(converter: cattrs.Converter) -> Callable[[type[Model]], Hook]:
    def make(cls: type[Model]) -> Hook:
        attrs.resolve_types(cls)
        return builder(cls, [_slot(field, converter) for field in _own_fields(cls)])

    return make


def _slot(field: "attrs.Attribute[Any]", converter: cattrs.Converter) -> Slot:
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
    """The type of values, and the types of their members, that need no conversion."""
    if _is_open_enum(kind):
        return str, None
    if _is_object(kind):
        return dict, SCALARS
    if _is_list(kind) and get_args(kind) == (str,):
        return list, frozenset({str})
    return (kind if kind in (str, int, bool) else None), None


def _default(field: "attrs.Attribute[Any]") -> Callable[[], Any] | None:
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
    """Builds a new list: when an element does not fit, `extra` has the original one."""

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
    """For a list that is a whole response: frees each JSON object as soon as its model is built."""
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
    made.register_structure_hook(datetime, to_datetime)
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
