"""`montra sandbox`: controls of a running one, and its start."""

from __future__ import annotations

import html
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from montra_cli.commands.sandbox_command import parse_span
from montra_cli.failures import CliError
from montra_cli.sandbox.control_client import ControlClient, receiver_url, with_scheme
from montra_sandbox import Sandbox

from .conftest import Cli, control

SEED = """
[[pricing_models]]
name = "Pro"
is_default = true
  [[pricing_models.meters]]
  name = "API tokens"
  slug = "api-tokens"
  limit = { max_amount = 1000, period = "month" }
[[customers]]
name = "Ada"
email = "ada@example.com"
plan = "Pro"
"""


def test_time(cli: Cli) -> None:
    frozen = cli.ok("sandbox", "freeze", "--at", "2031-01-01").out.strip()
    assert frozen.startswith("2031-01-01T00:00:00")
    assert cli.ok("sandbox", "advance", "1d12h").out.startswith("2031-01-02T12:00:00")
    assert cli.ok("sandbox", "advance", "--to", "2031-02-01T00:00:00+00:00").out.startswith("2031-02-01T00:00:00")
    assert cli.ok("sandbox", "status", "--json").json["frozen"] is True
    cli.ok("sandbox", "unfreeze")
    assert "customers" in cli.ok("sandbox", "status").out
    for wrong in ([], ["31"], ["1d", "--to", "2031-01-01"], ["--to", "soon"], ["--to", "2000-01-01"]):
        assert cli.run("sandbox", "advance", *wrong).code == 2, wrong


def test_spans() -> None:
    assert parse_span("1w2d3h4m5s1d") == {"weeks": 1, "days": 3, "hours": 3, "minutes": 4, "seconds": 5}
    for wrong in ("", "1", "d", "1y", "-1d", "1.5d", "1d ", "\u0661d"):
        with pytest.raises(CliError):
            parse_span(wrong)


def test_addresses_may_be_short() -> None:
    for given, whole in {
        "localhost:1/x": "http://localhost:1/x",
        ":1/x": "http://127.0.0.1:1/x",
        "https://x": "https://x",
        "8000": "http://127.0.0.1:8000",
        "8000/webhooks": "http://127.0.0.1:8000/webhooks",
        "127.0.0.1:8000": "http://127.0.0.1:8000",
    }.items():
        assert with_scheme(given) == whole


FOREIGN = ("hooks.example.com/x", "https://10.0.0.5:8000/x", "127.0.0.1.example.com", "0.0.0.0:8000")


@pytest.mark.parametrize("url", FOREIGN)
def test_another_machine_is_refused_before_anything_is_sent(cli: Cli, url: str) -> None:
    for arguments in (
        ["listen", "--forward-to", url],
        ["sandbox", "scenario", "trial_then_paid", "--to", url],
        ["sandbox", "--port", "0", "--forward-to", url],
    ):
        ran = cli.run(*arguments)
        assert (ran.code, "is not this machine" in ran.err, "--deliver-anywhere" in ran.err) == (2, True, True), ran.err
    assert control(cli.url, "GET", "/webhooks") == []
    assert control(cli.url, "GET", "/events") == []


def test_a_sandbox_that_delivers_anywhere_accepts_another_machine(alone: Cli) -> None:
    with Sandbox(deliver_anywhere=True) as sandbox:
        alone.environment["MONTRA_BASE_URL"] = sandbox.base_url
        assert alone.ok("sandbox", "status", "--json").json["deliver_anywhere"] is True
        assert (
            receiver_url(ControlClient(sandbox.url, None), "https://hooks.invalid/x", "--to")
            == "https://hooks.invalid/x"
        )


def test_snapshots_and_reset(cli: Cli) -> None:
    cli.customer()
    assert cli.ok("sandbox", "snapshot", "one").out == "one\n"
    name = cli.ok("sandbox", "snapshot").out.strip()
    cli.customer("eve@example.com")
    assert name in cli.ok("sandbox", "snapshots").out
    cli.ok("sandbox", "restore", "one")
    assert len(cli.ok("customers", "list", "--jsonl").lines) == 1
    cli.ok("sandbox", "snapshots", "--delete", "one")
    assert cli.run("sandbox", "restore", "one").code == 5
    assert cli.run("sandbox", "restore", "..").code == 2
    assert cli.run("sandbox", "reset").code == 7
    child = cli.terminal("sandbox", "reset")
    child.expect("Delete everything")
    child.sendline("y")
    assert "is empty" in str(child.read())
    assert cli.ok("customers", "list", "--jsonl").out == ""


