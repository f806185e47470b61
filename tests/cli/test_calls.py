"""Every call of the SDK as a command."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from montra_cli.calls.values import parse_date, parse_datetime, parse_object, parse_objects, read_value
from montra_cli.failures import CliError

from .conftest import Cli, control


def test_a_customer_is_created_changed_and_listed(cli: Cli) -> None:
    created = cli.ok(
        *("customers", "create", "--name", "Ada", "--email", "ada@example.com", "--phone", "+358 40"),
        *("--metadata", "plan=pro", "--metadata", "seats:=5", "--address", '{"city": "Turku"}'),
        *("--invoicing-emails", "a@example.com", "--invoicing-emails", "b@example.com", "--json"),
    ).json
    assert created["metadata"] == {"plan": "pro", "seats": 5}
    assert created["invoicing_emails"] == ["a@example.com", "b@example.com"]
    changed = cli.ok("customers", "update", created["id"], "--name", "Ada King", "--clear", "phone", "--json").json
    assert (changed["name"], changed.get("phone")) == ("Ada King", None)
    assert changed["metadata"] == {"plan": "pro", "seats": 5}
    assert "metadata" not in cli.ok("customers", "update", created["id"], "--clear", "metadata", "--json").json
    assert [one["id"] for one in cli.ok("customers", "list", "--jsonl").lines] == [created["id"]]
    assert cli.ok("customers", "get", created["id"], "--columns", "email", "--no-header").out == "ada@example.com\n"


def test_an_empty_value_clears_a_field(cli: Cli) -> None:
    customer = cli.customer()
    cli.ok("customers", "update", customer, "--phone", "1")
    assert "phone" not in cli.ok("customers", "update", customer, "--phone", "", "--json").json
    ran = cli.run("customers", "update", customer, "--phone", "1", "--clear", "phone")
    assert (ran.code, "given and cleared" in ran.err) == (2, True)
    assert cli.run("customers", "update", customer, "--clear", "name").code == 2


def test_amounts_are_exact_and_line_items_work(cli: Cli) -> None:
    plan = cli.plan()["plan"]
    product = cli.ok(
        *("products", "create", plan, "--name", "Seat", "--price-type", "recurring", "--amount", "20.10", "--json")
    )
    assert '"amount": 20.10' in product.out
    items = f"product_id={product.json['id']},quantity=2"
    link = cli.ok(
        "checkout-links", "create", "--link-name", "a", "--payment-name", "b", "--line-items", items, "--json"
    )
    assert link.json["url"].startswith("http")
    discount = cli.ok(
        *("discounts", "create", "--name", "L", "--code", "L20", "--duration", "once", "--percent-off", "12.5"),
        *("--valid-until", "2999-01-01T00:00:00Z", "--json"),
    ).json
    assert discount["valid_until"].startswith("2999-01-01")


def test_subscriptions(cli: Cli) -> None:
    ids = cli.plan()
    other = cli.ok("pricing-models", "create", "--name", "Max", "--no-is-default", "--json").json["id"]
    upgraded = cli.ok("subscriptions", "upgrade", ids["subscription"], other, "--json").json
    assert upgraded["subscription"]["pricing_model_id"] == other
    at = "2999-01-01T00:00:00+02:00"
    change = cli.ok(
        "subscriptions", "schedule-change", ids["subscription"], ids["plan"], "--scheduled-for", at, "--json"
    ).json
    assert change["scheduled_for"].startswith("2998-12-31T22:00:00")
    assert len(cli.ok("subscriptions", "list-scheduled-changes", ids["subscription"], "--jsonl").lines) == 1
    assert cli.run("subscriptions", "pause", ids["subscription"]).code == 7
    assert cli.ok("subscriptions", "pause", ids["subscription"], "--yes", "--json").json["status"] == "paused"
    assert cli.run("subscriptions", "pause", ids["subscription"], "--yes").code == 1
    assert [one["id"] for one in cli.ok("subscriptions", "list", ids["customer"], "--jsonl").lines]


def test_a_key_makes_a_report_count_once(cli: Cli) -> None:
    customer = cli.plan()["customer"]
    for _ in range(2):
        ran = cli.ok("usage", "report", customer, "api-tokens", "--amount", "7", "--idempotency-key", "job-1")
        assert (ran.out, ran.err) == ("", "Done.\n")
    assert cli.used(customer) == 7
    assert cli.ok("usage", "report", customer, "api-tokens", "--json").out == "true\n"


def test_pages_series_and_files(cli: Cli) -> None:
    cli.customer()
    cli.customer("eve@example.com")
    page = cli.ok("audit-logs", "list", "--limit", "1", "--json").json
    assert (len(page["data"]), page["meta"]["total"]) == (1, 2)
    assert len(cli.ok("audit-logs", "iter", "--page-size", "1", "--jsonl").lines) == 2
    series = cli.ok("analytics", "series", "--interval", "monthly", "--points", "2").out.splitlines()
    assert len(series) == 3
    assert series[0].split("\t")[:2] == ["key", "transactions"]
    (cli.folder / "logo.png").write_bytes(b"png")
    assert cli.ok("files", "upload", "logo.png", "--json").json["size"] == 3
    assert cli.ok("files", "upload", "-", "--name", "a.txt", "--json", stdin=b"12345").json["size"] == 5
    assert cli.run("files", "upload", "nothing.png").code == 2


def test_deleting_asks(cli: Cli) -> None:
    plan = cli.plan()["plan"]
    feature = cli.ok("features", "create", plan, "--name", "SSO", "--slug", "sso", "--json").json["id"]
    ran = cli.run("features", "delete", feature)
    assert (ran.code, "--yes" in ran.err) == (7, True)
    cli.ok("features", "update", feature, "--status", "Archived", "--description", "")
    cli.ok("features", "delete", feature, "--yes")
    assert cli.run("features", "delete", feature, "--yes").code == 5


USER = ("--email", "eve@example.com", "--user-id", "7")


def buyer(cli: Cli) -> None:
    """A user of the paywall who has paid."""
    prices = cli.ok("paywall", "list-prices", "--json").json
    made = cli.ok("paywall", "create-checkout", str(prices[0]["id"]), *USER, "--ignore-active-purchase", "--json").json
    address = next(value for value in made.values() if str(value).startswith(cli.url))
    assert cli.ok("sandbox", "pay", address, "--json").json["status"] == "succeeded"


def test_the_paywall_service(cli: Cli) -> None:
    buyer(cli)
    before = cli.ok("paywall", "credit-tokens", "gpt-4", "10", *USER, "--json").json
    assert cli.run("paywall", "debit-tokens", "gpt-4", "3", *USER).code == 7
    after = cli.ok("paywall", "debit-tokens", "gpt-4", "3", *USER, "--yes", "--json").json
    assert before != after
    assert len(cli.ok("paywall", "list-purchases", *USER, "--jsonl").lines) == 1
    cli.ok("paywall", "create-support-ticket", "Help", "It does not open", *USER)
    assert control(cli.url, "GET", "/tickets")
    assert cli.run("paywall", "list-purchases", "--email", "nobody@example.com").code == 5


def test_any_other_request(cli: Cli) -> None:
    made = cli.ok("api", "post", "/customers", "-d", "name=Ada", "-d", "email=ada@example.com").json["data"]
    assert cli.ok("api", "GET", "/customers").json["data"][0]["id"] == made["id"]
    cli.ok("api", "PATCH", f"/customers/{made['id']}", "--data", '{"phone": "1"}')
    cli.ok("api", "PATCH", f"/customers/{made['id']}", "--data", "@-", stdin=b'{"phone": null}')
    assert len(cli.ok("api", "GET", "/audit-logs", "-q", "limit=1").json["data"]) == 1
    keyed = [
        cli.ok(
            "api", "POST", "/customers", "--data", '{"name": "E", "email": "e@example.com"}', "--idempotency-key", "k-1"
        ).json["data"]["id"]
        for _ in range(2)
    ]
    assert keyed[0] == keyed[1]
    requests = control(cli.url, "GET", "/requests")
    assert all(one["idempotency_key"] for one in requests if one["method"] == "POST")
    ran = cli.run("api", "GET", "/customers/cust_x", "-i")
    assert (ran.code, ran.out.startswith("HTTP 404")) == (5, True)
    assert cli.run("api", "DELETE", "/webhooks/we_1").code == 7
    assert cli.run("api", "DELETE", "/webhooks/we_1", "--yes").code == 5
    for wrong in (
        ["BREW", "/tea"],
        ["GET", "customers"],
        ["GET", "//evil.example"],
        ["POST", "/x", "--data", "{"],
        ["POST", "/x", "--data", "{}", "-d", "a=b"],
        ["GET", "/x", "-q", "a"],
    ):
        assert cli.run("api", *wrong).code == 2, wrong


def test_the_gateway(cli: Cli) -> None:
    buyer(cli)
    ran = cli.ok("paywall", "call", "echo", "/hello", "--user-id", "7", "-d", "question=why")
    assert "why" in ran.out
    assert "why" in str(cli.terminal("paywall", "call", "echo", "--user-id", "7", "--data", '{"a": "why"}').read())
    assert cli.run("paywall", "call", "echo", "--user-id", "nobody").code == 5
    assert cli.run("paywall", "call", "echo", "--data", "{}", "-d", "a=b").code == 2


def test_values_of_the_command_line() -> None:
    assert parse_object("--m", ['{"a": 1.50}', "b=x=y", "c:=[1]"]) == {"a": Decimal("1.50"), "b": "x=y", "c": [1]}
    assert parse_objects("--i", ["product_id=123,quantity=2", '[{"a": 1}]', '{"b": 2}']) == [
        {"product_id": "123", "quantity": 2},
        {"a": 1},
        {"b": 2},
    ]
    assert read_value("id", "--price-id", "101") == 101
    assert read_value("id", "--price-id", "p1") == "p1"
    assert read_value("whole", "--n", "-5") == -5
    assert str(parse_date("--d", "2030-01-31")) == "2030-01-31"
    assert parse_datetime("--d", "2030-01-31T12:00:00Z").isoformat() == "2030-01-31T12:00:00+00:00"
    assert len(read_value("files", "--files", ["a", "b"])) == 2


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *(("number", one) for one in ("abc", "NaN", "Infinity", "")),
        *(("whole", one) for one in ("1.5", "\u0661", "1" * 65, "")),
        *(("datetime", one) for one in ("2030-01-31T12:00:00", "yesterday")),
        *(("date", one) for one in ("31.1.2030", "2030-01-31T12:00:00")),
        *(("object", [one]) for one in ("a", "[1]", "{", "@/nonexistent", "a:={", "{NaN}", '{"a": NaN}')),
        *(("objects", [one]) for one in ("a", "a=1,b", "[1", "@/nonexistent")),
    ],
)
def test_what_can_not_be_read_is_refused(kind: str, given: str) -> None:
    with pytest.raises(CliError) as refused:
        read_value(kind, "--x", given)
    assert refused.value.code == 2


def test_files_of_json_are_bounded(cli: Cli) -> None:
    (cli.folder / "big.json").write_bytes(b" " * (10 * 1024 * 1024 + 1))
    (cli.folder / "latin.json").write_bytes(b'{"a": "\xe4"}')
    (cli.folder / "deep.json").write_text("[" * 100_000)
    for name in ("big", "latin", "deep"):
        ran = cli.run("customers", "create", "--name", "A", "--email", "a@b.c", "--metadata", f"@{name}.json")
        assert (ran.code, "Traceback" in ran.err) == (2, False)
    (cli.folder / "good.json").write_text(json.dumps({"ä": "ö"}))
    made = cli.ok("customers", "create", "--name", "A", "--email", "a@b.c", "--metadata", "@good.json", "--json")
    assert made.json["metadata"] == {"ä": "ö"}


def test_numbers_and_json_of_the_command_line_are_bounded(alone: Cli) -> None:
    for text in ("1_000", "\u0661\u0662", "1e9999999999", "nan", "1" * 500):
        ran = alone.run("usage", "report", "c", "m", "--amount", text)
        assert (ran.code, "number" in ran.err, "Traceback" in ran.err) == (2, True, False), text
    for text in ("[" * 500 + "]" * 500, "[" * 50_000, "1e99999999999999999999", "NaN", "1" * 5000):
        for arguments in (["-d", f"a:={text}"], ["--data", f'{{"a": {text}}}']):
            ran = alone.run("api", "POST", "/customers", *arguments, MONTRA_API_KEY="sk_test_a")
            assert (ran.code, "JSON" in ran.err, "Traceback" in ran.err) == (2, True, False), text[:20]
