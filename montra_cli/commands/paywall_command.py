"""`montra paywall`: the calls of the paywall service, and its metered API gateway."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..calls.builder import group_app
from ..calls.values import parse_json, parse_object, read_text
from ..cleaning import clean_lines
from ..command import Run, command
from ..failures import USAGE, CliError

if TYPE_CHECKING:
    from montra_sync.paywall import ApiGatewayClient, GatewayResponse

app: typer.Typer = group_app("paywall")


@command(
    app,
    "call",
    examples=(
        "montra paywall call openai /v1/chat/completions --user-id 7 --data @question.json",
        "montra paywall call echo /hello --user-id 7 --field question=why",
    ),
)
def call(
    run: Run,
    provider_id: Annotated[str, typer.Argument(metavar="PROVIDER_ID", help="The provider, e.g. openai.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path at the provider.")] = "",
    user_id: Annotated[str | None, typer.Option(metavar="TEXT", help="Your own id of the user, who pays.")] = None,
    method: Annotated[str, typer.Option(help="HTTP method.")] = "POST",
    fields: Annotated[
        list[str], typer.Option("-d", "--field", metavar="KEY=TEXT|KEY:=JSON", help="A field of the body; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    data: Annotated[str | None, typer.Option("--data", metavar="JSON|@FILE", help="The body; @- for stdin.")] = None,
) -> None:
    """Call an API through the metered gateway. The answer is printed as it arrives."""
    if data is not None and fields:
        raise CliError("--data, --field: give one of them", USAGE)
    body: Any = parse_object("--field", fields) if fields else None
    if data is not None:
        body = parse_json("--data", read_text("--data", data[1:]) if data.startswith("@") else data)
    with _gateway(run, user_id) as gateway, gateway.call(provider_id, path, method=method, body=body) as answer:
        _print(answer)


def _gateway(run: Run, user_id: str | None) -> ApiGatewayClient:
    from montra_sync.paywall import ApiGatewayClient

    paywall_id, origin, _ = run.settings.paywall()
    return ApiGatewayClient(paywall_id, origin, user_id=user_id)


def _print(answer: GatewayResponse) -> None:
    is_terminal = sys.stdout.isatty()
    for chunk in answer.iter_chunks():
        if is_terminal:
            print(clean_lines(chunk.decode("utf-8", "replace")), end="", flush=True)
        else:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    if is_terminal:
        print()
