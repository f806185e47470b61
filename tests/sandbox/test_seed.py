"""Seed files: the three formats, loading twice, errors that say where, and hostile content."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from montra_async import Montra
from montra_sandbox import Problem, Sandbox
from montra_sandbox.scenarios.seed_file import MAX_SEED_SIZE, parse_seed_file

from .scripted_sandbox import control, receiving

TOML = """
[[pricing_models]]
name = "Free"
is_default = true

[[pricing_models]]
name = "Pro"

  [[pricing_models.products]]
  name = "Seat"
  price_type = "recurring"
  amount = "20.00"

  [[pricing_models.products]]
  name = "Tokens"
  price_type = "usage"
  meter_slug = "api-tokens"
  amount = 0.001

  [[pricing_models.meters]]
  name = "API tokens"
  slug = "api-tokens"
  aggregation = "sum"
  limit = { max_amount = 1000, period = "month" }

  [[pricing_models.features]]
  name = "Single sign-on"
  slug = "sso"

[[discounts]]
name = "Launch"
code = "LAUNCH20"
percent_off = 20
duration = "once"
valid_until = 2090-01-01T00:00:00Z

[[customers]]
name = "Ada Lovelace"
email = "ada@example.com"
plan = "Pro"
usage = { api-tokens = 250 }

[[customers]]
name = "Grace Hopper"
email = "grace@example.com"
"""

YAML = """
pricing_models:
  - {name: Free, is_default: true}
  - name: Pro
    products:
      - {name: Seat, price_type: recurring, amount: 20.00}
      - {name: Tokens, price_type: usage, meter_slug: api-tokens, amount: 0.001}
    meters:
      - {name: API tokens, slug: api-tokens, aggregation: sum, limit: {max_amount: 1000, period: month}}
    features:
      - {name: Single sign-on, slug: sso}
discounts:
  - {name: Launch, code: LAUNCH20, percent_off: 20, duration: once, valid_until: 2090-01-01T00:00:00Z}
customers:
  - {name: Ada Lovelace, email: ada@example.com, plan: Pro, usage: {api-tokens: 250}}
  - {name: Grace Hopper, email: grace@example.com}
