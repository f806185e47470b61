"""Seed files: plans, discounts, customers and webhooks of a sandbox in TOML, JSON or YAML."""

from __future__ import annotations

import sys
from codecs import BOM_UTF8
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from ..json import MAX_DEPTH, is_object, loads_untrusted
from ..problems import Problem, invalid
from .plain_json import plain_json
from .seed_loader import load_seed

__all__ = ["MAX_SEED_SIZE", "load_seed", "parse_seed_file"]

MAX_SEED_SIZE: int = 1024 * 1024
"""Largest seed file, in bytes."""
_MAX_SHOWN = 300
_TOML_MODULE = "tomllib" if sys.version_info >= (3, 11) else "tomli"


def parse_seed_file(path: str | Path) -> dict[str, Any]:
    """Read a seed file. Its content is checked when it is loaded.

    Args:
        path: the file: `.toml`, `.json`, `.yaml` or `.yml`.

    Returns:
        The data for `load_seed`.

    Raises:
        Problem: 400, the file can't be read or parsed; the message begins with its name. 413, it is too large.
    """
    path = Path(path)
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise invalid(f"{path}: the name of a seed file ends with {', '.join(_PARSERS)}")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SEED_SIZE + 1)
    except (OSError, ValueError) as error:
        raise invalid(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MAX_SEED_SIZE:
        raise Problem(413, "too_large", f"{path}: at most {MAX_SEED_SIZE} bytes")
    try:
        data = plain_json("the data", parse(raw.removeprefix(BOM_UTF8)), MAX_SEED_SIZE * 2)
    except RecursionError:
        raise invalid(f"{path}: nested too deeply") from None
    except (ValueError, yaml.YAMLError) as error:
        raise invalid(f"{path}: {str(error)[:_MAX_SHOWN]}") from None
    except Problem as problem:
        raise Problem(problem.status, problem.code, f"{path}: {problem.message}") from None
    if not is_object(data):
        raise invalid(f"{path}: tables such as pricing_models and customers")
    return data


def _parse_toml(raw: bytes) -> Any:
    return import_module(_TOML_MODULE).loads(raw.decode("utf-8"), parse_float=Decimal)


def _parse_yaml(raw: bytes) -> Any:
    text = raw.decode("utf-8")
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):  # with them a few lines become gigabytes
            raise ValueError("aliases (*name) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader


def _construct_decimal(loader: Any, node: yaml.ScalarNode) -> Any:
    """A number with a fraction keeps all its digits."""
    try:
        return Decimal(str(loader.construct_scalar(node)).replace("_", ""))
    except ArithmeticError:  # .inf, .nan, and numbers in base 60
        return loader.construct_yaml_float(node)


_Loader: Any = type("_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})  # C is several times as fast
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_decimal)

_PARSERS = {".toml": _parse_toml, ".json": loads_untrusted, ".yaml": _parse_yaml, ".yml": _parse_yaml}
