"""JSON values <-> attrs models: numbers exact, moments UTC, nothing unknown lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from .builders import Hook, Slot, builder
from .jsontext import dumps
from .moments import format_moment
from .shapes import is_array, is_object
from .values import SCALARS, to_count, to_flag, to_moment, to_money, to_object, to_quantity, to_text

T = TypeVar("T")
M = TypeVar("M", bound="Model")


class SerdeError(ValueError):
    """The JSON does not fit the model; the text says where."""


def wire(name: str) -> dict[str, str]:
    """Metadata of a field whose name on the wire differs from the Python one."""
    return {"wire": name}


def _or_none(extra: dict[str, Any] | None) -> dict[str, Any] | None:
    return extra or None


@attrs.frozen(kw_only=True)
class Model:
    """Base of everything the services answer: immutable, with room for what this SDK does not know yet."""

    # Nearly always there is nothing extra, and 10,000 empty dicts are a burden to the garbage collector.
    _extra: dict[str, Any] | None = attrs.field(default=None, alias="extra", converter=_or_none, repr=False, hash=False)

    @property
    def extra(self) -> dict[str, Any]:
        """Fields that came with the object and have no attribute here. Numbers with a fraction are `Decimal`."""
        return {} if self._extra is None else self._extra

    @classmethod
    def from_dict(cls: type[M], data: Mapping[str, Any]) -> M:
        """Build one from a dict of wire fields, e.g. what `to_dict` gave.

        Raises:
            ValueError: a required field is missing, or a value can't be what it should be.
        """
        return structure(_copied(dict(data)), cls)

    def to_dict(self) -> dict[str, Any]:
        """The object as the wire had it: wire names, unknown fields included, None fields left out.

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
        return dumps(self.to_dict()).decode()


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
        return format_moment(value)
    return value


def structure(data: Any, kind: type[T]) -> T:
    """`data` as a `kind` (a model, or `list[model]`). Takes `data` over: parts of it become parts of the result.

    Raises:
        SerdeError: it doesn't fit; the message gives the path of every misfit.
    """
    try:
        made: T = _fast_hook(kind)(data, kind)
        return made
    except Exception:
        return _explain(data, kind)


def _explain(data: Any, kind: type[T]) -> T:
    try:
        return _exact().structure(data, kind)
    except Exception as error:
        problems = "; ".join(cattrs.transform_error(error, path=getattr(kind, "__name__", "list"))[:3])
        raise SerdeError(problems) from None


def _is_open_enum(kind: Any) -> bool:
    """`Literal["active", ...] | str`: known values for editors, anything at run time."""
    return get_origin(kind) is Union and any(get_origin(one) is Literal for one in get_args(kind))


def _is_quantity(kind: Any) -> bool:
    return set(get_args(kind)) == {int, float}


def _model_hook(converter: cattrs.Converter) -> Callable[[type[Model]], Callable[[Any, Any], Any]]:
    def make(cls: type[Model]) -> Callable[[Any, Any], Any]:
        fields = _own_fields(cls)
        known = frozenset(wire_name(field) for field in fields)
        names: dict[str, Any] = {
            field.name: override(rename=wire_name(field)) for field in fields if wire_name(field) != field.name
        }
        build: Callable[[Any, Any], Model] = make_dict_structure_fn(
            cls,
            converter,
            _cattrs_detailed_validation=converter.detailed_validation,
            _extra=override(omit=True),
            **names,
        )

        def structure_model(data: Any, kind: Any) -> Model:
            if isinstance(data, cls):
                return data
            if not is_object(data):
                raise ValueError(f"an object was expected, not {type(data).__name__}")
            extra = {name: data[name] for name in data if name not in known}
            return attrs.evolve(build(data, kind), extra=extra)

        return structure_model

    return make


def _builder_hook(converter: cattrs.Converter) -> Callable[[type[Model]], Hook]:
    def make(cls: type[Model]) -> Hook:
        attrs.resolve_types(cls)
        return builder(cls, [_slot(field, converter) for field in _own_fields(cls)])

    return make


def _slot(field: attrs.Attribute[Any], converter: cattrs.Converter) -> Slot:
    optional = _is_optional(field.type)
    kind = _without_none(field.type) if optional else field.type
    as_is, members = _as_is(kind)
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


def _fast_list_hook(converter: cattrs.Converter) -> Callable[[Any], Hook]:
    def make(kind: Any) -> Hook:
        (inner,) = get_args(kind)
        hook = converter.get_structure_hook(inner)

        def structure_list(value: Any, _: Any) -> Any:
            found = _array(value)
            for i, one in enumerate(found):  # in place: what was read is freed while the rest is still being built
                found[i] = hook(one, inner)
            return found

        return structure_list

    return make


def _list_hook(converter: cattrs.Converter) -> Callable[[Any], Hook]:
    def make(kind: Any) -> Hook:
        build = list_structure_factory(kind, converter)
        return lambda value, of: build(_array(value), of)

    return make


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


def _converter(*, detailed: bool) -> cattrs.Converter:
    made = cattrs.Converter(detailed_validation=detailed)
    made.register_structure_hook(str, to_text)
    made.register_structure_hook(Decimal, to_money)
    made.register_structure_hook(int, to_count)
    made.register_structure_hook(bool, to_flag)
    made.register_structure_hook(datetime, to_moment)
    made.register_structure_hook_func(_is_object, to_object)
    made.register_structure_hook_func(_is_quantity, to_quantity)
    made.register_structure_hook_func(_is_open_enum, to_text)
    made.register_structure_hook_factory(_is_optional, _optional_hook(made))
    made.register_structure_hook_factory(_is_list, _list_hook(made) if detailed else _fast_list_hook(made))
    made.register_structure_hook_factory(_is_model, _model_hook(made) if detailed else _builder_hook(made))
    return made


_fast = _converter(detailed=False)
_fast_hook: Callable[[Any], Hook] = cache(_fast.get_structure_hook)


@cache
def _exact() -> cattrs.Converter:
    """Slower, and made only to say where the trouble is."""
    return _converter(detailed=True)
