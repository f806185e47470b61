"""Text from outside can't forge a line of the log: a record is one line, without anything that controls a terminal."""

from __future__ import annotations

import ast
import importlib
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

from montra_async import InvalidRequestError, Montra, NetworkError, ServerError
from montra_async.access import Access
from montra_async.core.errors import CallInfo
from montra_async.frameworks.guards import denied
from montra_async.paywall import BillingClient, PaywallApiError
from montra_async.usage import MemoryOutbox, UsageReporter
from montra_async.webhooks import MemoryStore, WebhookReceiver, sign
from montra_sandbox import Sandbox
from montra_sync.frameworks import flask as montra_flask

from ..scripted import scripted_server

ROOT = Path(__file__).parents[2]
PACKAGES = ("montra_async", "montra_sync", "montra_sandbox", "montra_cli", "montra_pytest")
HOSTILE = "bad\r\n2026-01-01 00:00:00,000 CRITICAL forged \x1b[31m\u2028line\x85\u2029\x00\x9b2J\u202e"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
SECRET = "whsec_of_the_tests"


def is_one_line(text: str) -> bool:
    return len(text.splitlines()) <= 1 and text.isprintable()


def calls_of(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The calls that write into a log, each with its kind of logger."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            held = ast.unparse(node.func.value)
            if held in ("log", "_log") and node.func.attr in (*LEVELS, "log"):
                yield "logger", node
            elif held in ("_log", "self._log", "log", "self.log") and node.func.attr == "write":
                yield "occasional", node


def format_of(kind: str, call: ast.Call) -> str:
    """The format of a call's message; of one that is not written there, something that shows anything."""
    position = 2 if kind == "occasional" else int(ast.unparse(call.func).endswith(".log"))
    given = call.args[position]
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else "%s"


def arguments_of(text: str) -> tuple[Any, ...]:
    kinds = re.findall(r"%[-+ #0-9.]*([a-zA-Z])", text.replace("%%", ""))
    return tuple(HOSTILE if kind in "sra" else 1 for kind in kinds)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if any(True for _ in calls_of(tree)):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts), tree


def test_every_call_that_writes_into_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each with hostile values, through the logger that it uses."""
    walked = 0
    with caplog.at_level(logging.DEBUG, "montra"), caplog.at_level(logging.DEBUG, "montra_sandbox"):
        for name, tree in modules():
            module = importlib.import_module(name)
            for kind, call in calls_of(tree):
                used = getattr(module, ast.unparse(call.func).split(".")[0], None)
                logger = used if isinstance(used, logging.Logger) else logging.getLogger("montra")
                assert logger.name in ("montra", "montra.frameworks", "montra_sandbox"), name
                message = format_of(kind, call)
                caplog.clear()
                logger.warning(message, *arguments_of(message))
                (record,) = caplog.records
                assert is_one_line(record.getMessage()), (name, call.lineno, record.getMessage())
                walked += 1
    assert walked > 70


PUBLIC = {
    "montra_async": ("Montra",),
    "montra_async.access": ("Access",),
    "montra_async.usage": ("UsageReporter", "SqliteOutbox", "RedisOutbox", "SpillingOutbox", "MemoryOutbox"),
    "montra_async.webhooks": ("WebhookReceiver", "SqliteStore", "parse"),
    "montra_async.paywall": ("BillingClient", "AuthClient", "ApiGatewayClient"),
    "montra_sync": ("Montra",),
    "montra_sync.access": ("Access",),
    "montra_sync.usage": ("UsageReporter",),
    "montra_sync.paywall": ("BillingClient",),
    "montra_sandbox": ("Sandbox",),
}


def test_the_filter_is_there_whatever_is_imported() -> None:
    """Whoever uses a public name has loaded what cleans the log of all that it uses."""
    script = """
import importlib, json, logging, sys
for package, names in json.loads(sys.argv[1]).items():
    for name in names:
        for one in [one for one in sys.modules if one.startswith("montra")]:
            del sys.modules[one]
        for logger in ("montra", "montra.frameworks", "montra_sandbox"):
            logging.getLogger(logger).filters.clear()
        getattr(importlib.import_module(package), name)
        for one in [one for one in sys.modules if one.startswith("montra")]:
            log = getattr(sys.modules[one], "log", None)
            if isinstance(log, logging.Logger) and not log.filters:
                print(package, name, one)