def test_faults(cli: Cli) -> None:
    cli.ok("sandbox", "fault", "status", "--times", "3", "--status", "503", "--path", "/customers", "--method", "GET")
    assert cli.ok("sandbox", "fault", "list", "--json").json[0]["status"] == 503
    assert cli.run("customers", "list").code == 1
    cli.ok("sandbox", "fault", "latency", "--seconds", "0", "--share", "0.5")
    cli.ok("sandbox", "fault", "clear")
    assert cli.ok("sandbox", "fault", "list", "--json").json == []
    assert cli.run("sandbox", "fault", "earthquake").code == 2
    cli.ok("sandbox", "fault", "status", "--status", "418", "--path", "/api/v1/customers")
    assert cli.run("customers", "list").code == 1
    for wrong in (["--path", "customers"], ["--path", ""], ["--method", "GTE"]):
        ran = cli.run("sandbox", "fault", "status", *wrong)
        assert (ran.code, f"{wrong[0][2:]}: " in ran.err) == (2, True), ran.err
    assert cli.run("sandbox", "fault", "latency", "--seconds", "9999").code == 2


def test_limits_and_payments(cli: Cli) -> None:
    ids = cli.plan()
    ran = cli.run("sandbox", "limit", ids["plan"], "unknown-meter", "5")
    assert (ran.code, "no meter has the slug 'unknown-meter'; there are: api-tokens" in ran.err) == (5, True)
    cli.ok("sandbox", "limit", ids["plan"], "api-tokens", "5", "--period", "month")
    cli.ok("usage", "report", ids["customer"], "api-tokens", "--amount", "5")
    assert cli.ok("entitlements", "check", ids["customer"], "api-tokens", "--json").json["has_access"] is False
    cli.ok("sandbox", "limit", ids["plan"], "api-tokens", "unlimited")
    assert cli.ok("entitlements", "check", ids["customer"], "api-tokens", "--json").json["has_access"] is True
    link = cli.ok("checkout-links", "create", "--link-name", "a", "--payment-name", "b", "--amount", "49.00", "--json")
    paid = cli.ok("sandbox", "pay", link.json["url"], "--email", "eve@example.com", "--name", "Eve", "--json").json
    assert (paid["status"], paid["email"]) == ("succeeded", "eve@example.com")
    assert "failed" in cli.ok("sandbox", "pay", link.json["id"], "--card", "declined").out
    assert cli.run("sandbox", "pay", "link_unknown").code == 5


def test_seed_and_demo(cli: Cli) -> None:
    (cli.folder / "seed.toml").write_text(SEED)
    cli.ok("sandbox", "seed", "seed.toml")
    assert [one["email"] for one in cli.ok("customers", "list", "--jsonl").lines] == ["ada@example.com"]
    control(cli.url, "POST", "/reset", {})
    assert "customers" in cli.ok("sandbox", "demo", "--customers", "5", "--months", "2").out
    again = cli.run("sandbox", "demo")
    assert (again.code, "`montra sandbox reset`" in again.err) == (1, True)
    assert cli.run("sandbox", "seed", "missing.toml").code == 2
    (cli.folder / "bad.toml").write_text("a = [")
    assert cli.run("sandbox", "seed", "bad.toml").code == 2


def test_a_sandbox_starts_with_demo_data_and_a_seed(alone: Cli) -> None:
    (alone.folder / "seed.toml").write_text(SEED)
    process = alone.start("sandbox", "--port", "0", "--demo", "--seed", "seed.toml", "--webhook-secret", "it's mine")
    try:
        assert process.stdout is not None
        text = "".join(iter(process.stdout.readline, "Ctrl-C stops it.\n"))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert re.search(r"Demo data: .*customers.*\nCreated from the file: .*1 customers", text)
    assert "export MONTRA_WEBHOOK_SECRET='it'\"'\"'s mine'\n" in text