"""

CREATED = {
    "pricing_models": 2,
    "meters": 1,
    "products": 2,
    "features": 1,
    "discounts": 1,
    "customers": 2,
    "subscriptions": 1,
    "usage_reports": 1,
}


def written(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


async def test_the_file_becomes_objects(sandbox: Sandbox, montra: Montra, tmp_path: Path) -> None:
    data = parse_seed_file(written(tmp_path, "seed.toml", TOML))
    assert sandbox.load_seed(data) == CREATED
    [free, pro] = await montra.list_pricing_models()
    assert (free.is_default, pro.name, pro.products_count) == (True, "Pro", 2)
    [seat, tokens] = await montra.list_products(pricing_model_id=pro.id)
    assert (seat.amount, tokens.amount, tokens.meter_slug) == (Decimal(20), Decimal("0.001"), "api-tokens")
    [ada, grace] = await montra.list_customers()
    entitlement = await montra.check_entitlement(ada.id, "api-tokens")
    assert (entitlement.usage, entitlement.limit) == (250, 1000)
    assert (await montra.check_feature_access(ada.id, "sso")).has_access
    assert not (await montra.check_feature_access(grace.id, "sso")).has_access
    [subscription] = await montra.list_subscriptions()
    assert (subscription.customer_id, subscription.pricing_model_id) == (ada.id, pro.id)


async def test_the_example_of_the_documentation_loads(sandbox: Sandbox, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sandbox" / "scenarios.md").read_text(encoding="utf-8")
    example = text.partition("```toml\n")[2].partition("```")[0]
    created = sandbox.load_seed(parse_seed_file(written(tmp_path, "seed.toml", example)))
    kinds = ("pricing_models", "products", "meters", "features", "discounts", "customers", "subscriptions", "webhooks")
    assert created == {**dict.fromkeys(kinds, 1), "usage_reports": 1}


async def test_all_formats_say_the_same(tmp_path: Path) -> None:
    toml = parse_seed_file(written(tmp_path, "seed.toml", TOML))
    yaml = parse_seed_file(written(tmp_path, "seed.yaml", YAML))
    as_json = parse_seed_file(written(tmp_path, "seed.json", json.dumps(toml, default=str)))
    assert as_json["customers"] == toml["customers"] == yaml["customers"]
    assert yaml["discounts"] == toml["discounts"]
    assert yaml["pricing_models"][1]["products"][0]["amount"] == Decimal("20.00")
    assert isinstance(yaml["pricing_models"][1]["products"][0]["amount"], Decimal)
    assert toml["pricing_models"][1]["products"][1]["amount"] == Decimal("0.001")


async def test_loading_again_changes_nothing(sandbox: Sandbox, montra: Montra, tmp_path: Path) -> None:
    data = parse_seed_file(written(tmp_path, "seed.yml", YAML))
    sandbox.load_seed(data)
    before, logs = sandbox.overview()["counts"], (await montra.list_audit_logs()).meta.total
    assert sandbox.load_seed(data) == {}
    assert sandbox.overview()["counts"] == before
    assert (await montra.list_audit_logs()).meta.total == logs
    [ada, _] = await montra.list_customers()
    await montra.report_usage(customer_id=ada.id, meter_slug="api-tokens", amount=100)
    data["customers"][0]["usage"]["api-tokens"] = 400
    data["customers"].append({"name": "Alan", "email": "alan@example.com", "plan": "Free"})
    assert sandbox.load_seed(data) == {"customers": 1, "subscriptions": 1, "usage_reports": 1}
    assert (await montra.check_entitlement(ada.id, "api-tokens")).usage == 400


@pytest.mark.parametrize("aggregation", ["sum", "max", "count", "unique"])
async def test_usage_of_all_kinds_of_meters(aggregation: str, sandbox: Sandbox, montra: Montra) -> None:
    meter = {"name": "T", "slug": "t", "aggregation": aggregation}
    data = {
        "pricing_models": [{"name": "Pro", "is_default": True, "meters": [meter]}],
        "customers": [{"name": "Ada", "email": "ada@example.com", "usage": {"t": 7}}],
    }
    sandbox.load_seed(data)
    sandbox.load_seed(data)
    [ada] = await montra.list_customers()
    assert (await montra.check_entitlement(ada.id, "t")).usage == 7


async def test_webhooks_have_the_secret_of_the_file(sandbox: Sandbox, montra: Montra) -> None:
    async with receiving() as receiver:
        hooks: list[dict[str, Any]] = [
            {"url": f"{receiver.url}/both", "events": ["customer.created"], "secret": receiver.secret},
            {"url": f"{receiver.url}/both", "service": "paywall", "secret": receiver.secret},
        ]
        assert sandbox.load_seed({"webhooks": hooks}) == {"webhooks": 2}
        assert sandbox.load_seed({"webhooks": hooks}).get("webhooks", 0) == 0
        await montra.create_customer(name="Ada", email="ada@example.com")
        sandbox.trigger("payment.completed", price_id="104")
        await sandbox.settle()
        assert [one.type for one in receiver.got] == ["customer.created", "payment.completed"]


async def test_reports_are_bounded(sandbox: Sandbox, montra: Montra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("montra_sandbox.scenarios.seed_loader._MAX_REPORTS", 500)  # 10,000 take seconds
    meters = [{"name": "T", "slug": f"t{n}", "aggregation": "count"} for n in range(11)]
    person = {"name": "Ada", "email": "ada@example.com", "usage": {one["slug"]: 50 for one in meters}}
    data = {"pricing_models": [{"name": "Pro", "meters": meters}], "customers": [person]}
    with pytest.raises(Problem, match="more than 500 reports"):
        sandbox.load_seed(data)
    person["usage"] = {"t0": 1_001}
    with pytest.raises(Problem, match=r"customers\[0\].usage.t0: a meter that counts"):
        sandbox.load_seed(data)
    assert await montra.list_customers() == []


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"customer": []}, "customer: unknown; there are: pricing_models, discounts, customers, webhooks"),
    ({"customers": {}}, "customers: a list of tables"),
    ({"customers": [1]}, "customers: a list of tables"),
    ({"customers": [{}]}, "customers[0].email: required, and text"),
    ({"customers": [{"email": "ada@example.com"}]}, "customers[0]: 'name' is a required property"),
    ({"customers": [{"name": "A", "email": "ada"}]}, "customers[0].email: must be an email address"),
    ({"customers": [{"name": "A", "email": "a@b", "nmae": 1}]}, "'nmae' was unexpected"),
    (
        {"pricing_models": [{"name": "Pro"}], "customers": [{"name": "A", "email": "a@b", "plan": "Por"}]},
        "customers[0].plan: there is no pricing model 'Por'; there are: Pro",
    ),
    ({"customers": [{"name": "A", "email": "a@b", "plan": ["x"]}]}, "there are: none"),
    ({"customers": [{"name": "A", "email": "a@b", "usage": {"x": 1}}]}, "customers[0].usage.x: there is no meter 'x'"),
    ({"customers": [{"name": "A", "email": "a@b", "usage": 5}]}, "customers[0].usage: amounts by"),
    (
        {"customers": [{"name": "A", "email": "a@b"}, {"name": "B", "email": "c@d"}, {"name": "C", "email": "a@b"}]},
        "customers[2].email: 'a@b' is in customers[0] already",
    ),
    (
        {"pricing_models": [{"name": "P", "features": [{"name": "x", "slug": "x"}, {"name": "y", "slug": "x"}]}]},
        "pricing_models[0].features[1].slug: 'x' is in pricing_models[0].features[0] already",
    ),
    ({"pricing_models": [{"is_default": True}]}, "pricing_models[0].name: required"),
    ({"pricing_models": [{"name": "P", "products": [{"name": "x"}]}]}, "pricing_models[0].products[0]: 'price_type'"),
    (
        {"pricing_models": [{"name": "P", "products": [{"name": "x", "price_type": "recurring", "amount": "ten"}]}]},
        "pricing_models[0].products[0].amount: a number",
    ),
    (
        {"pricing_models": [{"name": "P", "meters": [{"name": "x", "slug": "x", "aggregation": "avg"}]}]},
        "pricing_models[0].meters[0].aggregation: must be one of sum",
    ),
    (
        {"pricing_models": [{"name": "P", "meters": [{"name": "x", "slug": "x", "limit": 5}]}]},
        "pricing_models[0].meters[0].limit: a table",
    ),
    (
        {"pricing_models": [{"name": "P", "meters": [{"name": "x", "slug": "x", "limit": {"max": 5}}]}]},
        "pricing_models[0].meters[0].limit.max: unknown; there are: max_amount",
    ),
    (
        {"pricing_models": [{"name": "P", "meters": [{"name": "x", "slug": "x", "limit": {"period": "year"}}]}]},
        "meters[0].limit.period: one of billing_period",
    ),
    (
        {"pricing_models": [{"name": "P", "meters": [{"name": "x", "slug": "x", "limit": {"aggregation": "avg"}}]}]},
        "meters[0].limit.aggregation: one of sum",
    ),
    (
        {"pricing_models": [{"name": "P", "meters": [{"name": "x", "slug": "x", "limit": {"max_amount": -1}}]}]},
        "meters[0].limit.max_amount: a number from 0",
    ),
    ({"pricing_models": [{"name": "P", "features": [{"slug": "x"}]}]}, "pricing_models[0].features[0]: 'name'"),
    ({"discounts": [{"code": "X", "name": "x", "duration": "once"}]}, "discounts[0]: give exactly one of"),
    ({"webhooks": [{"url": "ftp://x"}]}, "webhooks[0].url: must be a URL"),
    ({"webhooks": [{"url": "http://x", "secret": 5}]}, "webhooks[0].secret: text"),
    ({"webhooks": [{"url": "http://x", "service": "mail"}]}, "webhooks[0].service: montra or paywall"),
    (
        {"webhooks": [{"url": "http://x", "service": "paywall", "events": ["*"]}]},
        "webhooks[0].events: unknown; there are: url",
    ),
    ({"customers": [{"name": "A", "email": "a@b"}] * 2_001}, "customers: at most 2000"),
]


@pytest.mark.parametrize(("data", "message"), BROKEN, ids=[message[:40] for _, message in BROKEN])
async def test_errors_say_where(data: dict[str, Any], message: str, sandbox: Sandbox) -> None:
    before = sandbox.overview()["counts"]
    with pytest.raises(Problem) as refused:
        sandbox.load_seed(data)
    assert message in refused.value.message
    assert len(refused.value.message) <= 1_000
    assert sandbox.overview()["counts"] == before


async def test_what_came_before_an_error_is_undone(sandbox: Sandbox, montra: Montra, tmp_path: Path) -> None:
    data = parse_seed_file(written(tmp_path, "seed.toml", TOML))
    data["customers"].append({"name": "Alan", "email": "alan"})
    with pytest.raises(Problem, match=r"customers\[2\].email"):
        sandbox.load_seed(data)
    assert await montra.list_pricing_models() == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("seed.ini", "", "ends with .toml, .json, .yaml, .yml"),
        ("seed.toml", "x = 1\ny = [", "seed.toml: "),
        ("seed.toml", b"\xff", "utf-8"),
        ("seed.toml", "x = 1e1000000", "exponent"),
        ("seed.toml", "x = " + "[" * 100_000, "nested too deeply"),
        ("seed.toml", f"x = {'9' * 100_000}", "digits"),
        ("seed.json", "[1]", "tables such as pricing_models"),
        ("seed.json", '{"a":', "seed.json: "),
        ("seed.json", '{"a": NaN}', "seed.json: "),
        ("seed.json", '{"a": ' * 200 + "1" + "}" * 200, "levels deep"),
        ("seed.yaml", "a: &a [x, x]\nb: [*a, *a]", "aliases"),
        ("seed.yaml", "a: .nan", "seed.yaml: "),
        ("seed.yaml", "a: !!python/object/apply:os.system [id]", "seed.yaml: "),
        ("seed.yaml", "{" * 5_000, "seed.yaml: "),
        ("seed.yaml", "? [a, b]\n: c", "seed.yaml: "),
        ("seed.yaml", "", "tables such as"),
    ],
)
def test_files_that_can_not_be_read(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(Problem) as refused:
        parse_seed_file(path)
    assert message in refused.value.message
    assert str(path) in refused.value.message
    assert len(refused.value.message) < 800


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No such file"):
        parse_seed_file(tmp_path / "none.toml")
    with pytest.raises(Problem, match="Is a directory"):
        (tmp_path / "folder.toml").mkdir()
        parse_seed_file(tmp_path / "folder.toml")
    with pytest.raises(Problem, match="at most"):
        parse_seed_file(written(tmp_path, "large.json", b" " * (MAX_SEED_SIZE + 1)))
    with pytest.raises(Problem):
        parse_seed_file("\x00.toml")


TEXT = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["name", "slug", "email", "code", "url", "plan", "usage", "amount", "limit", "meters", "products", "features"]
)
ITEMS = st.lists(st.dictionaries(FIELDS | TEXT, VALUES, max_size=5), max_size=3)
TABLES = st.sampled_from(["pricing_models", "discounts", "customers", "webhooks"])


async def test_whatever_the_file_has_is_loaded_or_refused(sandbox: Sandbox) -> None:
    @given(st.dictionaries(TABLES, ITEMS | VALUES, max_size=4) | VALUES)
    def check(data: Any) -> None:
        before = sandbox.overview()["counts"]
        try:
            sandbox.load_seed(data)
        except Problem as problem:
            statuses.add(problem.status)
            assert sandbox.overview()["counts"] == before
        else:
            assert not any(sandbox.load_seed(data).values())

    statuses: set[int] = set()
    check()
    assert statuses <= {400, 404, 409}


PLANS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["Free", "Pro", "Team"])},
        optional={
            "is_default": st.booleans(),
            "meters": st.lists(
                st.fixed_dictionaries(
                    {"name": st.just("M"), "slug": st.sampled_from(["a", "b"])},
                    optional={
                        "aggregation": st.sampled_from(["sum", "max", "count", "unique"]),
                        "limit": st.fixed_dictionaries({"max_amount": st.integers(0, 50) | st.none()}),
                    },
                ),
                max_size=3,
                unique_by=lambda meter: meter["slug"],
            ),
        },
    ),
    max_size=4,
    unique_by=lambda plan: plan["name"],
)
CUSTOMERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.just("N"), "email": st.sampled_from(["a@example.com", "b@example.com"])},
        optional={
            "plan": st.sampled_from(["Free", "Pro", "Team"]),
            "usage": st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 40), max_size=2),
        },
    ),
    max_size=4,
    unique_by=lambda customer: customer["email"],
)


async def test_valid_files_load_once(sandbox: Sandbox) -> None:
    @given(PLANS, CUSTOMERS)
    def check(plans: Any, customers: Any) -> None:
        sandbox.reset()
        data = {"pricing_models": plans, "customers": customers}
        try:
            created = sandbox.load_seed(data)
        except Problem as problem:
            messages.append(problem.message)
            return
        counts = sandbox.overview()["counts"]
        assert created.get("customers", 0) == counts["customers"] == len(customers)
        assert not any(sandbox.load_seed(data).values())
        assert sandbox.overview()["counts"] == counts

    messages: list[str] = []
    check()
    assert all("there is no" in one for one in messages)


async def test_the_other_merchant(sandbox: Sandbox, montra: Montra) -> None:
    person = {"name": "Ada", "email": "ada@example.com"}
    assert sandbox.load_seed({"customers": [person]}, owner="sk_test_other") == {"customers": 1}
    assert await montra.list_customers() == []


async def test_over_http(sandbox: Sandbox, tmp_path: Path) -> None:
    data = json.loads(json.dumps(parse_seed_file(written(tmp_path, "seed.toml", TOML)), default=str))
    assert await control(sandbox, "POST", "/seed", {"data": data}) == (200, CREATED)
    assert await control(sandbox, "POST", "/seed", {"data": data}) == (200, {})
    status, error = await control(sandbox, "POST", "/seed", {"data": {"customers": [{}]}})
    assert (status, error["message"]) == (400, "customers[0].email: required, and text")
    for data in (None, [], "x", {"customers": None}):
        assert (await control(sandbox, "POST", "/seed", {"data": data}))[0] == 400


async def test_ids_can_be_reproducible(sandbox: Sandbox) -> None:
    person = {"customers": [{"name": "Ada", "email": "ada@example.com"}]}
    body = {"data": person, "seed": 7}
    assert await control(sandbox, "POST", "/seed", body) == (200, {"customers": 1})
    status, error = await control(sandbox, "POST", "/seed", body)
    assert (status, error["code"]) == (409, "not_empty")
    for seed in (-1, True, "7", 2**64):
        with pytest.raises(Problem, match="seed: a whole number"):
            sandbox.load_seed(person, seed=seed)  # type: ignore[arg-type]
