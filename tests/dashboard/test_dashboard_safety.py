"""Who may see and change the dashboard, and what hostile data can do to its pages: nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import pytest

from montra_async import Montra
from montra_async.paywall import BillingClient
from montra_sandbox import Sandbox
from montra_sandbox.dashboard.dashboard import _PAGES
from montra_sandbox.dashboard.view import own_page

from ..sandbox.raw import raw
from .dashboard_http import DashboardHttp, open_dashboard

ROUTES = [route for pages in _PAGES for route in pages.ROUTES]
FORMS = [route for route in ROUTES if route.method == "POST"]
FORM = "Content-Type: application/x-www-form-urlencoded"
FOREIGN = ("Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site")
HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}</title></svg><!-- javascript:alert(3)"


def _own(sandbox: Sandbox) -> str:
    return f"Host: 127.0.0.1:{sandbox.url.rpartition(':')[2]}"


def _filled(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: ids.get(match[1], "x"), path)


def _id_of(dashboard: DashboardHttp, path: str) -> dict[str, str]:
    """An existing object for the parameters of a path."""
    table = next(
        (name for part, name in _TABLES.items() if f"/{part}/{{" in path),
        "customers",
    )
    found = {"id": dashboard.value(f"SELECT id FROM {table} LIMIT 1") or "none", "name": "s1"}
    user = dashboard.value("SELECT id FROM paywall_users LIMIT 1")
    return {**found, "user_id": user, "service": "montra", "event": "customer.created"}


_TABLES = {
    "customers": "customers",
    "plans": "pricing_models",
    "payments": "transactions",
    "invoices": "invoices",
    "paywalls": "paywalls",
    "deliveries": "deliveries",
    "events": "events",
    "features": "features",
    "products": "products",
    "subscriptions": "subscriptions",
    "purchases": "paywall_purchases",
    "webhooks": "webhook_endpoints",
}


@pytest.fixture
async def furnished(dashboard: DashboardHttp, montra: Montra, sandbox: Sandbox) -> DashboardHttp:
    """A sandbox in which every text that somebody can choose is hostile."""
    plan = await montra.create_pricing_model(name=HOSTILE, is_default=True)
    await montra.create_meter(plan.id, name=HOSTILE, slug=HOSTILE)
    await montra.create_feature(plan.id, name=HOSTILE, slug=HOSTILE, description=HOSTILE)
    seat = await montra.create_product(plan.id, name=HOSTILE, price_type="recurring", amount=5)
    tiered = {"price_type": "usage", "meter_slug": HOSTILE, "pricing_structure": "tiered"}
    await montra.create_product(plan.id, name=HOSTILE, **tiered)  # type: ignore[arg-type]
    sandbox.set_limit(pricing_model_id=plan.id, meter_slug=HOSTILE, max_amount=10)
    ada = await montra.create_customer(
        name=HOSTILE,
        email="'\"><svg/onload=alert(1)>@example.com",
        metadata={HOSTILE: HOSTILE},
        address={"city": HOSTILE},
    )
    await montra.create_subscription(ada.id, plan.id)
    await montra.report_usage(ada.id, HOSTILE, amount=20, metadata={"x": HOSTILE})
    await montra.create_invoice(ada.id, amount_due=7, description=HOSTILE)
    await montra.create_discount(name=HOSTILE, code="X<b>'\"", percent_off=5, duration="once")
    await montra.create_webhook(url="http://127.0.0.1:9/<script>'\"", description=HOSTILE, events=[HOSTILE, "*"])
    sandbox.set_paywall(sandbox.paywall_id, webhook_url="http://127.0.0.1:9/'\"><script>", name=HOSTILE)
    link = await montra.create_checkout_link(
        link_name=HOSTILE, payment_name=HOSTILE, description=HOSTILE, line_items=[{"product_id": seat.id}]
    )
    form = {"name": HOSTILE, "email": "eve'\"><script>@example.com", "card": "4242424242424242", "action": "pay"}
    async with dashboard.http.post(link.url, data=form) as answer:
        assert answer.status == 200
    await montra.create_refund(sandbox.transactions()[0]["id"], amount=1, reason=HOSTILE)
    sandbox.set_paywall(
        sandbox.paywall_id,
        prices=[{"id": 101, "amount": 5, "label": HOSTILE, "description": HOSTILE, "tokens": {HOSTILE: 5}}],
    )
    async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
        user = billing.for_user(email="'\"><script>@example.com", user_id=HOSTILE)
        async with dashboard.http.post((await user.create_checkout(101)).url, data=form) as answer:
            assert answer.status == 200
        await user.create_checkout(101, ignore_active_purchase=True, product_name=HOSTILE)
        await user.create_support_ticket(HOSTILE, HOSTILE, email="'\"><script>@example.com", files=[b"x"])
    tracked = {"events": [{"type": HOSTILE, "ts": 1, HOSTILE: HOSTILE}], "visitor_id": HOSTILE}
    service = f"{sandbox.url}/api/v1/paywall/{sandbox.paywall_id}"
    async with dashboard.http.post(f"{service}/events", json=tracked) as answer:
        assert answer.status == 200
    async with dashboard.http.post(f"{service}/auth/otp/send", json={"email": "'\"><script>@example.com"}) as answer:
        assert answer.status in (200, 400)
    async with dashboard.http.get(f"{sandbox.base_url}/<script>alert(1)</script>?a={HOSTILE}") as answer:
        assert answer.status in (401, 404)
    sandbox.add_fault(kind="status", path=f"/x{HOSTILE}", method="POST", times=3)
    sandbox.snapshot("s1")
    sandbox.freeze()  # no webhook is tried again while changes are counted
    await sandbox.settle()
    return dashboard


async def _crawl(dashboard: DashboardHttp) -> AsyncIterator[Any]:
    """Every page that a link leads to, once per kind of page and three of each."""
    seen: set[str] = set()
    kinds: dict[str, int] = {}
    waiting = ["/", *(_filled(route.path, _id_of(dashboard, route.path)) for route in ROUTES if route.method == "GET")]
    while waiting:
        path = waiting.pop(0)
        kind = re.sub(r"_[0-9a-f]{8,}", "_", path)
        if path in seen or kinds.get(kind, 0) >= 3 or path.startswith(("/dashboard/live", "/assets")):
            continue
        seen.add(path)
        kinds[kind] = kinds.get(kind, 0) + 1
        shown = await dashboard.get(path)
        yield path, shown
        waiting += [link for link in shown.links if link.startswith("/")]


class Markup(HTMLParser):
    """What a browser would make of a page: elements, and attributes that run something or lead somewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.elements: set[str] = set()
        self.handlers: list[str] = []
        self.urls: list[str] = []
        self.styles: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("href", "src", "action", "formaction"):
                self.urls.append(value or "")
            if name == "style":
                self.styles.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))


