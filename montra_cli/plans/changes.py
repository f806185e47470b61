"""What must change to make the service like the file. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeVar

from ..calls.call_catalog import CALLS
from ..failures import USAGE, CliError
from ..output.text import plain
from .schema import METER, PARTS, PLAN, Kind, Limit, Part, Plan

T = TypeVar("T")
Action = Literal["create", "update", "delete", "limit", "impossible"]


@dataclass(frozen=True)
class Change:
    """A change.

    Attributes:
        action: what is done; `impossible`: the API can't do it.
        kind: of which kind of object.
        plan: name of the pricing model.
        name: name or slug of the object.
        before: fields as they are.
        after: fields as they shall be.
        id: the object's id; None for a new one.
        reason: why it is impossible.
        limit: the new limit of a meter.
    """

    action: Action
    kind: Kind
    plan: str
    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    id: str | None = None
    reason: str = ""
    limit: Limit | None = None

    @property
    def title(self) -> str:
        """What is changed, for people."""
        where = "" if self.kind is PLAN else f"{self.plan} / "
        return f"{where}{self.kind.name} {self.name}"


def find_changes(wanted: list[Plan], present: list[Plan], *, prune: bool, has_limits: bool) -> list[Change]:
    """The changes, in the order in which they can be made.

    Args:
        wanted: the plans of the file. A field that is not given is not compared.
        present: those of the service.
        prune: whether what is not in the file is deleted.
        has_limits: whether the service can set limits: it is a sandbox.

    Raises:
        CliError: the service has two objects that the file can't tell apart.
    """
    changes: list[Change] = []
    takes_default = any(plan.fields.get("is_default") is True for plan in wanted)
    for plan in wanted:
        found = _only([one for one in present if one.name == plan.name], f"pricing models are named {plan.name!r}")
        changes += _of_plan(plan, found, takes_default=takes_default)
        for kind in PARTS:
            there: list[Part] = [] if found is None else found.parts[kind.section]
            changes += _of_parts(kind, plan, there, prune=prune)
        changes += _of_limits(plan, found, has_limits=has_limits)
    if prune:
        names = {plan.name for plan in wanted}
        reason = "the API can't delete pricing models"
        changes += [_impossible(PLAN, one.name, one.name, {}, {}, reason) for one in present if one.name not in names]
    return sorted(changes, key=lambda change: change.action in ("delete", "impossible"))


def find_namesakes(present: list[Plan]) -> list[str]:
    """Objects that a file can't tell apart, with their ids, for people.

    Args:
        present: the plans of the service.
    """
    found = [
        f"{len(ids)} pricing models are named {name!r}: {', '.join(ids)}"
        for name, ids in _ids_by((plan.name, plan.id) for plan in present)
    ]
    for plan in present:
        for kind in PARTS:
            parts = ((str(one.fields.get(kind.match)), one.id) for one in plan.parts[kind.section])
            found += [
                f"{len(ids)} {kind.name}s of {plan.name!r} have the {kind.match} {name!r}: {', '.join(ids)}"
                for name, ids in _ids_by(parts)
            ]
    return found


def _ids_by(objects: Iterable[tuple[str, str | None]]) -> Iterator[tuple[str, list[str]]]:
    """Names that several objects have."""
    found: dict[str, list[str]] = {}
    for name, object_id in objects:
        found.setdefault(name, []).append(str(object_id))
    return ((name, ids) for name, ids in found.items() if len(ids) > 1)


def leave_out(present: list[Plan], ids: Collection[str]) -> list[Plan]:
    """The plans without some objects.

    Args:
        present: the plans of the service.
        ids: of pricing models, products, meters and features.

    Raises:
        CliError: there is no object with such an id.
    """
    parts = [one for plan in present for section in plan.parts.values() for one in section]
    known = {plan.id for plan in present} | {one.id for one in parts}
    if unknown := [one for one in ids if one not in known]:
        raise CliError(f"--without: no pricing model, product, meter or feature has the id {unknown[0]!r}", USAGE)
    return [
        replace(
            plan, parts={name: [one for one in section if one.id not in ids] for name, section in plan.parts.items()}
        )
        for plan in present
        if plan.id not in ids
    ]


def unknown_values(changes: list[Change]) -> list[str]:
    """Values of the file that this version does not know, for people. A newer service may take them.

    Args:
        changes: the changes.
    """
    found: list[str] = []
    for change in changes:
        for one in CALLS[change.kind.section.replace("_", "-")]["create"].parameters:
            value = change.after.get(one.name)
            if one.choices and isinstance(value, str) and value not in one.choices:
                known = ", ".join(one.choices)
                found.append(f"{change.title}: {one.name} {value!r} is not known here; known: {known}")
    return found


def kept_objects(wanted: list[Plan], present: list[Plan]) -> list[str]:
    """What is in the service and not in the file, for people.

    Args:
        wanted: the plans of the file.
        present: those of the service.
    """
    by_name = {plan.name: plan for plan in wanted}
    found: list[str] = []
    for plan in present:
        if plan.name not in by_name:
            found.append(f"pricing model {plan.name}")
            continue
        for kind in PARTS:
            names = {one.fields[kind.match] for one in by_name[plan.name].parts[kind.section]}
            there = (str(one.fields.get(kind.match)) for one in plan.parts[kind.section])
            found += [f"{plan.name} / {kind.name} {name}" for name in there if name not in names]
    return found


def _of_plan(plan: Plan, found: Plan | None, *, takes_default: bool) -> Iterator[Change]:
    if found is None:
        yield Change("create", PLAN, plan.name, plan.name, {}, plan.fields)
        return
    before, after = _differences(plan.fields, found.fields)
    if after.get("is_default") is False and takes_default:
        return  # it loses the flag to the one that takes it
    if after:
        yield Change("update", PLAN, plan.name, plan.name, before, after, found.id)


def _of_parts(kind: Kind, plan: Plan, there: list[Part], *, prune: bool) -> Iterator[Change]:
    for part in plan.parts[kind.section]:
        name = str(part.fields[kind.match])
        same = [one for one in there if str(one.fields.get(kind.match)) == name]
        found = _only(same, f"{kind.name}s of {plan.name!r} have the {kind.match} {name!r}")
        if found is None:
            missing = [one for one in kind.required if one not in part.fields]
            if missing:
                raise CliError(f"{plan.name}: the new {kind.name} {name!r} needs {', '.join(missing)}", USAGE)
            yield Change("create", kind, plan.name, name, {}, part.fields)
            continue
        before, after = _differences(part.fields, found.fields)
        possible = {field: value for field, value in after.items() if field in kind.updatable}
        other = {field: value for field, value in after.items() if field not in kind.updatable}
        if possible:
            yield Change("update", kind, plan.name, name, _of(before, possible), possible, found.id)
        if other:
            reason = f"the API has no call that changes a {kind.name}'s {', '.join(other)}"
            yield _impossible(kind, plan.name, name, _of(before, other), other, reason)
    if prune:
        names = {str(one.fields[kind.match]) for one in plan.parts[kind.section]}
        for one in there:
            name = str(one.fields.get(kind.match))
            if name in names:
                continue
            if kind.deletable:
                yield Change("delete", kind, plan.name, name, {}, {}, one.id)
            else:
                yield _impossible(kind, plan.name, name, {}, {}, f"the API can't delete {kind.name}s")


def _of_limits(plan: Plan, found: Plan | None, *, has_limits: bool) -> Iterator[Change]:
    there = {one.fields.get("slug"): one.limit for one in ([] if found is None else found.parts[METER.section])}
    for meter in plan.parts[METER.section]:
        slug, limit = str(meter.fields["slug"]), meter.limit
        if limit is None or there.get(slug) == limit:
            continue
        if limit.max_amount is None and there.get(slug) is None:
            continue
        before, after = {"limit": _limit_text(there.get(slug))}, {"limit": _limit_text(limit)}
        if has_limits:
            yield Change("limit", METER, plan.name, slug, before, after, limit=limit)
        else:
            reason = "the API has no call for limits; only a sandbox can set them"
            yield _impossible(METER, plan.name, slug, {}, after, reason)


def _impossible(kind: Kind, plan: str, name: str, before: dict[str, Any], after: dict[str, Any], reason: str) -> Change:
    return Change("impossible", kind, plan, name, before, after, reason=reason)


def _limit_text(limit: Limit | None) -> str | None:
    if limit is None:
        return None
    amount = "unlimited" if limit.max_amount is None else plain(limit.max_amount)
    return f"{amount} per {limit.period}" + (f" ({limit.aggregation})" if limit.aggregation else "")


def _differences(wanted: dict[str, Any], present: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    after = {name: value for name, value in wanted.items() if not _is_same(value, present.get(name))}
    return {name: present.get(name) for name in after}, after


def _is_same(wanted: Any, present: Any) -> bool:
    if isinstance(wanted, Decimal) and isinstance(present, (int, Decimal)):
        return wanted == present
    return bool(wanted == present) or (wanted in ("", False) and present is None)


def _of(fields: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: fields.get(name) for name in names}


def _only(found: list[T], what: str) -> T | None:
    if len(found) > 1:
        raise CliError(f"{len(found)} {what}: a file can't tell them apart", USAGE)
    return found[0] if found else None
