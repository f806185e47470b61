"""Models as HTML: well-formed, escaped, bounded, without secrets; shown by IPython as such."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, strategies as st
from IPython.core.formatters import DisplayFormatter

from montra_async import AnalyticsSeries, AuditLogPage, Customer, Invoice, MrrMovement, SeriesPoint, WebhookEndpoint
from montra_async.core.models.html import MAX_COLUMNS, MAX_POINTS, MAX_ROWS, MAX_TEXT, cell
from montra_async.notebook import load_ipython_extension, table, unload_ipython_extension
from montra_async.paywall import AuthSession

ALLOWED = {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
CHART = {"figure", "figcaption", "svg", "polyline", "div", "span", "p"}
HOSTILE = "<img src=x onerror=alert(1)>'\"><script>alert(1)</script>&amp;\u202e\x00"


class Outline(HTMLParser):
    """The tags, attributes and text of HTML. Every tag must be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attributes}
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attributes}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def shown(model: Any) -> str:
    """What a notebook shows of an object."""
    html: str = model._repr_html_()
    return html


texts = st.text(alphabet=st.characters(codec=None), max_size=300) | st.just(HOSTILE)


@given(name=texts, metadata=st.dictionaries(texts, texts | st.lists(texts, max_size=3), max_size=3))
def test_no_text_of_the_service_becomes_html(name: str, metadata: dict[str, Any]) -> None:
    customer = Customer(id=name, email=HOSTILE, name=name, metadata=metadata, invoicing_emails=[name])
    for html in (shown(customer), shown(table([customer, customer]))):
        outline = Outline(html)
        assert set(outline.tags) <= ALLOWED
        assert outline.names <= {"style", "colspan"}
        assert all(one.isprintable() for one in "".join(outline.words))
        assert html.encode()


@given(texts, st.lists(st.tuples(texts, st.decimals(-(10**40), 10**40, places=2)), max_size=5))
def test_no_text_of_the_service_becomes_a_part_of_a_chart(name: str, values: list[tuple[str, Decimal]]) -> None:
    points = [SeriesPoint(key=key, value=value) for key, value in values]
    outline = Outline(shown(AnalyticsSeries(interval=name, points=3, revenue=points, payments=points)))
    assert set(outline.tags) <= CHART
    assert not [one for one in outline.names if one.startswith("on")]


def test_tables_are_bounded() -> None:
    customers = [Customer(id=f"cust_{i}", email="x" * 10_000, metadata={"a": ["b" * 99] * 10_000}) for i in range(5000)]
    html = shown(table(iter(customers)))
    outline = Outline(html)
    assert outline.tags.count("tr") == MAX_ROWS + 2
    assert "and 4,900 more" in outline.words
    assert len(html) < MAX_ROWS * MAX_COLUMNS * (MAX_TEXT * 6 + 100)
    deep: Any = ["x"]
    for _ in range(60):
        deep = [deep] * 2  # 2 ** 60 elements, if all were visited
    assert len(cell(deep)) <= MAX_TEXT
    assert len(cell("&" * 10_000)) <= MAX_TEXT * len("&amp;")


def test_charts_are_bounded() -> None:
    points = [SeriesPoint(key=str(i), value=Decimal(i)) for i in range(20_000)]
    html = shown(AnalyticsSeries(interval="daily", points=20_000, revenue=points))
    drawn = re.findall(r"points='([^']*)'", html)
    assert [len(one.split()) for one in drawn] == [MAX_POINTS]
    assert "revenue 19999 (19999)" in html


def test_a_chart_shows_amounts_or_else_counts_or_says_that_there_is_nothing() -> None:
    month = SeriesPoint(key="2026-01", value=Decimal(5))
    amounts = AnalyticsSeries(
        interval="monthly",
        points=1,
        revenue=[month],
        payments=[month],
        mrr_movements=[MrrMovement(key="2026-01", new=Decimal(3), churn=Decimal(1))],
    )
    assert re.findall(r"(\w[\w, ]*) \d+ \(2026-01\)", shown(amounts)) == ["revenue", "MRR, net change"]
    assert "payments 5 (2026-01)" in shown(AnalyticsSeries(interval="monthly", points=1, payments=[month]))
    assert shown(AnalyticsSeries(interval="monthly", points=1)) == "<p>monthly, 1 points: no values</p>"


def test_secrets_are_hidden() -> None:
    endpoint = WebhookEndpoint.from_dict({"id": "we_1", "url": "https://x", "secret": "whsec_canary", "events": ["*"]})
    session = AuthSession.from_dict({"access_token": "canary", "refresh_token": "canary", "expires_at": 1})
    for model in (endpoint, session):
        for html in (shown(model), shown(table([model, model]))):
            assert "canary" not in html
            assert "***" in html


def test_what_is_shown_of_each_kind_of_model() -> None:
    created = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    words = Outline(shown(Customer(id="cust_1", email="a@x", created_at=created, metadata={"plan": "pro"}))).words
    assert words == [
        *("Customer", "id", "cust_1", "email", "a@x", "created_at", "2026-01-02 03:04:05", "metadata", "plan: pro"),
    ]
    invoices = [
        Invoice(id="inv_1", amount_due=Decimal("19.90")),
        Invoice(id="inv_2", amount_due=Decimal(1), status="paid"),
    ]
    assert Outline(shown(table(invoices))).words == [
        "id",
        "amount_due",
        "status",
        "inv_1",
        "19.90",
        "inv_2",
        "1",
        "paid",
    ]
    page = AuditLogPage.from_dict({"data": [{"id": "log_1", "event_type": "customer.created"}]})
    assert "customer.created" in shown(page)


class _Shell:
    """As much of IPython's shell as an extension needs."""

    def __init__(self) -> None:
        self.display_formatter = DisplayFormatter()


def test_ipython_shows_models_and_after_the_extension_lists_of_them() -> None:
    shell = _Shell()

    def html_of(value: Any) -> str | None:
        data, _ = shell.display_formatter.format(value, include={"text/html"})
        found: str | None = data.get("text/html")
        return found

    customer = Customer(id="cust_1", email="a@x")
    assert html_of(customer) == shown(customer)
    assert html_of(table([customer])) == shown(table([customer]))
    assert html_of([customer]) is None
    load_ipython_extension(shell)
    assert html_of([customer]) == shown(table([customer]))
    assert [html_of(one) for one in ([], [1], [customer, 1])] == [None, None, None]
    unload_ipython_extension(shell)
    assert html_of([customer]) is None


@pytest.mark.parametrize("value", ["\ud800", "a\x00b", "\u2066", "\x1b[31m"])
def test_what_could_change_how_the_rest_is_shown_is_replaced(value: str) -> None:
    assert cell(value).isprintable()


@pytest.mark.parametrize("value", [None, "abc", [{"a": 1}], 5])
def test_a_table_of_something_else_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"table takes models, e.g. .*, not (NoneType|str|dict|int)"):
        table(value)
