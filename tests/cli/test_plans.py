"""Plans as code: the same result however often it is applied, and nothing is skipped silently."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from montra_cli.failures import CliError
from montra_cli.plans.changes import find_changes
from montra_cli.plans.plans_file import parse_toml
from montra_cli.plans.schema import plans_of_file

from .conftest import Cli, control

PLANS = """
[[pricing_models]]
name = "Pro \\"1\\""
is_default = true
  [[pricing_models.products]]
  name = "Seat"
  price_type = "recurring"
  amount = "20.00"
  [[pricing_models.products]]
  name = "Tokens"
  price_type = "usage"
  meter_slug = "api-tokens"
  amount = 0.05
  [[pricing_models.meters]]
  name = "API tokens"
  slug = "api-tokens"
  aggregation = "sum"
  limit = { max_amount = 1000, period = "month" }
  [[pricing_models.features]]
  name = "Single sign-on"
  slug = "sso"
[[pricing_models]]
name = "Free"
is_default = false
"""


def write(cli: Cli, text: str) -> None:
    (cli.folder / "plans.toml").write_text(text)


def test_apply_makes_the_service_like_the_file(cli: Cli) -> None:
    write(cli, PLANS)
    ran = cli.run("plans", "diff", "plans.toml")
    assert (ran.code, '+ Pro "1" / meter api-tokens' in ran.out) == (3, True)
    assert cli.run("plans", "apply", "plans.toml").code == 7
    assert cli.ok("pricing-models", "list", "--jsonl").out == ""
    ran = cli.ok("plans", "apply", "plans.toml", "--yes")
    assert "7 changes made." in ran.err
    assert cli.ok("plans", "diff", "plans.toml").out == "No changes.\n"
    assert cli.ok("plans", "apply", "plans.toml", "--yes").out == "No changes.\n"
    pulled = cli.ok("plans", "pull").out
    assert 'amount = "0.05"' in pulled
    assert 'limit = { max_amount = 1000, period = "month" }' in pulled
    assert cli.ok("plans", "diff", "-", stdin=pulled.encode()).out == "No changes.\n"
    cli.ok("plans", "pull", "-o", "pulled.toml")
    assert (cli.folder / "pulled.toml").read_text() == pulled
    control(cli.url, "POST", "/reset", {})
    cli.ok("sandbox", "seed", "pulled.toml")
    assert cli.ok("plans", "diff", "pulled.toml").out == "No changes.\n"


def test_pull_asks_before_it_replaces_other_plans(cli: Cli) -> None:
    write(cli, PLANS)
    cli.ok("plans", "apply", "plans.toml", "--yes")
    ran = cli.run("plans", "pull", "-o", "plans.toml")
    assert (ran.code, "other content" in ran.err) == (7, True)
    assert (cli.folder / "plans.toml").read_text() == PLANS
    cli.ok("plans", "pull", "-o", "plans.toml", "--yes")
    assert (cli.folder / "plans.toml").read_text() != PLANS
    cli.ok("plans", "pull", "-o", "plans.toml")  # the same content


def test_changes_are_shown_and_what_the_api_can_not_do_is_told(cli: Cli) -> None:
    write(cli, PLANS)
    cli.ok("plans", "apply", "plans.toml", "--yes")
    changed = PLANS.replace('"20.00"', "25").replace("Single sign-on", "SSO").replace("1000", "2000")
    write(cli, changed.replace("is_default = true", "").replace("is_default = false", "is_default = true"))
    ran = cli.run("plans", "apply", "plans.toml", "--yes")
    assert ran.code == 3
    assert "amount: 20.00 -> 25" in ran.out
    assert "no call that changes a product's amount" in ran.out
    assert "name: Single sign-on -> SSO" in ran.out
    assert "limit: 1000 per month -> 2000 per month" in ran.out
    assert {one["name"]: one["is_default"] for one in cli.ok("pricing-models", "list", "--jsonl").lines} == {
        'Pro "1"': False,
        "Free": True,
    }
    left = cli.run("plans", "diff", "plans.toml", "--json")
    assert (left.code, [one["action"] for one in left.json]) == (3, ["impossible"])


def test_what_may_be_refused_is_told_before_something_is_changed(cli: Cli) -> None:
    product = '[[pricing_models.products]]\nname = "p"\nprice_type = "weird"\namount = 1\n'
    write(cli, f'[[pricing_models]]\nname = "a"\n{product}')
    told = "a / product p: price_type 'weird' is not known here; known: one_time, recurring, usage"
    assert told in cli.run("plans", "diff", "plans.toml").err
    ran = cli.run("plans", "apply", "plans.toml")
    assert (ran.code, told in ran.err) == (7, True)
    assert cli.ok("pricing-models", "list", "--jsonl").out == ""


@pytest.mark.parametrize("name", ["plans.json", "plans.YAML", "plans.yml"])
def test_plans_are_toml(cli: Cli, name: str) -> None:
    for arguments in (("pull", "-o", name), ("diff", name), ("apply", name)):
        ran = cli.run("plans", *arguments)
        assert (ran.code, "plans are TOML" in ran.err) == (2, True)
    assert not (cli.folder / name).exists()


def test_nothing_is_deleted_without_prune(cli: Cli) -> None:
    write(cli, PLANS)
    cli.ok("plans", "apply", "plans.toml", "--yes")
    write(cli, '[[pricing_models]]\nname = "Free"\n[[pricing_models]]\nname = "Pro \\"1\\""\n')
    ran = cli.ok("plans", "diff", "plans.toml")
    assert "feature sso" in ran.err
    ran = cli.run("plans", "apply", "plans.toml", "--prune", "--yes")
    assert ran.code == 3
    assert '- Pro "1" / feature sso' in ran.out
    assert "the API can't delete products" in ran.out
    assert cli.ok("features", "list", "--jsonl").out == ""
    write(cli, PLANS)
    cli.ok("plans", "apply", "plans.toml", "--yes")  # the same feature again
    assert len(cli.ok("features", "list", "--jsonl").lines) == 1
    write(cli, '[[pricing_models]]\nname = "Free"\n')
    assert "can't delete pricing models" in cli.run("plans", "diff", "plans.toml", "--prune").out


def test_a_crash_in_the_middle_is_mended_by_doing_it_again(cli: Cli) -> None:
    write(cli, PLANS)
    control(cli.url, "POST", "/faults", {"kind": "drop_after", "times": 3, "method": "POST", "path": "/products"})
    ran = cli.run("plans", "apply", "plans.toml", "--yes")
    assert (ran.code, "2 of 7 changes made" in ran.err) == (6, True)
    cli.ok("plans", "apply", "plans.toml", "--yes")
    assert len(cli.ok("products", "list", "--jsonl").lines) == 2
    assert len(cli.ok("pricing-models", "list", "--jsonl").lines) == 2


def test_a_question_on_a_terminal(cli: Cli) -> None:
    write(cli, PLANS)
    child = cli.terminal("plans", "apply", "plans.toml")
    child.expect("Make 7 changes")
    child.sendline("y")
    assert "7 changes made." in str(child.read())


def test_without_a_sandbox_limits_are_impossible() -> None:
    plans = plans_of_file(
        {"pricing_models": [{"name": "A", "meters": [{"name": "m", "slug": "m", "limit": {"max_amount": 5}}]}]}
    )
    found = find_changes(plans, [], prune=False, has_limits=False)
    assert [(one.action, one.name) for one in found] == [("create", "A"), ("create", "m"), ("impossible", "m")]
    plans[0].parts["meters"][0].limit = None
    assert len(find_changes(plans, [], prune=False, has_limits=False)) == 2


def test_objects_that_can_not_be_told_apart_are_refused(cli: Cli) -> None:
    for _ in range(2):
        cli.ok("pricing-models", "create", "--name", "Free")
    write(cli, PLANS)
    ran = cli.run("plans", "diff", "plans.toml")
    assert (ran.code, "can't tell them apart" in ran.err) == (2, True)


def test_pull_writes_no_file_that_diff_refuses(cli: Cli) -> None:
    write(cli, PLANS)
    cli.ok("plans", "apply", "plans.toml", "--yes")
    pro = cli.ok("pricing-models", "list", "--jsonl").lines[0]["id"]
    seats = [one["id"] for one in cli.ok("products", "list", "--jsonl").lines if one["name"] == "Seat"]
    product = (pro, "--name", "Seat", "--price-type", "recurring", "--amount", "30")
    seats.append(cli.ok("products", "create", *product, "--json").json["id"])
    free = [one["id"] for one in cli.ok("pricing-models", "list", "--jsonl").lines if one["name"] == "Free"]
    free.append(cli.ok("pricing-models", "create", "--name", "Free", "--json").json["id"])

    ran = cli.run("plans", "pull", "-o", "pulled.toml")
    assert (ran.code, ran.out, (cli.folder / "pulled.toml").exists()) == (2, "", False)
    assert f"2 pricing models are named 'Free': {', '.join(free)}" in ran.err
    assert f"have the name 'Seat': {', '.join(seats)}" in ran.err
    assert (cli.run("plans", "pull").code, cli.run("plans", "pull").out) == (2, "")

    assert cli.run("plans", "pull", "--without", "pm_none").code == 2
    cli.ok("plans", "pull", "-o", "pulled.toml", "--without", free[0], "--without", seats[0])
    control(cli.url, "POST", "/reset", {})
    cli.ok("plans", "apply", "pulled.toml", "--yes")
    assert cli.ok("plans", "diff", "pulled.toml").out == "No changes.\n"
    assert [one["amount"] for one in cli.ok("products", "list", "--jsonl").lines if one["name"] == "Seat"] == [30]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pricing_models = 1", "tables"),
        ("[[discounts]]\ncode = 'a'", "only for"),
        ("[colours]", "unknown"),
        ("[[pricing_models]]", "needs a name"),
        ("[[pricing_models]]\nname = ' '", "a text"),
        ("[[pricing_models]]\nname = 'a'\nprice = 1", "the fields are"),
        ("[[pricing_models]]\nname = 'a'\nis_default = 1", "true or false"),
        ("[[pricing_models]]\nname = 'a'\n[[pricing_models]]\nname = 'a'", "twice"),
        (
            "[[pricing_models]]\nname = 'a'\nis_default = true\n[[pricing_models]]\nname = 'b'\nis_default = true",
            "only one",
        ),
        ("[[pricing_models]]\nname = 'a'\n[[pricing_models.products]]\nname = 'p'\namount = -1", "an amount"),
        ("[[pricing_models]]\nname = 'a'\n[[pricing_models.products]]\nname = 'p'\namount = nan", "not a number"),
        ("[[pricing_models]]\nname = 'a'\n[[pricing_models.products]]\nname = 'p'\namount = 1e64", "an amount"),
        ("[[pricing_models]]\nname = 'a'\n[[pricing_models.products]]\nname = 'p'\namount = 1e-65", "an amount"),
        ("[[pricing_models]]\nname = 'a'\n[[pricing_models.meters]]\nslug = 'p'\nlimit = 5", "max_amount"),
        (
            "[[pricing_models]]\nname = 'a'\n[[pricing_models.meters]]\nslug = 'p'\nevents_per_unit = 1.5",
            "whole number",
        ),
        ("[[pricing_models]]\nname = 'a'\nd = 2030-01-01T00:00:00", "time zone"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_the_place(
    tmp_path_factory: pytest.TempPathFactory, text: str, told: str
) -> None:
    path = tmp_path_factory.mktemp("plans") / "p.toml"
    path.write_text(text)
    with pytest.raises(CliError, match=told) as refused:
        plans_of_file(parse_toml(str(path)))
    assert refused.value.code == 2


def test_numbers_of_toml_are_exact(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("plans") / "p.toml"
    path.write_text("a = 0.1\nb = 2030-01-31\nc = 2030-01-31T12:00:00+02:00\nd = [1, {e = true}]\nf = 07:32:00")
    assert parse_toml(str(path)) == {
        "a": Decimal("0.1"),
        "b": "2030-01-31",
        "c": "2030-01-31T10:00:00Z",
        "d": [1, {"e": True}],
        "f": "07:32:00",
    }


def test_numbers_of_toml_have_the_digits_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        "a = 1234567890123456.78\nb = [1_234.50, +1e3, true, 7]\nc.d = -0.1\n"
        "[t.x]\ne = 0.30000000000000000001\n[u]\ng = false\n[t.y]\nf = {h = 1.0}\n[[v]]\nk = 1e-2\n"
    )
    found = parse_toml(str(path))
    assert found == {
        "a": Decimal("1234567890123456.78"),
        "b": [Decimal("1234.50"), Decimal(1000), True, 7],
        "c": {"d": Decimal("-0.1")},
        "t": {"x": {"e": Decimal("0.30000000000000000001")}, "y": {"f": {"h": Decimal(1)}}},
        "u": {"g": False},
        "v": [{"k": Decimal("0.01")}],
    }
    kinds = {type(found), type(found["t"]), type(found["b"]), type(found["v"]), *map(type, found["b"])}
    assert kinds == {dict, list, Decimal, bool, int}
    for text in ("a = inf", "a = nan", f"a = {'[' * 65}1{']' * 65}", f"a = {'[' * 5000}1{']' * 5000}", "a = 1e9999"):
        path.write_text(text)
        with pytest.raises(CliError) as refused:
            parse_toml(str(path))
        assert refused.value.code == 2


def test_a_new_object_needs_its_fields() -> None:
    plans = plans_of_file({"pricing_models": [{"name": "A", "products": [{"name": "p"}]}]})
    with pytest.raises(CliError, match="price_type"):
        find_changes(plans, [], prune=False, has_limits=True)


def test_a_file_with_a_byte_order_mark(cli: Cli) -> None:
    text = '[[pricing_models]]\nname = "Pro"\n'
    for name in ("plans.toml", "plans.yaml", "plans.json"):
        content = {"plans.toml": text, "plans.yaml": "pricing_models: [{name: Pro}]"}.get(
            name, '{"pricing_models": [{"name": "Pro"}]}'
        )
        (cli.folder / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
        control(cli.url, "POST", "/reset", {})
        assert cli.ok("sandbox", "seed", name).out
        assert [one["name"] for one in cli.ok("pricing-models", "list", "--json").json] == ["Pro"]
    assert cli.run("plans", "diff", "plans.toml").code == 0
    assert cli.run("plans", "diff", "-", stdin=b"\xef\xbb\xbf" + text.encode()).code == 0
    assert cli.run("plans", "diff", "-", stdin=b"\xef\xbb\xbf\xef\xbb\xbf" + text.encode()).code == 2
