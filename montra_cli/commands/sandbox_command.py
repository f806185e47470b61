"""`montra sandbox`: starts a sandbox, and controls a running one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ..calls.values import parse_datetime
from ..cleaning import clean
from ..command import Run, command, new_app
from ..failures import DIFFERENT, USAGE, CliError
from ..json_types import is_array, is_object
from ..output.text import plain
from ..plans.plans_file import parse_toml
from ..sandbox.control_client import control_client, receiver_url, refuse_foreign, segment, with_scheme

app: typer.Typer = new_app("Start a local server of both services, and control it.", no_args_is_help=False)

FAULT_KINDS = ("latency", "status", "rate_limit", "drop_before", "drop_after", "drop_during_answer", "malformed")
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_LONG = 600.0


@command(
    app,
    callback=True,
    invoke_without_command=True,
    examples=(
        "montra sandbox --open",
        "montra sandbox --db shop.db --seed plans.toml --forward-to localhost:8000/webhooks",
        "montra sandbox advance 31d        # in another terminal, and so are the following",
        "montra sandbox fault rate_limit --times 3 --path /usage",
        "montra sandbox scenario trial_then_paid --to http://127.0.0.1:8000/webhooks",
    ),
)
def start(
    run: Run,
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port to bind; 0 for a free one.")] = 4242,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    db: Annotated[str, typer.Option(metavar="FILE", help="File of the database.")] = ":memory:",
    open_browser: Annotated[bool, typer.Option("--open", help="Open its address in the browser.")] = False,
    seed: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Create what a TOML, YAML or JSON file describes.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Create customers, a year of usage and invoices.")] = False,
    forward_to: Annotated[str | None, typer.Option(metavar="URL", help="Send all webhooks to this address.")] = None,
    webhook_secret: Annotated[
        str | None, typer.Option(metavar="SECRET", help="Secret that signs them (default: a fixed one).")
    ] = None,
    api_key: Annotated[
        list[str], typer.Option(metavar="KEY", help="Accept this key; repeatable (default: sk_test_sandbox).")
    ] = [],  # noqa: B006 - typer copies it
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Let other machines in.")] = False,
    allow_host: Annotated[
        list[str], typer.Option(metavar="NAME[:PORT]", help="Answer to this host name, too; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    control_token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="Token of the controls (default: $MONTRA_SANDBOX_TOKEN)."),
    ] = None,
    deliver_anywhere: Annotated[
        bool, typer.Option("--deliver-anywhere", help="Send webhooks to other machines, too.")
    ] = False,
) -> None:
    """Start a local server of both services, until Ctrl-C. With a command: control a running one.

    State is in memory, or in the file of --db. The commands talk to the address of MONTRA_BASE_URL or of the profile,
    http://127.0.0.1:4242 by default.
    """
    if context.invoked_subcommand is not None:
        return
    from ..sandbox.sandbox_process import ServerOptions, serve

    receiver = None if forward_to is None else with_scheme(forward_to)
    if receiver is not None and not deliver_anywhere:
        refuse_foreign(receiver, "--forward-to", "Add --deliver-anywhere to allow it.")
    settings: dict[str, Any] = {"webhook_secret": webhook_secret} if webhook_secret is not None else {}
    serve(
        ServerOptions(
            settings={
                **settings,
                "port": port,
                "host": host,
                "db": db,
                "api_keys": api_key or ["sk_test_sandbox"],
                "allow_remote": allow_remote,
                "allow_hosts": allow_host,
                "control_token": control_token or os.environ.get("MONTRA_SANDBOX_TOKEN") or None,
                "deliver_anywhere": deliver_anywhere,
            },
            open_browser=open_browser,
            seed=None if seed is None else _parse_seed(str(seed)),
            demo=demo,
            forward_to=receiver,
        )
    )


@command(app, "status", output=True, examples=("montra sandbox status", "montra sandbox status --json"))
def status(run: Run) -> None:
    """Show the sandbox's time, faults and counts."""
    controls = control_client(run)
    overview = controls.overview
    if run.output.format == "json":
        run.output.one(overview)
        return
    counts = overview.get("counts", {})
    rest = {name: value for name, value in overview.items() if name not in ("counts", "faults")}
    faults = [fault.get("kind") for fault in overview.get("faults", [])]
    run.output.one({"url": controls.url, **rest, "faults": ", ".join(map(str, faults)) or "none", **counts})


