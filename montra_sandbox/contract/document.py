"""Read an OpenAPI 3.1 document into operations that can be found and checked quickly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, cast
from urllib.parse import unquote

import attrs
import yaml
from jsonschema.protocols import Validator

from ..wire import is_array, is_object
from .validation import validator

_METHODS = ("get", "post", "patch", "put", "delete")


@attrs.frozen(kw_only=True)
class Operation:
    """One method of one path. What it does not have is not checked: a validator of None."""

    id: str
    method: str
    template: str
    path: re.Pattern[str]
    path_validator: Validator | None
    query_validator: Validator | None
    query_types: Mapping[str, str]
    headers_validator: Validator | None
    body: Validator | None
    body_required: bool
    multipart: bool
    responses: Mapping[str, Validator]


class Contract:
    """All operations of one document."""

    def __init__(self, name: str) -> None:
        text = resources.files("montra_sandbox.contract").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        self.document = _load(text)
        paths = _inline(self.document["paths"], self.document)
        self.operations = [
            _operation(template, method, item[method], item.get("parameters", []))
            for template, item in paths.items()
            for method in _METHODS
            if method in item
        ]
        self._fixed: dict[str, list[Operation]] = {}
        self._open: list[Operation] = []
        for one in self.operations:
            if "{" in one.template:
                self._open.append(one)
            else:
                self._fixed.setdefault(one.template, []).append(one)

    def at(self, raw_path: str) -> list[tuple[Operation, dict[str, str]]]:
        """The operations of a path (still escaped), each with its path parameters; empty when there is no such path."""
        if raw_path in self._fixed:
            return [(one, {}) for one in self._fixed[raw_path]]
        found: list[tuple[Operation, dict[str, str]]] = []
        for one in self._open:
            if match := one.path.fullmatch(raw_path):
                found.append((one, {name: unquote(value) for name, value in match.groupdict().items()}))
        return found


@cache
def read_contract(name: str) -> Contract:
    """The contract of a service, read once: parsing takes a good part of a second."""
    return Contract(name)


def _load(text: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return cast("dict[str, Any]", yaml.load(text, Loader=loader))  # noqa: S506 - both are safe loaders


def _inline(node: Any, document: Mapping[str, Any]) -> Any:
    """`node` with every reference replaced by what it points to; keys beside a reference are kept."""
    if is_array(node):
        return [_inline(one, document) for one in node]
    if not is_object(node):
        return node
    if "$ref" in node:
        target: Any = document
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return {**_inline(target, document), **_inline(rest, document)}
    return {key: _inline(value, document) for key, value in node.items()}


def _operation(template: str, method: str, operation: Any, shared: list[Any]) -> Operation:
    parameters = [*shared, *operation.get("parameters", [])]
    body = operation.get("requestBody", {})
    content = body.get("content", {})
    json_schema = content.get("application/json", {}).get("schema")
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        template=template,
        path=re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)),
        path_validator=_parameters("path", parameters),
        query_validator=_parameters("query", parameters),
        query_types={one["name"]: one["schema"].get("type", "string") for one in parameters if one["in"] == "query"},
        headers_validator=_parameters("header", parameters),
        body=None if json_schema is None else validator(json_schema),
        body_required=bool(body.get("required")),
        multipart="multipart/form-data" in content,
        responses={
            status: validator(answer["content"]["application/json"]["schema"])
            for status, answer in operation["responses"].items()
        },
    )


def _parameters(where: str, parameters: list[Any]) -> Validator | None:
    mine = [one for one in parameters if one["in"] == where]
    if not mine:
        return None
    return validator(
        {
            "type": "object",
            "properties": {one["name"]: one["schema"] for one in mine},
            "required": [one["name"] for one in mine if one.get("required")],
        }
    )