async def test_hostile_names_are_text_everywhere(furnished: DashboardHttp) -> None:
    seen = 0
    async for path, shown in _crawl(furnished):
        assert shown.status in (200, 404, 410), (path, shown.text)
        page = Markup(shown.text)
        assert page.handlers == [], path
        assert page.styles == [], path
        assert not page.elements & {"iframe", "object", "embed", "base", "style"}, path
        assert all(src is not None and src.startswith("/assets/") for src in page.scripts), path
        assert "49</title" not in shown.text, path
        assert len(page.ids) == len(set(page.ids)), (path, page.ids)
        for url in page.urls:
            assert url.startswith(("/", "http://127.0.0.1", "#content")), (path, url)
        if path.startswith("/dashboard/") or path == "/":
            seen += 1
            policy = shown.headers["Content-Security-Policy"]
            assert "script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
    assert seen > 40


async def test_showing_a_page_changes_nothing(furnished: DashboardHttp) -> None:
    before = furnished.changes()
    events = len(furnished.sandbox.events())
    for route in ROUTES:
        if route.method == "GET" and not route.path.endswith("/live"):
            path = _filled(route.path, _id_of(furnished, route.path))
            shown = await furnished.get(path)
            assert shown.status in (200, 404), (path, shown.status)
    assert (furnished.changes(), len(furnished.sandbox.events())) == (before, events)


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_forms_of_other_origins_are_refused(furnished: DashboardHttp, foreign: str) -> None:
    sandbox = furnished.sandbox
    before = (furnished.changes(), len(sandbox.faults()), sandbox.snapshots(), len(sandbox.requests))
    body = b"_page=/&name=A&email=a@example.com&sure=1&step=day&action=delete&kind=status&url=http://127.0.0.1:9/"
    assert len(FORMS) > 25
    for route in FORMS:
        path = _filled(route.path, _id_of(furnished, route.path))
        answer = await raw(sandbox.url, "POST", path, _own(sandbox), foreign, FORM, body=body)
        assert (answer.status, answer.code) == (403, "foreign_origin"), path
    answer = await raw(sandbox.url, "GET", "/dashboard/live", _own(sandbox), foreign)
    assert (answer.status, answer.code) == (403, "foreign_origin")
    assert (furnished.changes(), len(sandbox.faults()), sandbox.snapshots(), len(sandbox.requests)) == before


