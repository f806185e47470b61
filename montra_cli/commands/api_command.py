"""`montra api`: any request to the Montra API."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from ..calls.values import invalid, parse_object, read_text
from ..command import Run, command, new_app
from ..failures import DENIED, FAILED, NOT_FOUND, USAGE, CliError
from ..json_types import is_object

app: typer.Typer = new_app("Send any request to the Montra API.", no_args_is_help=False)

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
_CODES = {401: DENIED, 403: DENIED, 404: NOT_FOUND}


@command(
    app,
    asks=True,
    examples=(
        "montra api GET /customers",
        "montra api GET /audit-logs -q limit=5 -q resource_type=customer",
        "montra api POST /customers -d name='Ada Lovelace' -d email=ada@example.com",
        "montra api PATCH /customers/cust_123 --data '{\"phone\": null}'",
        "montra api POST /pricing-models --data @plan.json --idempotency-key plan-free",
    ),
)
def api(
    run: Run,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path below the base URL, e.g. /customers.")],
    fields: Annotated[
        list[str], typer.Option("-d", "--field", metavar="KEY=TEXT|KEY:=JSON", help="A field of the body; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    data: Annotated[str | None, typer.Option("--data", metavar="JSON|@FILE", help="The body; @- for stdin.")] = None,
    query: Annotated[
        list[str], typer.Option("-q", "--query", metavar="KEY=TEXT", help="A parameter of the query; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    idempotency_key: Annotated[str | None, typer.Option(metavar="KEY", help="Key of a POST (default: random).")] = None,
    include: Annotated[bool, typer.Option("-i", "--include", help="Print status and headers, too.")] = False,
) -> None:
    """Send any request with the key of the settings, and print the answer's body as it is.

    A POST gets an idempotency key. Lost connections and 429, 5xx are tried again, as in every call of the SDK.
    Exit codes: 4 for 401 and 403, 5 for 404, 1 for other errors.
    """
    method = method.upper()
    if method not in _METHODS:
        raise CliError(f"METHOD: one of {', '.join(_METHODS)}, not {method!r}", USAGE)
    if not path.startswith("/") or path.startswith("//"):
        raise invalid("PATH", "a path that begins with one /", path)
    if data is not None and fields:
        raise CliError("--data, --field: give one of them", USAGE)
    body = _body(data, fields)
    parameters = [one.partition("=") for one in query]
    if not all(equals for _, equals, _ in parameters):
        raise CliError("--query: KEY=TEXT", USAGE)
    if parameters:
        path += ("&" if "?" in path else "?") + urlencode([(name, value) for name, _, value in parameters])
    if method == "DELETE":
        run.confirm(f"DELETE {path}?")
    from ..calls.raw_client import RawClient

    client = RawClient(run.settings.api_key, run.settings.base_url)
    answer = asyncio.run(_send(client, method, path, body, idempotency_key))
    _print(answer, include=include)
    if answer.status >= 400:
        raise CliError(f"{answer.status} {method} {path.partition('?')[0]}", _CODES.get(answer.status, FAILED))


def _body(data: str | None, fields: list[str]) -> bytes | None:
    from ..calls.values import parse_json
    from ..output.encoding import to_json

    if fields:
        return to_json(parse_object("--field", fields)).encode()
    if data is None:
        return None
    text = read_text("--data", data[1:]) if data.startswith("@") else data
    parse_json("--data", text)
    return text.encode()


async def _send(client: Any, method: str, path: str, body: bytes | None, key: str | None) -> Any:
    async with client:
        return await client.send_raw(method, path, body, key)


def _print(answer: Any, *, include: bool) -> None:
    """The body as it came, but nothing in JSON controls a terminal; on a terminal, JSON is indented."""
    from ..cleaning import clean, clean_lines
    from ..output.encoding import to_json

    if include:
        print(f"HTTP {answer.status}")
        for name, value in answer.headers.items():
            print(clean(f"{name}: {value}"))
        print()
    if not sys.stdout.isatty():
        body = _clean_json(answer.body)
        sys.stdout.flush()
        sys.stdout.buffer.write(body + (b"" if body.endswith(b"\n") or not body else b"\n"))
        return
    from ..calls.values import parse_json

    text = answer.body.decode("utf-8", "replace")
    try:
        parsed = parse_json("answer", text)
    except CliError:
        parsed = None
    print(to_json(parsed, indent=2) if is_object(parsed) or isinstance(parsed, list) else clean_lines(text))


def _clean_json(body: bytes) -> bytes:
    """JSON that means the same, and holds nothing that controls a terminal; all else as it came, e.g. a file."""
    from ..calls.values import parse_json
    from ..cleaning import clean_json

    try:
        text = body.decode()
        parse_json("answer", text)
    except (UnicodeDecodeError, CliError):
        return body
    return clean_json(text).encode()
