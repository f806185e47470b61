"""Compile an OpenAPI 3.1 document into operations that can be matched and validated quickly."""

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

from ..json import is_array, is_object
from .schema_validation import make_validator

_METHODS = ("get", "post", "patch", "put", "delete")


@attrs.frozen(kw_only=True)
class ContractOperation:
    """One method of one path. A validator of None accepts everything.

    Attributes:
        id: the `operationId`.
        method: the HTTP method, in upper case.
        template: the path with `{parameters}`.
        path: the template as a pattern for raw paths.
        path_validator: validates the path parameters.
        query_validator: validates the query parameters.
        query_types: the JSON type of each query parameter.
        headers_validator: validates the header parameters.
        body: validates the JSON body, or the text fields of a multipart body.
        body_required: whether a JSON body is required.
        multipart: whether the body may be multipart.
        responses: validators of the JSON response by status; `default` for all others.
    """

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
    """All operations of one document.

    Args:
        name: the name of the file in this package, without `.yaml`.

    Attributes:
        document: the parsed document.
        operations: its operations.
    """

    document: dict[str, Any]
    operations: list[ContractOperation]

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
        self._static: dict[str, list[ContractOperation]] = {}
        self._parametrized: list[ContractOperation] = []
        for operation in self.operations:
            if "{" in operation.template:
                self._parametrized.append(operation)
            else:
                self._static.setdefault(operation.template, []).append(operation)

    def at(self, raw_path: str) -> list[tuple[ContractOperation, dict[str, str]]]:
        """The operations of a path, each with its path parameters; empty when there is no such path.

        Args:
            raw_path: the path, percent-encoded.
        """
        if raw_path in self._static:
            return [(operation, {}) for operation in self._static[raw_path]]
        found: list[tuple[ContractOperation, dict[str, str]]] = []
        for operation in self._parametrized:
            if match := operation.path.fullmatch(raw_path):
                found.append((operation, {name: unquote(value) for name, value in match.groupdict().items()}))
        return found


@cache
def read_contract(name: str) -> Contract:
    """The contract of a service, cached: parsing takes most of a second.

    Args:
        name: `montra` or `paywall`.
    """
    return Contract(name)


def _load(text: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return cast("dict[str, Any]", yaml.load(text, Loader=loader))  # noqa: S506 - both are safe loaders


def _inline(node: Any, document: Mapping[str, Any]) -> Any:
    """Replace every `$ref` by its target; keys beside a `$ref` are kept."""
    if is_array(node):
        return [_inline(item, document) for item in node]
    if not is_object(node):
        return node
    if "$ref" in node:
        target: Any = document
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return {**_inline(target, document), **_inline(rest, document)}
    return {key: _inline(value, document) for key, value in node.items()}


def _operation(template: str, method: str, operation: Any, shared: list[Any]) -> ContractOperation:
    parameters = [*shared, *operation.get("parameters", [])]
    body = operation.get("requestBody", {})
    content = body.get("content", {})
    json_schema = content.get("application/json", {}).get("schema")
    return ContractOperation(
        id=operation["operationId"],
        method=method.upper(),
        template=template,
        path=re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)),
        path_validator=_parameters("path", parameters),
        query_validator=_parameters("query", parameters),
        query_types={one["name"]: one["schema"].get("type", "string") for one in parameters if one["in"] == "query"},
        headers_validator=_parameters("header", parameters),
        body=None if json_schema is None else make_validator(json_schema),
        body_required=bool(body.get("required")),
        multipart="multipart/form-data" in content,
        responses={
            status: make_validator(response["content"]["application/json"]["schema"])
            for status, response in operation["responses"].items()
        },
    )


def _parameters(where: str, parameters: list[Any]) -> Validator | None:
    mine = [one for one in parameters if one["in"] == where]
    if not mine:
        return None
    return make_validator(
        {
            "type": "object",
            "properties": {one["name"]: one["schema"] for one in mine},
            "required": [one["name"] for one in mine if one.get("required")],
        }
    )
