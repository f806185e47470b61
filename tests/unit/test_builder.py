"""A generated builder does what the constructor does; a class for which it would not is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given, strategies as st

from montra_async import Customer, Model
from montra_async.core.models.builder import builder, refuse_unsupported
from montra_async.core.models.datetimes import format_datetime
from montra_async.core.models.model import structure, wire


@attrs.frozen(kw_only=True)
class Part(Model):
    key: str
    value: Decimal = Decimal(0)


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
amounts = st.decimals(-(10**20), 10**20, places=6)
datetimes = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(timezone.utc)).map(
    lambda value: value.replace(fold=0)
)
parts = st.builds(lambda key, value: Part(key=key, value=value), st.text(max_size=5), amounts)

KINDS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=5),
    int: st.integers(-(10**60), 10**60),
    bool: st.booleans(),
    Decimal: amounts,
    datetime: datetimes,
    int | float: st.integers(-(10**9), 10**9) | st.sampled_from([0.5, -2.25, 1e-6]),
    Literal["a", "b"] | str: st.sampled_from(["a", "b", "new"]),
    dict[str, Any]: st.dictionaries(st.text(max_size=3), plain_json, max_size=2),
    list[str]: st.lists(st.text(max_size=3), max_size=3),
    list[Part]: st.lists(parts, max_size=2),
    list[Decimal]: st.lists(amounts, max_size=2),
    Part: parts,
    Any: plain_json,
}
"""The types that fields may have, and values of them."""


@attrs.frozen
class Case:
    """A field of a random model: its type, its default, and the value that is given, if any."""

    kind: Any
    optional: bool
    default: Any
    renamed: bool
    given: Any


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(list(KINDS)))
    optional = draw(st.booleans())
    values = KINDS[kind] | st.none() if optional else KINDS[kind]
    default: Any = attrs.NOTHING
    if draw(st.booleans()):
        value = draw(values)
        default = attrs.Factory(lambda: value) if isinstance(value, (list, dict)) else value
    given: Any = attrs.NOTHING
    if default is attrs.NOTHING or draw(st.booleans()):
        # For a field with a default, null means that the field is absent.
        given = draw(values if default is attrs.NOTHING else KINDS[kind].filter(lambda one: one is not None))
    return Case(kind, optional, default, draw(st.booleans()), given)


def _model(fields: list[Case], base: type[Model] = Model, prefix: str = "f") -> type[Model]:
    return attrs.make_class(
        "Random",
        {
            f"{prefix}{i}": attrs.field(
                default=one.default,
                type=one.kind | None if one.optional and one.kind is not Any else one.kind,
                metadata=wire(f"{prefix}Wire{i}") if one.renamed else {},
            )
            for i, one in enumerate(fields)
        },
        bases=(base,),
        frozen=True,
        slots=True,
        kw_only=True,
    )


def _arguments(fields: list[Case], prefix: str = "f") -> tuple[dict[str, Any], dict[str, Any]]:
    """What the constructor and what the builder are given."""
    given = [(i, one) for i, one in enumerate(fields) if one.given is not attrs.NOTHING]
    arguments = {f"{prefix}{i}": one.given for i, one in given}
    json = {f"{prefix}Wire{i}" if one.renamed else f"{prefix}{i}": _as_json(one.given) for i, one in given}
    return arguments, json


def _as_json(value: Any) -> Any:
    if isinstance(value, Model):
        return value.to_dict()
    if isinstance(value, datetime):
        return format_datetime(value)
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    return value


def _shown(model: Model) -> tuple[str, Any, int]:
    """Everything that can be seen of a model, with the types of its values."""
    return repr(model), model.to_dict(), hash(model)


@given(fields=st.lists(cases(), max_size=6), inherited=st.lists(cases(), max_size=3), unknown=st.booleans())
def test_builder_and_constructor_agree(fields: list[Case], inherited: list[Case], unknown: bool) -> None:
    model = _model(fields, _model(inherited, prefix="b"))
    arguments, json = (one | other for one, other in zip(_arguments(fields), _arguments(inherited, "b"), strict=True))
    extra: dict[str, Any] = {"unknown": [1, "x"]} if unknown else {}
    built = structure({**json, **extra}, model)
    constructed = model(**arguments, extra=extra)
    assert built == constructed
    assert _shown(built) == _shown(constructed)
    assert type(built) is model


def test_every_kind_of_field_is_built() -> None:
    fields = [Case(kind, False, attrs.NOTHING, False, None) for kind in KINDS]
    values = [{}, [], [], [], Part(key="k"), None]
    given = ["s", 1, True, Decimal("1.5"), datetime(2026, 1, 1, tzinfo=timezone.utc), 2.5, "a", *values]
    arguments, json = _arguments([attrs.evolve(one, given=value) for one, value in zip(fields, given, strict=True)])
    model = _model(fields)
    assert structure(json, model) == model(**arguments)


def test_a_built_model_is_frozen() -> None:
    built = structure({"key": "k", "value": 1}, Part)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        built.key = "other"  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del built.key


def test_properties_and_cached_properties_work() -> None:
    @attrs.frozen(kw_only=True)
    class Cached(Model):
        id: str

        @property
        def lower(self) -> str:
            return self.id.lower()

        @functools.cached_property
        def upper(self) -> list[str]:
            return [self.id.upper()]

    built = structure({"id": "a"}, Cached)
    assert (built.lower, built.upper) == ("a", ["A"])
    assert built.upper is built.upper


# Classes that are refused


def _converter() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str = attrs.field(converter=str.upper)


def _validator() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str = attrs.field(validator=attrs.validators.min_len(1))


def _eq_key() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str = attrs.field(eq=str.lower)


def _not_compared() -> None:
    @attrs.frozen(kw_only=True, eq=False)
    class Refused(Model):
        id: str


def _validator_method() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        name: str = attrs.field()

        @name.validator
        def _check(self, _: Any, value: str) -> None:
            raise ValueError(value)


def _post_init() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str

        def __attrs_post_init__(self) -> None:
            raise ValueError


def _pre_init() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str

        def __attrs_pre_init__(self) -> None:
            raise ValueError


def _own_init() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str

        def __init__(self, value: str) -> None:
            self.__attrs_init__(id=value.upper())  # type: ignore[attr-defined]


def _own_new() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str

        def __new__(cls, **fields: Any) -> Any:
            return object.__new__(cls)


def _alias() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str = attrs.field(alias="identifier")


def _private_field() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        _id: str


def _init_false() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str = attrs.field(init=False, default="x")


def _default_from_self() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str
        name: str = attrs.field()

        @name.default
        def _name(self) -> str:
            return self.id


def _factory_from_self() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str
        name: str = attrs.field(default=attrs.Factory(lambda self: self.id, takes_self=True))


def _on_setattr() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str = attrs.field(on_setattr=attrs.setters.validate)


def _own_setattr() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str

        def __setattr__(self, name: str, value: Any) -> None:
            raise ValueError


def _same_json_name() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        id: str
        other: str = attrs.field(metadata=wire("id"))


def _other_extra() -> None:
    @attrs.frozen(kw_only=True)
    class Refused(Model):
        _extra: dict[str, Any] | None = attrs.field(default=None, alias="extra")


def _field_of_a_mixin() -> None:
    @attrs.frozen(kw_only=True, slots=False)
    class Mixin:
        id: str = attrs.field(converter=str.upper)

    @attrs.frozen(kw_only=True)
    class Refused(Mixin, Model):
        pass


def _hook_of_a_mixin() -> None:
    class Mixin:
        __slots__ = ()

        def __attrs_post_init__(self) -> None:
            raise ValueError

    @attrs.frozen(kw_only=True)
    class Refused(Mixin, Model):
        id: str


REFUSED = [
    *(_converter, _validator, _validator_method, _post_init, _pre_init, _own_init, _own_new, _alias, _private_field),
    *(_init_false, _default_from_self, _factory_from_self, _on_setattr, _own_setattr, _same_json_name, _other_extra),
    *(_field_of_a_mixin, _hook_of_a_mixin, _eq_key, _not_compared),
]


@pytest.mark.parametrize("define", REFUSED, ids=lambda define: define.__name__.strip("_"))
def test_what_a_builder_would_skip_is_refused_when_the_class_is_created(define: Callable[[], None]) -> None:
    # attrs itself refuses setters of frozen classes, with a ValueError.
    with pytest.raises((TypeError, ValueError), match=r"Refused|[Ff]r(ozen|eeze)"):
        define()


def test_a_class_without_slots_is_refused_when_it_is_used() -> None:
    @attrs.frozen(kw_only=True, slots=False)
    class Refused(Model):
        id: str

    with pytest.raises(TypeError, match="no slots"):
        structure({"id": "x"}, Refused)
    with pytest.raises(TypeError, match="no slots"):
        structure([{"id": "x"}], list[Refused])


def test_a_subclass_that_is_not_decorated_is_refused_when_it_is_used() -> None:
    class Refused(Customer):
        pass

    with pytest.raises(TypeError, match="not decorated"):
        Refused.from_dict({"id": "x", "email": "e"})


def test_a_builder_checks_its_class_itself() -> None:
    @attrs.define
    class Settable:
        id: str = attrs.field(on_setattr=attrs.setters.validate)

    for check in (refuse_unsupported, lambda cls: builder(cls, [])):
        with pytest.raises(TypeError, match=r"Settable\.id has on_setattr"):
            check(Settable)