"""
    command = [sys.executable, "-c", script, json.dumps(PUBLIC)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_plain_records_are_left_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """Those who group records by their formats, or read their arguments, still can."""
    logger = logging.getLogger("montra")
    logger.warning("usage of %r: %d, größer", "größe", 3)
    logger.warning("no arguments: 100 %")
    assert [(one.msg, one.args) for one in caplog.records] == [
        ("usage of %r: %d, größer", ("größe", 3)),
        ("no arguments: 100 %", ()),
    ]


# What really arrives


def answer(status: int, body: Any, **headers: str) -> bytes:
    text = json.dumps(body).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{lines}Content-Length: {len(text)}\r\n\r\n"
    return head.encode("latin-1") + text


REFUSED = {"success": False, "error": {"code": HOSTILE, "message": HOSTILE}}


async def test_an_error_of_the_service() -> None:
    """An application writes it into its own log."""
    async with scripted_server() as server:
        server.says([answer(422, REFUSED, **{"x-request-id": "a\x1b[31m\x9b"})])
        async with Montra("sk_test_1", server.url, max_attempts=1) as montra:
            with pytest.raises(InvalidRequestError) as caught:
                await montra.create_customer(name="A", email="a@example.com")
    error = caught.value
    shown = (str(error), error.code, error.message, error.request_id or "", *error.args)
    assert [one for one in shown if not is_one_line(one)] == []
    assert error.message.startswith("bad\\r\\n2026-01-01")


async def test_an_error_of_the_paywall_service() -> None:
    async with scripted_server() as server:
        server.says([answer(500, {"code": HOSTILE, "message": HOSTILE})])
        async with BillingClient("pw_1", api_origin=server.url, max_attempts=1) as billing:
            with pytest.raises(PaywallApiError) as caught:
                await billing.bootstrap()
    error = caught.value
    assert [one for one in (str(error), error.code, error.message, *error.args) if not is_one_line(one)] == []


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 \x1b[31m\xe2\x80\xa8\r\nbad\x1b[2J\r\n\r\n", b"\x1b[31m forged\n\r\n"])
async def test_what_is_no_response(line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with scripted_server() as server:
        server.says([line])
        async with Montra("sk_test_1", server.url, max_attempts=2) as montra:
            with pytest.raises((NetworkError, ServerError)) as caught:
                await montra.list_meters()
    cause = caught.value.__cause__
    assert [one for one in (str(caught.value), "" if cause is None else str(cause)) if not is_one_line(one)] == []
    assert [one for one in caplog.messages if not is_one_line(one)] == []


@pytest.mark.parametrize("status", [422, 500])
async def test_usage_and_access(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "montra")
    async with scripted_server() as server:
        server.says([answer(status, REFUSED)])
        async with (
            Montra("sk_test_1", server.url, max_attempts=2) as montra,
            UsageReporter(montra, MemoryOutbox(), exit_timeout=0.5) as reporter,
            Access(montra, reporter) as access,
        ):
            await reporter.record("cust_1", f"calls{HOSTILE}")
            await reporter.flush(0.5 if status == 500 else 30)
            parked = await reporter.list_parked()
            assert [one for one in parked if not is_one_line(one.code + one.message)] == []
            assert len(parked) == (1 if status == 422 else 0)
            try:
                await access.check("cust_1", meter="calls")
            except InvalidRequestError as error:
                denied("feature", HOSTILE, HOSTILE, error)
            else:
                denied(
                    "feature",
                    HOSTILE,
                    HOSTILE,
                    NetworkError(HOSTILE, CallInfo(method="GET", path=f"/customers/{HOSTILE}")),
                )
    assert [one for one in caplog.messages if not is_one_line(one)] == []
    assert any("parked" in one or "can't be" in one for one in caplog.messages)


async def test_webhooks(caplog: pytest.LogCaptureFixture) -> None:
    receiver = WebhookReceiver(SECRET, store=MemoryStore(), max_age=60)

    @receiver.on("*")
    def fail(_: Any) -> None:
        raise KeyError("of the application")

    for fields in ({}, {"created_at": HOSTILE}, {"created_at": "2001-01-01T00:00:00Z"}):
        body = json.dumps({"id": HOSTILE, "type": HOSTILE, "data": {HOSTILE: HOSTILE}, **fields}).encode()
        await receiver.handle(body, {"Montra-Signature": sign(body, SECRET)})
    await receiver.handle(b"{}", {"Montra-Signature": HOSTILE, HOSTILE: HOSTILE})
    await receiver.handle(HOSTILE.encode(), {"Montra-Signature": sign(HOSTILE.encode(), SECRET)})
    assert len(caplog.messages) == 5
    assert [one for one in caplog.messages if not is_one_line(one)] == []


def test_a_path_that_a_visitor_asks_for(caplog: pytest.LogCaptureFixture) -> None:
    app, blueprint = flask.Flask("tests"), flask.Blueprint("views", "views")
    montra = montra_flask.MontraFlask(app)

    @montra.require_feature("sso", customer=lambda: "cust_1")  # above the route, where it guards nothing
    @blueprint.get("/<path:name>")
    def view(name: str) -> str:
        return name

    app.register_blueprint(blueprint)
    assert app.test_client().get("/%0dCRITICAL%20forged%1b[31m").status_code == 500
    (message,) = [one for one in caplog.messages if "is not served" in one]
    assert "\\rCRITICAL forged\\x1b[31m" in message
    assert is_one_line(message)


def test_the_sandbox_shows_what_an_application_answers(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("500 X", [("Content-Type", "text/plain")])
        return [HOSTILE.encode()]

    with Sandbox() as sandbox:
        sandbox.webhooks.to(app, path="/hooks")
        sandbox.trigger("checkout.completed", email="ada@example.com")
    refused = [one for one in caplog.messages if "refused" in one]
    assert refused
    assert [one for one in refused if not is_one_line(one)] == []