def test_a_sandbox_that_can_not_start_tells_no_address(alone: Cli) -> None:
    product = '[[pricing_models]]\nname = "a"\nproducts = [{name = "p", amount = "x"}]'
    (alone.folder / "seed.toml").write_text(SEED + product)
    ran = alone.run("sandbox", "--port", "0", "--seed", "seed.toml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("products[0]") == 1
    assert alone.run("sandbox", "--port", "0", "--api-key", "a b").code == 2


def test_events_are_triggered_listed_shown_and_replayed(cli: Cli) -> None:
    cli.ok("trigger", "customer.created", "--set", 'metadata:={"a": 1}', "--set", "name=Eve")
    assert [one["metadata"] for one in cli.ok("customers", "list", "--jsonl").lines] == [{"a": 1}]
    assert cli.run("trigger", "customer.created", "--set", "metadata:={").code == 2
    known = {one["event"] for one in cli.ok("trigger", "--list", "--json").json}
    assert "checkout.completed" in known
    assert "checkout.completed" in cli.ok("trigger", "--list").out
    control(cli.url, "POST", "/webhooks", {"url": "http://127.0.0.1:9/x", "service": "montra", "events": ["*"]})
    events = cli.ok("trigger", "customer.created", "--set", "data.email=zoe@example.com", "--json").json
    event = next(one for one in events if one["type"] == "customer.created")
    assert event["data"]["email"] == "zoe@example.com"
    listed = cli.ok("events", "list", "--type", "customer.created", "--json").json
    assert listed[0]["id"] == event["id"]
    assert cli.ok("events", "show", event["id"], "--json").json["data"]["email"] == "zoe@example.com"
    assert "zoe@example.com" in str(cli.terminal("events", "show", event["id"]).read())
    assert cli.ok("events", "replay", event["id"], "--json").json[0]["event_type"] == "customer.created"
    assert cli.run("events", "show", "evt_unknown").code == 5
    (endpoint,) = control(cli.url, "GET", "/webhooks")
    control(cli.url, "DELETE", f"/webhooks/{endpoint['id']}")
    ran = cli.ok("events", "replay", event["id"], "--json")
    assert (ran.json, "Nothing has received it" in ran.err) == ([], True)
    assert "Nothing has received it" in cli.ok("events", "replay", event["id"]).err
    assert "Nothing has received it" in str(cli.terminal("events", "replay", event["id"]).read())
    assert cli.run("trigger").code == 2
    assert cli.run("trigger", "customer.created", "--set", "email").code == 2
    assert cli.run("trigger", "nothing.happened").code in (2, 5)


def test_scenarios_are_listed_and_played(cli: Cli) -> None:
    from .test_live import receiver

    known = [one["name"] for one in cli.ok("sandbox", "scenario", "--json").json]
    assert "trial_then_paid" in known
    with receiver() as (url, got):
        ran = cli.ok("sandbox", "scenario", "trial_then_paid", "--to", url)
        assert got.qsize() > 0
        assert "-> 200" in ran.out
        assert "Succeeded." in ran.err
    with receiver(500) as (url, _):
        ran = cli.run("sandbox", "scenario", "trial_then_paid", "--to", url, "--json")
        assert (ran.code, ran.json["succeeded"]) == (3, False)
    assert "evt_" in cli.ok("sandbox", "scenario", "trial_then_paid").out
    assert cli.run("sandbox", "scenario", "unknown").code == 5


def test_controls_are_for_sandboxes_only(cli: Cli) -> None:
    ran = cli.run("sandbox", "reset", "--yes", MONTRA_BASE_URL="http://127.0.0.1:9/api/v1")
    assert (ran.code, "montra sandbox" in ran.err) == (6, True)
    from .test_live import receiver

    with receiver() as (url, _):
        ran = cli.run("sandbox", "reset", "--yes", MONTRA_BASE_URL=url)
        assert (ran.code, "is not a sandbox" in ran.err) == (2, True)


def test_a_sandbox_with_a_token(cli: Cli, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "seed.toml").write_text(SEED)
    token = "a-long-enough-token"
    process = cli.start(
        *("sandbox", "--port", str(port), "--db", "shop.db", "--seed", "seed.toml", "--webhook-secret", "whsec_mine"),
        *("--forward-to", ":9/webhooks", "--api-key", "sk_test_a", "--api-key", "sk_test_b"),
        MONTRA_SANDBOX_TOKEN=token,
    )
    try:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if "Ctrl-C stops it" in line:
                break
        assert "whsec_mine" in text
        assert "http://127.0.0.1:9/webhooks" in text
        assert re.search(r"1 customers?", text)
        settings = {"MONTRA_BASE_URL": f"http://127.0.0.1:{port}/api/v1", "MONTRA_API_KEY": "sk_test_a"}
        ran = cli.run("sandbox", "status", **settings)
        assert (ran.code, "MONTRA_SANDBOX_TOKEN" in ran.err) == (4, True)
        ran = cli.run("sandbox", "status", **settings, MONTRA_SANDBOX_TOKEN="wrong-wrong")
        assert (ran.code, "wrong-wrong" in ran.err) == (4, False)
        cli.ok("sandbox", "status", **settings, MONTRA_SANDBOX_TOKEN=token)
        ran = cli.run("sandbox", "--port", str(port))
        assert (ran.code, "--port 0" in ran.err) == (2, True)
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, "Stopped." in out) == (0, True)
    assert cli.run("sandbox", "--host", "0.0.0.0").code == 2


