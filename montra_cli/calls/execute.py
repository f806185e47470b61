"""Makes a call of the catalog with the SDK, and prints its result."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..command import Run
from ..failures import USAGE, CliError
from ..json_types import is_array, is_object
from ..secrets import mask
from .builder import IDENTITY
from .shapes import Call, Parameter
from .values import read_value


def execute(run: Run, call: Call, given: Mapping[str, Any]) -> None:
    """Make a call.

    Args:
        run: the settings and the output.
        call: the call.
        given: the texts of its parameters; None or an empty list for those that were not given.

    Raises:
        CliError: a value can't be read, or the user has said no.
        MontraError: the call has failed.
    """
    identity = {name: given.get(name) for name in IDENTITY} if call.client == "paywall" else {}
    arguments = _arguments(call, {name: value for name, value in given.items() if name not in identity})
    if call.columns and not call.endpoint.startswith("GET "):
        run.output.check_columns(call.columns)  # before it is carried out: its result would not be shown
    if call.asks is not None:
        run.confirm(call.asks.format(**arguments))
    with contextlib.closing(run.billing() if call.client == "paywall" else run.montra()) as client:
        user: Any = client
        if any(identity.values()):
            user = user.for_user(**identity)
        show(run, call, getattr(user, call.method)(**arguments))


def _arguments(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the call. What was not given is left out, so that the SDK's defaults apply."""
    clear: Sequence[str] = given.get("clear") or ()
    known = {one.name: one for one in call.parameters if one.clearable}
    found: dict[str, Any] = {}
    for name in clear:
        field = name.replace("-", "_")
        if field not in known:
            raise CliError(f"--clear: one of {', '.join(known)}, not {name!r}", USAGE)
        found[field] = None
    for one in call.parameters:
        value = given.get(one.name)
        if value is None or value in ([], ()):
            continue
        if one.name in found:
            raise CliError(f"{one.option}: given and cleared", USAGE)
        found[one.name] = _value(one, value)
    return found


def _value(one: Parameter, given: Any) -> Any:
    if one.clearable and given in ("", [""], ("",)):
        return None
    return read_value(one.kind, one.name.upper() if one.positional else one.option, given)


def show(run: Run, call: Call, result: Any) -> None:
    """Print a call's result.

    Args:
        run: the output.
        call: the call.
        result: what the SDK has returned.
    """
    output = run.output
    if hasattr(result, "__next__") or is_array(result):
        rows = (_fields(one) for one in result)
        output.rows((_masked(row) for row in rows) if output.is_for_people else rows, call.columns)
    elif result is None or result is True:
        if output.format == "json":
            output.value(result)
        else:
            output.note("Done.")
    elif isinstance(result, str):
        output.value(result)
    else:
        _show_object(run, _fields(result), call.columns)


def _show_object(run: Run, fields: dict[str, Any], columns: Sequence[str]) -> None:
    output = run.output
    if output.format in ("json", "jsonl"):
        output.one(fields, columns)
    elif is_array(page := fields.get("data")) and set(fields) <= {"data", "meta"}:
        output.rows(page)
        total = fields.get("meta", {}).get("total")
        if output.is_for_people and total is not None:
            output.note(f"{len(page)} of {total}.")
    elif series := _pivoted(fields):
        output.rows(series)
    else:
        output.one(fields, columns)


def _fields(result: Any) -> dict[str, Any]:
    """A model, or a class of models, as a JSON object."""
    if is_object(result):
        return result
    to_dict = getattr(result, "to_dict", None)
    if to_dict is not None:
        made: dict[str, Any] = to_dict()
        return made
    import attrs

    return {name: _fields(value) for name, value in attrs.asdict(result, recurse=False).items()}


def _masked(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a list on a screen that others may see."""
    return {**row, "secret": mask(row["secret"])} if isinstance(row.get("secret"), str) else row


def _pivoted(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Time series as a table: a row for each interval, a column for each series. Empty when it is something else."""
    rows: dict[str, dict[str, Any]] = {}
    for name, points in fields.items():
        if not is_array(points) or not all(is_object(one) and "key" in one for one in points):
            continue
        for point in points:
            row = rows.setdefault(str(point["key"]), {"key": point["key"]})
            for part, value in point.items():
                if part != "key":
                    row[name if part == "value" else f"{name}.{part}"] = value
    return list(rows.values())
