"""`montra listen`: forwards webhooks of the sandbox to an application, and shows what it answers."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from ..command import Run, command, new_app
from ..failures import USAGE, CliError
from ..output.encoding import to_json
from ..sandbox.control_client import ControlClient, control_client, receiver_url, segment
from ..sandbox.lines import delivery_line, event_line
from ..sandbox.live_events import LiveEvent, LiveEvents, ends_well

app: typer.Typer = new_app("Forward webhooks of the sandbox to your application.", no_args_is_help=False)


@command(
    app,
    examples=(
        "montra listen --forward-to localhost:8000/webhooks",
        "montra listen --forward-to :8000/webhooks --events invoice.created,checkout.completed",
        "montra listen                          # only shows the events",
    ),
)
def listen(
    run: Run,
    forward_to: Annotated[
        str | None, typer.Option(metavar="URL", help="Your webhook endpoint, e.g. localhost:8000/webhooks.")
    ] = None,
    events: Annotated[str, typer.Option(metavar="A,B", help="Only these types of events.")] = "*",
    service: Annotated[str | None, typer.Option(metavar="montra|paywall", help="Only events of this service.")] = None,
    secret: Annotated[
        str | None, typer.Option(metavar="SECRET", help="Sign with this (default: the sandbox's own).")
    ] = None,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line.")] = False,
) -> None:
    """Forward webhooks of the sandbox to your application: one line for each delivery, with its answer.

    Prints the secret that signs them. Ctrl-C removes the endpoint and ends with exit code 0. A sandbox that is
    restarted is waited for.
    """
    wanted = [one.strip() for one in events.split(",") if one.strip()]
    if not wanted:
        raise CliError("--events: at least one type of events", USAGE)
    if service not in (None, "montra", "paywall"):
        raise CliError("--service: montra or paywall", USAGE)
    controls = control_client(run)
    url = receiver_url(controls, forward_to, "--forward-to")
    listener = Listener(run, controls, url, wanted, service, secret, as_jsonl=as_jsonl)
    with ends_well():
        try:
            listener.run()
        finally:
            listener.remove_endpoints()


class Listener:
    """One `montra listen`.

    Args:
        run: the output.
        controls: the sandbox.
        url: where webhooks are sent; None for nowhere.
        events: types of events, or `*`.
        service: only of this service; None for both.
        secret: signs the webhooks; None for the sandbox's own.
        as_jsonl: print JSON.
    """

    def __init__(
        self,
        run: Run,
        controls: ControlClient,
        url: str | None,
        events: list[str],
        service: str | None,
        secret: str | None,
        *,
        as_jsonl: bool,
    ) -> None:
        self._run, self._controls, self._url = run, controls, url
        self._events, self._service, self._secret, self._as_jsonl = events, service, secret, as_jsonl
        self._ids: list[str] = []
        self._created: list[str] = []
        self._has_begun = False

    def run(self) -> None:
        """Print what happens, until the process is interrupted."""
        feed = LiveEvents(self._controls, lambda: self._run.output.note("Connection lost; waiting for the sandbox ..."))
        for event in feed:
            if event.kind in ("connected", "reset"):
                self._make_sure_of_endpoint()
            elif self._is_wanted(event):
                self._print(event)

    def remove_endpoints(self) -> None:
        """Remove what was added, and leave what was there before. A sandbox that is gone has none."""
        for one in self._created:
            with contextlib.suppress(CliError):
                self._controls.delete(f"/webhooks/{segment(one)}")

    def _make_sure_of_endpoint(self) -> None:
        if self._url is None:
            if not self._has_begun:
                self._refuse_unknown_events()
                self._run.output.note("Showing events; --forward-to URL sends them to your application.")
            self._has_begun = True
            return
        known = {one.get("id") for one in self._controls.get("/webhooks")}
        if self._ids and known.issuperset(self._ids):
            return
        made = self._controls.post_all(
            "/webhooks",
            {"url": self._url, "service": self._service, "events": self._events, "secret": self._secret},
        )
        self._ids = [str(one) for one in made.get("ids") or [made["id"]]]
        self._created = [str(one) for one in made.get("created", self._ids)]
        self._run.output.note(f"Forwarding to {self._url}\nSecret: {made.get('secret')}\nCtrl-C ends it.")

    def _refuse_unknown_events(self) -> None:
        """Refuse a typo, as the sandbox does when an endpoint is added: nothing would ever be shown."""
        known = {"*", *(str(one.get("event")) for one in self._controls.get("/triggers"))}
        if unknown := [one for one in self._events if one not in known]:
            raise CliError(f"--events: no event {unknown[0]!r}; there are: {', '.join(sorted(known))}", USAGE)

    def _is_wanted(self, event: LiveEvent) -> bool:
        if event.kind != ("event" if self._url is None else "delivery"):
            return False
        data = event.data
        kind = data.get("type") if self._url is None else data.get("event_type")
        if self._url is not None and (data.get("url") != self._url or data.get("attempted_at", "") is None):
            return False
        if self._service is not None and data.get("service", self._service) != self._service:
            return False
        return "*" in self._events or kind in self._events

    def _print(self, event: LiveEvent) -> None:
        if self._as_jsonl:
            print(to_json(event.data), flush=True)
        else:
            print(event_line(event.data) if self._url is None else delivery_line(event.data), flush=True)
