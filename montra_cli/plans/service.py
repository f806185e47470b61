"""The plans of the service, and their text as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..command import Run
from ..failures import NOT_FOUND, CliError
from ..output.encoding import to_json
from ..sandbox.control_client import ControlClient, control_client
from ..sandbox.limits import list_limits
from .schema import FEATURE, METER, PARTS, PLAN, PRODUCT, Kind, Limit, Part, Plan

if TYPE_CHECKING:
    from montra_sync import Montra

HEADER = "# Plans: `montra plans diff FILE` compares them with the service, `montra plans apply FILE` changes it.\n"


def find_sandbox(run: Run) -> ControlClient | None:
    """The controls, if the service is a sandbox; None otherwise.

    Args:
        run: the settings.
    """
    if run.settings.base_url is None:
        return None
    controls = control_client(run)
    try:
        _ = controls.overview
    except CliError:
        return None
    return controls


def fetch_plans(client: Montra, sandbox: ControlClient | None) -> list[Plan]:
    """The plans of the service, the oldest first.

    Args:
        client: the service.
        sandbox: the controls, for limits; None when it is no sandbox.

    Raises:
        MontraError: a call has failed.
        CliError: a control was refused.
    """
    limits = _limits(sandbox)
    found = [
        Plan(_given(PLAN, one.to_dict()), {kind.section: [] for kind in PARTS}, one.id)
        for one in client.list_pricing_models()
    ]
    by_id = {plan.id: plan for plan in found}
    sources: list[tuple[Kind, Callable[[], Iterable[Any]]]] = [
        (METER, client.list_meters),
        (PRODUCT, client.list_products),
        (FEATURE, client.list_features),
    ]
    for kind, fetch in sources:
        for one in fetch():
            plan = by_id.get(one.pricing_model_id)
            if plan is not None:
                fields = _given(kind, one.to_dict())
                limit = limits.get((plan.id, fields.get("slug"))) if kind is METER else None
                plan.parts[kind.section].append(Part(fields, one.id, limit))
    return found


def _given(kind: Kind, data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in kind.fields if data.get(name) is not None}


def _limits(sandbox: ControlClient | None) -> dict[tuple[Any, Any], Limit]:
    if sandbox is None:
        return {}
    try:
        listed = list_limits(sandbox)
    except CliError as error:
        if error.code == NOT_FOUND:  # an older sandbox, which can set limits and not list them
            return {}
        raise
    return {
        (one["pricing_model_id"], one["meter_slug"]): Limit(
            None if one.get("max_amount") is None else Decimal(str(one["max_amount"])),
            one.get("period") or "billing_period",
            one.get("aggregation"),
        )
        for one in listed
    }


def to_toml(plans: Iterable[Plan]) -> Iterator[str]:
    """The lines of a file.

    Args:
        plans: the plans.
    """
    yield HEADER
    for plan in plans:
        yield "\n[[pricing_models]]\n"
        yield from _lines(PLAN, plan.fields, "")
        for kind in (PRODUCT, METER, FEATURE):
            for part in plan.parts[kind.section]:
                yield f"\n  [[pricing_models.{kind.section}]]\n"
                yield from _lines(kind, part.fields, "  ")
                if part.limit is not None and part.limit.max_amount is not None:
                    yield f"  limit = {_limit(part.limit)}\n"


def _lines(kind: Kind, fields: dict[str, Any], indent: str) -> Iterator[str]:
    for name in kind.fields:
        if name in fields:
            yield f"{indent}{name} = {_toml(fields[name])}\n"


def _limit(limit: Limit) -> str:
    parts = [f"max_amount = {_toml(limit.max_amount, bare=True)}", f"period = {_toml(limit.period)}"]
    parts += [f"aggregation = {_toml(limit.aggregation)}"] if limit.aggregation is not None else []
    return f"{{ {', '.join(parts)} }}"


def _toml(value: Any, *, bare: bool = False) -> str:
    """A value; amounts are texts, so that they keep all digits. Strings of JSON are strings of TOML."""
    if isinstance(value, Decimal):
        return f"{value:f}" if bare and value == value.to_integral_value() else to_json(f"{value:f}")
    return to_json(value)
