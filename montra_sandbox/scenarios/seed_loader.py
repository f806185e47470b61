"""Load the data of a seed file: create what is missing, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, TypeAlias

from ..database import Row
from ..json import is_array, is_object
from ..montra import subscriptions
from ..montra.meters import find_meter
from ..montra.plans import current_plan
from ..montra.usage import LIMIT_PERIODS, measure
from ..problems import Problem, invalid
from ..world import World
from .calls import Calls, first_merchant
from .montra_triggers import set_limit, usage_reports
from .plain_json import plain_json

_Item: TypeAlias = dict[str, Any]

_MAX_SIZE = 2 * 1024 * 1024
_MAX_ITEMS = 2_000
_MAX_REPORTS = 10_000
_MAX_AMOUNT = 10**18
_AMOUNTS = frozenset({"amount", "max_amount", "percent_off", "amount_off"})
_AGGREGATIONS = ("sum", "max", "unique", "count")
_SERVICES = ("montra", "paywall")


def load_seed(
    world: World, data: Any, merchant_id: str | None = None, webhook_secret: str | None = None
) -> dict[str, int]:
    """Create what a seed file has and the sandbox has not. Loading it again changes nothing.

    What exists is recognized by name (plans, products), slug (meters, features), code (discounts), email address
    (customers) or URL (webhooks), and stays as it is; only limits are set again. Usage is reported up to the amount in
    the file.

    Args:
        world: the state.
        data: what `parse_seed_file` returned, or the same in Python.
        merchant_id: the merchant; the first by default.
        webhook_secret: the key of the signatures of webhooks without a `secret`; None for a random one (Montra) and for
            none (paywall).

    Returns:
        How many objects of each kind were created.

    Raises:
        Problem: with what is wrong and where: `customers[2].plan: ...`. Nothing was changed then.
    """
    plain = plain_json("data", data, _MAX_SIZE)
    if not is_object(plain):
        raise invalid(f"data: an object with {', '.join(_Loader.TABLES)}")
    loader = _Loader(Calls(world, merchant_id or first_merchant(world)), webhook_secret)
    with loader.calls.transaction():
        loader.load(plain)
    return dict(loader.created)


class _Loader:
    TABLES = ("pricing_models", "discounts", "customers", "webhooks")

    def __init__(self, calls: Calls, webhook_secret: str | None) -> None:
        self.calls = calls
        self._webhook_secret = webhook_secret
        self.created: Counter[str] = Counter()

    def load(self, data: _Item) -> None:
        """Load all tables, in the order in which they need each other."""
        _refuse_unknown("", data, self.TABLES)
        self._each("", data, "pricing_models", "name", self._load_pricing_model)
        self._each("", data, "discounts", "code", self._load_discount)
        self._each("", data, "customers", "email", self._load_customer)
        self._each("", data, "webhooks", "url", self._load_webhook)

    def _each(self, where: str, data: _Item, table: str, key: str, load: Callable[[str, _Item], None]) -> None:
        """Load the items of a table. Each has a key of its own, and is known by its place, such as `customers[2]`."""
        place = f"{where}.{table}" if where else table
        items = data.get(table, [])
        if not is_array(items) or not all(map(is_object, items)):
            raise invalid(f"{place}: a list of tables")
        if len(items) > _MAX_ITEMS:
            raise invalid(f"{place}: at most {_MAX_ITEMS}")
        places: dict[tuple[str, str], str] = {}
        for number, item in enumerate(items):
            here = f"{place}[{number}]"
            value = _text(here, item, key)
            same = (value, str(item.get("service")))  # one URL may serve both services
            if same in places:
                raise invalid(f"{here}.{key}: {value[:100]!r} is in {places[same]} already")
            places[same] = here
            load(here, item)

    def _create(self, where: str, kind: str, operation_id: str, body: _Item) -> _Item:
        """Call the API; what it refuses is said with the place in the file."""
        numbers = _with_numbers(where, body)
        with _placed(where):
            created: _Item = self.calls.montra(operation_id, numbers)
        self.created[kind] += 1
        return created

    def _find(self, table: str, condition: str, *values: Any) -> Row | None:
        return self.calls.db.one(
            f"SELECT * FROM {table} WHERE merchant_id = ? AND {condition} ORDER BY rowid LIMIT 1",
            *(self.calls.merchant_id, *values),
        )

    # Plans

    def _load_pricing_model(self, where: str, item: _Item) -> None:
        name = item["name"]
        row = self._find("pricing_models", "name = ?", name)
        body = {key: value for key, value in item.items() if key not in ("products", "meters", "features")}
        model_id = str(row["id"] if row else self._create(where, "pricing_models", "create_pricing_model", body)["id"])
        # Products of type `usage` need their meters.
        self._each(where, item, "meters", "slug", partial(self._load_meter, model_id))
        self._each(where, item, "products", "name", partial(self._load_product, model_id))
        self._each(where, item, "features", "slug", partial(self._load_feature, model_id))

    def _load_meter(self, model_id: str, where: str, item: _Item) -> None:
        slug = item["slug"]
        limit = item.pop("limit", None)
        if self._find("meters", "pricing_model_id = ? AND slug = ?", model_id, slug) is None:
            self._create(where, "meters", "create_meter", {**item, "pricing_model_id": model_id})
        if limit is not None:
            self._set_limit(f"{where}.limit", limit, model_id, slug)

    def _set_limit(self, where: str, limit: Any, model_id: str, slug: str) -> None:
        if not is_object(limit):
            raise invalid(f"{where}: a table with max_amount")
        _refuse_unknown(f"{where}.", limit, ("max_amount", "period", "aggregation"))
        period, aggregation = limit.get("period", "billing_period"), limit.get("aggregation")
        if period not in LIMIT_PERIODS:
            raise invalid(f"{where}.period: one of {', '.join(LIMIT_PERIODS)}")
        if aggregation is not None and aggregation not in _AGGREGATIONS:
            raise invalid(f"{where}.aggregation: one of {', '.join(_AGGREGATIONS)}")
        amount = limit.get("max_amount")
        maximum = None if amount is None else _amount(f"{where}.max_amount", amount)
        set_limit(self.calls, model_id, slug, maximum, period, aggregation)

    def _load_product(self, model_id: str, where: str, item: _Item) -> None:
        if self._find("products", "pricing_model_id = ? AND name = ?", model_id, item["name"]) is None:
            self._create(where, "products", "create_product", {**item, "pricing_model_id": model_id})

    def _load_feature(self, model_id: str, where: str, item: _Item) -> None:
        if self._find("features", "pricing_model_id = ? AND slug = ?", model_id, item["slug"]) is None:
            self._create(where, "features", "create_feature", {**item, "pricing_model_id": model_id})

    def _load_discount(self, where: str, item: _Item) -> None:
        if self._find("discounts", "code = ?", item["code"]) is None:
            self._create(where, "discounts", "create_discount", item)

    # Customers

    def _load_customer(self, where: str, item: _Item) -> None:
        plan, usage = item.pop("plan", None), item.pop("usage", {})
        row = self._find("customers", "email = ?", item["email"])
        customer_id = str(row["id"] if row else self._create(where, "customers", "create_customer", item)["id"])
        if plan is not None:
            self._subscribe(f"{where}.plan", customer_id, plan)
        if not is_object(usage):
            raise invalid(f"{where}.usage: amounts by the slugs of meters")
        for slug, amount in usage.items():
            self._report(f"{where}.usage.{slug[:100]}", customer_id, slug, amount)

    def _subscribe(self, where: str, customer_id: str, plan: Any) -> None:
        names = [row["name"] for row in self.calls.context().list_rows("pricing_models")]
        if plan not in names:
            raise invalid(f"{where}: there is no pricing model {str(plan)[:100]!r}; there are: {_listed(names)}")
        if subscriptions.find_running(self.calls.context(), customer_id) is None:
            row = self._find("pricing_models", "name = ?", plan)
            assert row is not None
            body = {"customer_id": customer_id, "pricing_model_id": row["id"]}
            self._create(where, "subscriptions", "create_subscription", body)

    def _report(self, where: str, customer_id: str, slug: str, amount: Any) -> None:
        """Report what is missing of an amount in the current period."""
        context = self.calls.context()
        customer = context.get_or_404("customers", "customer", customer_id)
        plan = current_plan(context, customer)
        if self._find("meters", "slug = ?", slug) is None:
            slugs = sorted({row["slug"] for row in context.list_rows("meters")})
            raise invalid(f"{where}: there is no meter {slug[:100]!r}; there are: {_listed(slugs)}")
        meter = find_meter(context, plan, slug)
        wanted, used = _amount(where, amount), measure(context, customer, plan, meter)
        if wanted <= used:
            return
        with _placed(where):
            reports = usage_reports(meter["aggregation"], used, wanted)
            self.created["usage_reports"] += len(reports)
            if self.created["usage_reports"] > _MAX_REPORTS:
                raise invalid(f"more than {_MAX_REPORTS} reports of usage; meters that count take one per unit")
            for report in reports:
                self.calls.montra("report_usage", {"customer_id": customer_id, "meter_slug": slug, **report})

    # Webhooks

    def _load_webhook(self, where: str, item: _Item) -> None:
        url, secret, service = (
            item["url"],
            item.pop("secret", self._webhook_secret),
            item.pop("service", "montra"),
        )
        if service not in _SERVICES:
            raise invalid(f"{where}.service: {' or '.join(_SERVICES)}")
        if secret is not None and (not isinstance(secret, str) or not 0 < len(secret) <= 1_000):
            raise invalid(f"{where}.secret: text")
        if service == "paywall":
            _refuse_unknown(f"{where}.", item, ("url",))
            paywall = self.calls.get_paywall()
            self.created["webhooks"] += paywall["webhook_url"] != url
            self.calls.db.update("paywalls", paywall["id"], webhook_url=url, webhook_secret=secret)
        elif self._find("webhook_endpoints", "url = ?", url) is None:
            endpoint = self._create(where, "webhooks", "create_webhook", item)
            if secret is not None:
                self.calls.db.update("webhook_endpoints", endpoint["id"], secret=secret)


@contextmanager
def _placed(where: str) -> Generator[None]:
    """Say where in the file a call was refused."""
    try:
        yield
    except Problem as problem:
        message = f"{where}: {problem.message}"
        if is_array(problem.details) and problem.details:
            path = problem.details[0]["path"]
            message = f"{where}{'.' if path else ''}{path}: {problem.details[0]['message']}"
        raise Problem(problem.status, problem.code, message[:1_000], problem.details) from None


def _with_numbers(where: str, body: _Item) -> _Item:
    """Amounts may be text, so that 20.00 keeps its digits in every format."""
    texts = {name for name in _AMOUNTS if isinstance(body.get(name), str)}
    return {name: _amount(f"{where}.{name}", value) if name in texts else value for name, value in body.items()}


def _amount(where: str, value: Any) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)) or len(str(value)) > 64:
            raise InvalidOperation
        amount = Decimal(value)
    except InvalidOperation:
        raise invalid(f"{where}: a number") from None
    if not amount.is_finite() or not 0 <= amount <= _MAX_AMOUNT or amount.adjusted() < -64:
        raise invalid(f"{where}: a number from 0 to {_MAX_AMOUNT}")
    return amount


def _text(where: str, item: _Item, name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value.strip():
        raise invalid(f"{where}.{name}: required, and text")
    return value


def _refuse_unknown(prefix: str, item: _Item, known: tuple[str, ...]) -> None:
    for name in item:
        if name not in known:
            raise invalid(f"{prefix}{name[:100]}: unknown; there are: {', '.join(known)}")


def _listed(names: list[Any]) -> str:
    return ", ".join(str(name) for name in names[:20]) + (", ..." if len(names) > 20 else "") if names else "none"