def leads_to(page: bytes) -> str:
    found = re.search(r'url=([^"]+)">', page.decode())
    assert found
    return html.unescape(found[1])


def test_the_browser_gets_the_token_in_a_private_file(cli: Cli, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$*" > {seen}.new && mv {seen}.new {seen}\n')
    browser.chmod(0o700)
    token = "a-long-enough-&token"
    for given in (token, None):
        process = cli.start("sandbox", "--port", "0", "--open", BROWSER=f"{browser} %s", MONTRA_SANDBOX_TOKEN=given)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "Ctrl-C stops it" in line:
                    break
            arguments = seen.read_text()
            if given is None:
                assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", arguments)
                continue
            assert arguments.startswith("file:///")
            assert "token" not in arguments
            page = Path(arguments.removeprefix("file://"))
            assert page.stat().st_mode & 0o777 == 0o600
            hop = leads_to(page.read_bytes())
            assert "token" not in hop
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(hop[:-1], timeout=10)
            with urllib.request.urlopen(hop, timeout=10) as opened:
                url = leads_to(opened.read())
            assert url.endswith("/?token=a-long-enough-%26token")
            browsing = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with browsing.open(url, timeout=10) as opened:
                assert (opened.status, "token" in opened.url) == (200, False)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            seen.unlink()
        assert process.returncode == 0
        assert not page.exists()


@pytest.mark.parametrize("name", ["s.yaml", "s.YML", "s.json", "s.toml"])
def test_seed_files_have_several_formats(cli: Cli, name: str) -> None:
    texts = {
        "json": '{"pricing_models": [{"name": "Pro", "products": [{"name": "Seat", "price_type": "recurring",'
        ' "amount": 20.10}]}]}',
        "toml": '[[pricing_models]]\nname = "Pro"\n[[pricing_models.products]]\n'
        'name = "Seat"\nprice_type = "recurring"\namount = 20.10\n',
        "yaml": "pricing_models:\n- name: Pro\n  products:\n  - {name: Seat, price_type: recurring, amount: 20.10}\n",
    }
    (cli.folder / name).write_text(texts.get(name[2:], texts["yaml"]))
    cli.ok("sandbox", "seed", name)
    (plan,) = cli.ok("pricing-models", "list", "--jsonl").lines
    assert plan["name"] == "Pro"
    (cli.folder / name).write_text("[")
    for arguments in (["sandbox", "seed", name], ["sandbox", "--port", "0", "--seed", name]):
        ran = cli.run(*arguments)
        assert (ran.code, ran.err.startswith(f"Error: {name}"), "Traceback" in ran.err) == (2, True, False), ran.err
    assert cli.run("sandbox", "seed", f"no-{name}").code == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense::",
        ":",
        ":x/y",
        "host:99999",
        "99999",
        "0",
        "host:0",
        "host:",
        "http://",
        "ftp://host",
        "a b",
        "[::1",
        "http:///x",
    ],
)
def test_addresses_that_can_not_be_one(alone: Cli, url: str) -> None:
    for arguments in (["listen", "--forward-to", url], ["sandbox", "--port", "0", "--forward-to", url]):
        ran = alone.run(*arguments)
        assert (ran.code, "--forward-to: " in ran.err, "Traceback" in ran.err) == (2, True, False), ran.err
