"""`montra logs`: the requests that the sandbox gets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..command import Run, command, new_app
from ..output.encoding import to_json
from ..sandbox.control_client import control_client
from ..sandbox.lines import request_line
from ..sandbox.live_events import LiveEvents, ends_well

app: typer.Typer = new_app(
    "Follow the requests that the sandbox gets.",
    ("montra logs tail", "montra logs tail --failed", "montra logs list --method POST"),
)

_FAILED = Annotated[bool, typer.Option("--failed", help="Only errors and dropped connections.")]
_PATH = Annotated[str | None, typer.Option("--path", metavar="TEXT", help="Only paths that contain this.")]
_METHOD = Annotated[str | None, typer.Option("--method", metavar="METHOD", help="Only this method, e.g. POST.")]


class Filter:
    """Which requests are shown.

    Args:
        failed: only errors and dropped connections.
        path: only paths that contain this; None for all.
        method: only this method; None for all.
    """

    def __init__(self, failed: bool, path: str | None, method: str | None) -> None:
        self._failed, self._path, self._method = failed, path, method

    def __call__(self, request: dict[str, Any]) -> bool:
        """Whether a request is shown.

        Args:
            request: its JSON.
        """
        status = request.get("status")
        if self._failed and status is not None and int(status) < 400:
            return False
        if self._method is not None and str(request.get("method")).upper() != self._method.upper():
            return False
        return self._path is None or self._path in str(request.get("path"))


@command(
    app,
    "tail",
    examples=(
        "montra logs tail",
        "montra logs tail --failed --path /subscriptions",
        "montra logs tail --method POST --jsonl",
    ),
)
def tail(
    run: Run,
    failed: _FAILED = False,
    path: _PATH = None,
    method: _METHOD = None,
    last: Annotated[int, typer.Option("--last", "-n", help="Begin with this many of the latest.", min=0)] = 10,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line, bodies included.")] = False,
) -> None:
    """Show each request: time, status, method, path, duration, idempotency key, request id.

    Ctrl-C ends it with exit code 0. A sandbox that is restarted is waited for.
    """
    controls = control_client(run)
    is_shown = Filter(failed, path, method)
    seen = 0
    first = True
    feed = LiveEvents(controls, lambda: run.output.note("Connection lost; waiting for the sandbox ..."))
    with ends_well():
        for event in feed:
            found = [event.data] if event.kind == "request" else []
            if event.kind == "connected":
                # What came between the old connection, or the start, and this one.
                kept = controls.get("/requests")
                newest = max((int(one.get("sequence", 0)) for one in kept), default=0)
                seen = min(seen, newest)  # a restarted sandbox counts anew
                found = [one for one in kept if first or int(one.get("sequence", 0)) > seen]
                shown = [one for one in found if is_shown(one)]
                found, seen, first = shown[len(shown) - min(last, len(shown)) :] if first else shown, newest, False
            elif event.kind == "request":
                found = [] if int(event.data.get("sequence", seen + 1)) <= seen else found
                seen = max(seen, int(event.data.get("sequence", seen)))
            for one in filter(is_shown, found):
                print(to_json(one) if as_jsonl else request_line(one), flush=True)


@command(
    app,
    "list",
    output=True,
    examples=("montra logs list", "montra logs list --failed --json", "montra logs list --columns id,path,status"),
)
def list_requests(
    run: Run,
    failed: _FAILED = False,
    path: _PATH = None,
    method: _METHOD = None,
    limit: Annotated[int, typer.Option(help="How many, at most 1000.", min=1)] = 100,
) -> None:
    """List the latest requests, oldest first. --json shows their bodies, too; secrets are hidden."""
    kept = control_client(run).get("/requests", failed=1 if failed else None, method=method)
    found = [one for one in kept if Filter(failed, path, method)(one)][-limit:]
    columns = ["at", "method", "path", "status", "duration_ms", "idempotency_key", "error_code", "fault", "id"]
    run.output.rows(found, columns, empty="No requests.")
