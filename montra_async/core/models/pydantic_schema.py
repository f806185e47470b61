"""Models in pydantic, and so in FastAPI: what pydantic asks a class for. Imported when pydantic asks, and only then.

A model is validated by `from_dict` and serialized by `to_dict`. pydantic's own schema of the fields serves the JSON
schema alone, as which OpenAPI shows the model.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from ..type_guards import is_mapping
from .builder import wire_name

if TYPE_CHECKING:
    from .model import Model

_ATTRIBUTE = re.compile(r"^    (\w+): (.+(?:\n {8,}.+)*)", re.MULTILINE)


def core_schema_of(cls: type[Model], handler: Any) -> Any:
    """The core schema of a model.

    Args:
        cls: the model.
        handler: pydantic's `GetCoreSchemaHandler`.
    """
    from pydantic_core import core_schema

    attrs.resolve_types(cls)
    fields: dict[str, Any] = {}
    for field in attrs.fields(cls):
        if field.name != "_extra":
            required = field.default is attrs.NOTHING and not _may_be_none(field.type)
            fields[wire_name(field)] = core_schema.typed_dict_field(
                handler.generate_schema(field.type), required=required
            )

    def validate(value: Any, _: Any) -> Any:
        return _validated(cls, value)

    validate.__name__ = validate.__qualname__ = cls.__name__  # errors show it
    return core_schema.no_info_wrap_validator_function(
        validate,
        core_schema.typed_dict_schema(fields, extra_behavior="allow"),
        ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
        # pydantic goes through what this gives to it: that is how `include`, `exclude` and the like reach the fields.
        serialization=core_schema.wrap_serializer_function_ser_schema(_serialized, schema=core_schema.any_schema()),
    )


def json_schema_of(cls: type[Model], schema: Any, handler: Any) -> Any:
    """The JSON schema of a model: with its name, and with the descriptions of its docstring.

    Args:
        cls: the model.
        schema: its core schema.
        handler: pydantic's `GetJsonSchemaHandler`.
    """
    made = handler(schema)
    described = handler.resolve_ref_schema(made)
    summary, texts = descriptions(cls)
    described["title"] = cls.__name__
    described["description"] = summary
    names = {wire_name(field): field.name for field in attrs.fields(cls)}
    for name, part in described.get("properties", {}).items():
        text = texts.get(names.get(name, name))
        if text is not None and "$ref" not in part:
            part["description"] = text
    return made


def descriptions(cls: type) -> tuple[str, dict[str, str]]:
    """The summary of a class, and the description of each of its attributes, from its docstring."""
    text = inspect.cleandoc(cls.__doc__ or "")
    summary, _, rest = text.partition("\n")
    attributes = rest.partition("Attributes:\n")[2]
    return summary, {name: " ".join(words.split()) for name, words in _ATTRIBUTE.findall(attributes)}


def _validated(cls: type[Model], value: Any) -> Any:
    if isinstance(value, cls):
        return value
    if not is_mapping(value):
        raise ValueError(f"a {cls.__name__} or its JSON object was expected, not {type(value).__name__}")
    return cls.from_dict(value)


def _serialized(value: Any, serialize: Callable[[Any], Any]) -> Any:
    return serialize(value.to_dict())


def _may_be_none(kind: Any) -> bool:
    return type(None) in getattr(kind, "__args__", ())
