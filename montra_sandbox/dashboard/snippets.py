"""A request as code that sends it again: for curl and for the SDK. Neither holds a key."""

from __future__ import annotations

import shlex
from urllib.parse import parse_qsl

from ..contract import read_contract
from ..json import is_object
from ..request_log import MAX_BODY, RecordedRequest
from .python_calls import SdkCall, format_call, literal, montra_call, paywall_call

_PREFIXES = {"montra": "/api/v1", "paywall": "/api"}
_CUT_OFF = "# The body was cut off when it was recorded.\n"
_HIDDEN = "# [hidden]: what is secret is not recorded.\n"
_PAYWALL_MODULE = "montra_async.paywall"
_KEY = 'os.environ["MONTRA_API_KEY"]'
# By client: its class, where that comes from, and how it is made.
_CONSTRUCTORS = {
    "montra": ("Montra", "montra_async", f"Montra({_KEY}, {{base_url}})"),
    "billing": ("BillingClient", _PAYWALL_MODULE, f"BillingClient({{paywall_id}}, {{origin}}, {_KEY})"),
    "auth": ("AuthClient", _PAYWALL_MODULE, "AuthClient({paywall_id}, {origin})"),
    "gateway": ("ApiGatewayClient", _PAYWALL_MODULE, 'ApiGatewayClient({paywall_id}, {origin}, user_id="USER")'),
}


def as_curl(request: RecordedRequest, origin: str) -> str:
    """The request as a command for a shell. Whatever it holds, the shell sees quoted words only.

    Args:
        request: the request.
        origin: the sandbox's address.
    """
    lines = [f"curl --globoff -X {shlex.quote(request.method)} {shlex.quote(origin + request.path)}"]
    if request.service == "montra":
        lines.append('-H "Authorization: Bearer $MONTRA_API_KEY"')
    else:
        lines.append('-H "X-Api-Key: $MONTRA_API_KEY"')
    if _is_json(request):
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"--data-raw {shlex.quote(request.request_body or '')}")  # --data would read the file of "@name"
    return _warnings(request) + " \\\n  ".join(lines)


def as_python(request: RecordedRequest, origin: str, paywall_id: str) -> str | None:
    """The request as a program that makes the call with the SDK; None when no method makes it.

    Args:
        request: the request.
        origin: the sandbox's address.
        paywall_id: the paywall, if the path has none.
    """
    path, _, query = request.path.partition("?")
    found = [
        values
        for operation, values in read_contract(request.service).at(path.removeprefix(_PREFIXES[request.service]))
        if operation.id == request.operation
    ]
    if request.operation is None or not found:
        return None
    body = request.json if is_object(request.json) else {}
    values = {name: value for name, value in found[0].items() if name != "paywall_id"}
    paywall_id = found[0].get("paywall_id", paywall_id)
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if request.service == "montra":
        call = montra_call(request.operation, values, asked, body)
    else:
        made = paywall_call(request.operation, values, {**asked, **body})
        if made is None:
            return None
        call = made
    return _warnings(request) + _program(call, origin, paywall_id)


def _is_json(request: RecordedRequest) -> bool:
    return request.request_body is not None and not request.request_body.startswith("[")


def _warnings(request: RecordedRequest) -> str:
    body = request.request_body or ""
    is_cut = len(body.encode()) >= MAX_BODY
    return (_CUT_OFF if is_cut else "") + (_HIDDEN if "[hidden]" in f"{body}{request.path}" else "")


def _program(call: SdkCall, origin: str, paywall_id: str) -> str:
    name, module, constructor = _CONSTRUCTORS[call.client]
    client = constructor.format(
        base_url=literal(f"{origin}/api/v1"), origin=literal(origin), paywall_id=literal(paywall_id)
    )
    user, _ = format_call(f"{call.client}.for_user", call.user, 8)
    target = f"{user if call.user else call.client}.{call.method}"
    statement, left_out = format_call(target, call.arguments, 8)
    comment = f"        # not parameters of the call: {left_out!a}\n" if left_out else ""
    main = (
        f"async def main() -> None:\n    async with {client} as {call.client}:\n"
        f"{comment}        print(await {statement})\n\n\nasyncio.run(main())\n"
    )
    return f"{_imports(main)}\n\nfrom {module} import {name}\n\n\n{main}"


def _imports(main: str) -> str:
    times = [name for name in ("date", "datetime") if f"{name}.fromisoformat(" in main]
    lines = [
        "import asyncio",
        "import os" if "os.environ" in main else "",
        f"from datetime import {', '.join(times)}" if times else "",
        "from decimal import Decimal" if "Decimal(" in main else "",
    ]
    return "\n".join(line for line in lines if line)