async def test_forms_are_not_sent_by_links(furnished: DashboardHttp) -> None:
    """A GET of a form's address shows a page or 404, and does nothing."""
    before = furnished.changes()
    for route in FORMS:
        shown = await furnished.get(_filled(route.path, _id_of(furnished, route.path)) + "?sure=1&step=day")
        assert shown.status in (200, 404), route.path
    assert furnished.changes() == before


async def test_other_host_names_are_refused(dashboard: DashboardHttp) -> None:
    port = dashboard.sandbox.url.rpartition(":")[2]
    for path in ("/", "/dashboard/customers", "/dashboard/live", "/assets/x", "/favicon.ico"):
        answer = await raw(dashboard.sandbox.url, "GET", path, f"Host: evil.example:{port}")
        assert (answer.status, answer.code) == (403, "host_not_allowed")


async def test_the_token_is_exchanged_for_a_cookie() -> None:
    async with Sandbox(control_token="correct-horse-battery") as sandbox, open_dashboard(sandbox) as dashboard:
        for path in ("/", "/dashboard/customers", "/dashboard/nothing", "/dashboard/live", "/?token=wrong"):
            refused = await dashboard.get(path)
            assert refused.status == 401
            assert "address that the sandbox printed" in refused.text
            assert "<nav" not in refused.text
        assert (await dashboard.post("/dashboard/clock/advance", step="day")).status == 401
        opened = await dashboard.get("/dashboard/customers?q=a&token=correct-horse-battery")
        assert (opened.status, opened.path) == (200, "/dashboard/customers?q=a")
        assert "correct-horse" not in opened.text
        assert (await dashboard.get("/")).status == 200
        assert (await dashboard.get("/?token=wrong")).status == 401
        await dashboard.done("/dashboard/clock/advance", step="day")
        port = sandbox.url.rpartition(":")[2]
        [cookie] = [one for one in dashboard.http.cookie_jar if one.key == f"montra_sandbox_{port}"]
        assert "correct-horse" not in cookie.value
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
        for wrong in (cookie.value + "x", "", "ä"):
            headers = (_own(sandbox), f"Cookie: montra_sandbox_{port}={wrong}")
            assert (await raw(sandbox.url, "GET", "/", *headers)).status in (400, 401)
        token = "X-Sandbox-Token: correct-horse-battery"
        assert (await raw(sandbox.url, "GET", "/dashboard/customers", _own(sandbox), token)).status == 200


async def test_pages_and_assets_have_their_headers(dashboard: DashboardHttp) -> None:
    shown = await dashboard.get("/")
    assert shown.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert shown.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in shown.headers["Content-Security-Policy"]
    assets = {link for link in shown.links if link.startswith("/assets/")}
    script = re.search(r'src="(/assets/dashboard\.[0-9a-f]+\.js)"', shown.text)
    assert script is not None
    for path in (*assets, script[1]):
        asset = await dashboard.get(path)
        assert asset.status == 200
        assert "immutable" in asset.headers["Cache-Control"]
        assert "http" not in asset.text.replace("http://www.w3.org/2000/svg", "")  # nothing from elsewhere
    assert (await dashboard.get("/assets/dashboard.css")).status == 404
    assert (await dashboard.get("/favicon.ico")).headers["Content-Type"].startswith("image/svg")


@pytest.mark.parametrize(
    ("given", "leads_to"),
    [
        ("/dashboard/customers?q=a%26b", "/dashboard/customers?q=a%26b"),
        ("/dashboard/plans?notice=x", "/dashboard/plans"),
        ("/", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/dashboard/", "/"),
        ("/\\evil.example", "/"),
        ("/dashboard/\r\nSet-Cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
        ("/pay/link", "/"),
        ("http://[", "/"),
        ("", "/"),
    ],
)
def test_forms_lead_to_own_pages_only(given: str, leads_to: str) -> None:
    assert own_page(given) == leads_to


async def test_readers_of_the_live_feed_are_bounded(dashboard: DashboardHttp) -> None:
    url = f"{dashboard.sandbox.url}/dashboard/live"
    answers = [await dashboard.http.get(url) for _ in range(50)]
    assert (await dashboard.get("/dashboard/live")).status == 429
    for answer in answers:
        answer.close()


async def test_an_unreadable_form_is_refused(dashboard: DashboardHttp) -> None:
    own = _own(dashboard.sandbox)
    kind = "Content-Type: multipart/form-data; boundary=x"
    answer = await raw(dashboard.sandbox.url, "POST", "/dashboard/customers", own, kind, body=b"garbage")
    assert answer.status == 415