@command(
    app,
    "advance",
    examples=(
        "montra sandbox advance 31d",
        "montra sandbox advance 1d12h",
        "montra sandbox advance --to 2030-01-01T00:00:00Z",
    ),
)
def advance(
    run: Run,
    span: Annotated[str | None, typer.Argument(metavar="SPAN", help="E.g. 31d, 2w, 12h, 30m, 90s, 1d12h.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="DATETIME", help="Move to this time.")] = None,
) -> None:
    """Move the clock forward. What becomes due on the way happens, in order; its webhooks are sent at the end."""
    if (span is None) == (to is None):
        raise CliError("give either a span such as 31d, or --to", USAGE)
    body: dict[str, Any] = {"to": _time("--to", to)} if to is not None else parse_span(span or "")
    answer = control_client(run).post("/clock/advance", body, timeout=_LONG)
    run.output.value(answer["now"])


@command(app, "freeze", examples=("montra sandbox freeze", "montra sandbox freeze --at 2030-01-01T00:00:00Z"))
def freeze(
    run: Run,
    at: Annotated[str | None, typer.Option("--at", metavar="DATETIME", help="At this time, not now.")] = None,
) -> None:
    """Let the clock stand still, so that nothing becomes due by itself."""
    answer = control_client(run).post("/clock/freeze", {"at": None if at is None else _time("--at", at)})
    run.output.value(_now(answer))


@command(app, "unfreeze", examples=("montra sandbox unfreeze",))
def unfreeze(run: Run) -> None:
    """Let the clock go on."""
    run.output.value(_now(control_client(run).post("/clock/unfreeze")))


@command(app, "reset", asks=True, examples=("montra sandbox reset", "montra sandbox reset --yes"))
def reset(run: Run) -> None:
    """Delete everything except the API keys. The clock shows the real time again."""
    controls = control_client(run)
    _ = controls.overview
    run.confirm("Delete everything in the sandbox?", place=controls.url)
    controls.post("/reset")
    run.output.note("The sandbox is empty.")


@command(app, "snapshot", examples=("montra sandbox snapshot", "montra sandbox snapshot before-upgrade"))
def snapshot(run: Run, name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name.")] = None) -> None:
    """Keep the state, to return to it with `restore`. Prints the snapshot's name."""
    run.output.value(control_client(run).post("/snapshots", {"name": name})["name"])


@command(
    app,
    "snapshots",
    output=True,
    examples=("montra sandbox snapshots", "montra sandbox snapshots --delete before-upgrade"),
)
def snapshots(
    run: Run, delete: Annotated[str | None, typer.Option("--delete", metavar="NAME", help="Delete this one.")] = None
) -> None:
    """List the snapshots, or delete one."""
    controls = control_client(run)
    if delete is not None:
        controls.delete(f"/snapshots/{segment(delete)}")
        run.output.note("Deleted.")
        return
    kept = controls.get("/snapshots")
    run.output.rows([one if is_object(one) else {"name": one} for one in kept], empty="No snapshots.")


@command(app, "restore", examples=("montra sandbox restore before-upgrade",))
def restore(run: Run, name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the snapshot.")]) -> None:
    """Return to a snapshot."""
    control_client(run).post(f"/snapshots/{segment(name)}/restore")
    run.output.note(f"The state is that of {name}.")


@command(
    app,
    "fault",
    output=True,
    examples=(
        "montra sandbox fault rate_limit --times 3",
        "montra sandbox fault latency --seconds 5 --share 0.1 --path /usage",
        "montra sandbox fault list",
        "montra sandbox fault clear",
    ),
)
def fault(
    run: Run,
    kind: Annotated[str, typer.Argument(metavar="KIND|list|clear", help=f"{', '.join(FAULT_KINDS)}.")],
    times: Annotated[int | None, typer.Option(help="Of this many requests (default: 1 without --share).")] = None,
    share: Annotated[float | None, typer.Option(help="Fraction of the requests, 0 to 1.")] = None,
    method: Annotated[str | None, typer.Option(help="Only requests with this method.")] = None,
    path: Annotated[str | None, typer.Option(help="Only paths that begin with this, e.g. /customers.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Delay of latency (default: 1).")] = None,
    status_code: Annotated[int | None, typer.Option("--status", help="Status of status (default: 500).")] = None,
    retry_after: Annotated[float | None, typer.Option(help="Retry-After, in seconds.")] = None,
    body: Annotated[str | None, typer.Option(help="Of malformed: html, empty, truncated or text.")] = None,
) -> None:
    """Break the next requests on purpose; list or clear what is active."""
    controls = control_client(run)
    if kind == "clear":
        controls.delete("/faults")
        run.output.note("No faults are active.")
    elif kind == "list":
        run.output.rows(controls.get("/faults"), empty="No faults are active.")
    elif kind in FAULT_KINDS:
        made = controls.post(
            "/faults",
            {
                "kind": kind,
                "times": times,
                "share": share,
                "method": method,
                "path": path,
                "seconds": seconds,
                "status": status_code,
                "retry_after": retry_after,
                "body": body,
            },
        )
        run.output.one({name: value for name, value in made.items() if value is not None})
    else:
        raise CliError(f"KIND: one of {', '.join((*FAULT_KINDS, 'list', 'clear'))}, not {kind!r}", USAGE)


@command(
    app,
    "scenario",
    output=True,
    examples=(
        "montra sandbox scenario                     # lists them",
        "montra sandbox scenario card_declined_at_renewal",
        "montra sandbox scenario trial_then_paid --to http://127.0.0.1:8000/webhooks",
    ),
)
def scenario(
    run: Run,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the scenario.")] = None,
    to: Annotated[str | None, typer.Option(metavar="URL", help="Send its webhooks to this address.")] = None,
    secret: Annotated[str | None, typer.Option(help="Secret that signs them.")] = None,
) -> None:
    """Play a whole lifecycle, and show what your webhook endpoint answered. Exit code 3 if something was refused."""
    controls = control_client(run)
    if name is None:
        known = [{"name": one["name"], "title": one["title"]} for one in controls.get("/scenarios")]
        run.output.rows(known)
        return
    body = {"to": receiver_url(controls, to, "--to"), "secret": secret}
    report = controls.post(f"/scenarios/{segment(name)}", body, timeout=_LONG)
    if run.output.format in ("json", "jsonl"):
        run.output.one(report)
    else:
        _print_report(run, report)
    if not report.get("succeeded"):
        raise CliError("the scenario has not succeeded", DIFFERENT)


@command(app, "demo", examples=("montra sandbox demo", "montra sandbox demo --customers 50 --months 6 --seed 7"))
def demo_data(
    run: Run,
    customers: Annotated[int, typer.Option(help="Number of customers.")] = 200,
    months: Annotated[int, typer.Option(help="Months of usage and invoices.")] = 12,
    seed: Annotated[int, typer.Option(help="The same number makes the same data.")] = 42,
) -> None:
    """Create believable customers, usage and invoices."""
    body = {"customers": customers, "months": months, "seed": seed}
    run.output.one(control_client(run).post("/demo", body, timeout=_LONG))


@command(app, "seed", examples=("montra sandbox seed plans.toml", "montra plans pull | montra sandbox seed -"))
def seed_file(
    run: Run,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of TOML, YAML or JSON; - for TOML on stdin.")],
    seed: Annotated[int | None, typer.Option(help="The same number makes the same ids.")] = None,
) -> None:
    """Create what a file of plans, customers, discounts and webhooks describes."""
    data = _parse_seed(file)
    run.output.one(control_client(run).post("/seed", {"data": data, "seed": seed}, timeout=_LONG))


def _parse_seed(place: str) -> dict[str, Any]:
    """A seed file; TOML unless its name says YAML or JSON."""
    if not place.lower().endswith((".yaml", ".yml", ".json")):
        return parse_toml(place)
    from montra_sandbox import Problem, parse_seed_file

    try:
        return parse_seed_file(place)
    except Problem as problem:
        raise CliError(problem.message, USAGE) from None


@command(
    app,
    "pay",
    output=True,
    examples=(
        "montra sandbox pay http://127.0.0.1:4242/pay/link_123 --email ada@example.com",
        "montra sandbox pay link_123 --card declined",
    ),
)
def pay(
    run: Run,
    target: Annotated[str, typer.Argument(metavar="URL|ID", help="A checkout link, or a checkout of the paywall.")],
    card: Annotated[
        str | None, typer.Option(help="Number of a test card, or declined, insufficient_funds, expired.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Email address of the payer.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the payer.")] = None,
    code: Annotated[str | None, typer.Option(help="Discount code.")] = None,
) -> None:
    """Pay as a person does on the checkout page."""
    body = {"target": target, "card": card, "email": email, "name": name, "code": code}
    paid = control_client(run).post("/pay", body)
    run.output.one(paid if run.output.format == "json" else {k: v for k, v in paid.items() if v is not None})


@command(
    app,
    "limit",
    examples=("montra sandbox limit pm_123 api-tokens 1000", "montra sandbox limit pm_123 api-tokens unlimited"),
)
def limit(
    run: Run,
    pricing_model_id: Annotated[str, typer.Argument(metavar="PRICING_MODEL_ID", help="The plan, pm_...")],
    meter_slug: Annotated[str, typer.Argument(metavar="METER_SLUG", help="Slug of the meter.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Usage at which access ends, or `unlimited`.")],
    period: Annotated[
        str, typer.Option(metavar="billing_period|day|month|lifetime", help="In which time.")
    ] = "billing_period",
) -> None:
    """Set how much of a meter a plan allows. Only the sandbox can do this: the API has no call for it."""
    from ..calls.values import parse_number
    from ..sandbox.limits import set_limit

    allowed = None if amount == "unlimited" else parse_number("AMOUNT", amount)
    set_limit(control_client(run), pricing_model_id, meter_slug, allowed, period)
    run.output.note("Done.")


def parse_span(text: str) -> dict[str, int]:
    """`1d12h` as the arguments of the control.

    Args:
        text: the span.

    Raises:
        CliError: it is not one.
    """
    if not re.fullmatch(r"(?:[0-9]{1,7}[wdhms])+", text, re.ASCII):
        raise CliError(f"SPAN: e.g. 31d, 2w, 12h, 30m, 90s or 1d12h, not {text!r}", USAGE)
    found: dict[str, int] = {}
    for number, unit in re.findall(r"([0-9]+)([wdhms])", text):
        found[_UNITS[unit]] = found.get(_UNITS[unit], 0) + int(number)
    return found


def _time(name: str, text: str) -> str:
    full = f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text
    return plain(parse_datetime(name, full))


def _now(answer: Any) -> str:
    return str(answer["now"]) if is_object(answer) and "now" in answer else "Done."


def _print_report(run: Run, report: dict[str, Any]) -> None:
    for step in report.get("steps", []):
        print(f"{plain(step.get('at'))}  {clean(str(step.get('title', '')))}")
        deliveries: Any = step.get("deliveries")
        for one in deliveries if is_array(deliveries) else []:
            answer = plain(one.get("last_status") or one.get("last_error") or one.get("status"))
            print(f"    {clean(str(one.get('event_type')))} -> {answer}  {plain(one.get('duration_ms'))} ms")
        if not deliveries:
            for event in step.get("events", []):
                print(f"    {clean(str(event.get('type')))}  {clean(str(event.get('id')))}")
    run.output.note("Succeeded." if report.get("succeeded") else "Failed.")
