"""axe-core finds nothing to complain about, on any page, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from montra_sandbox import Sandbox
from montra_sync import Montra
from montra_sync.paywall import BillingClient

from .browsing import furnish, open_page
from .test_browser_dashboard import PAGES

DARK = '{"resultTypes": ["violations"], "runOnly": ["color-contrast"]}'
pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python")


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, list[str]]]:
    """Every kind of page, furnished and empty."""
    with Sandbox() as sandbox, Sandbox() as empty:
        furnish(sandbox)
        sandbox.add_webhook_endpoint("http://127.0.0.1:9/")
        sandbox.trigger("checkout.completed")
        sandbox.snapshot("one")
        sandbox.freeze()
        with Montra(sandbox.api_key, sandbox.base_url) as montra:
            ada = montra.create_customer(name="Ada", email="ada@example.com")
            plan = montra.list_pricing_models()[0]
            montra.create_subscription(ada.id, plan.id)
            link = montra.create_checkout_link(link_name="l", payment_name="Pro", amount=5).url
        with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
            view = billing.for_user(email="ada@example.com")
            checkout = view.create_checkout(101).url
            sandbox.pay(view.create_checkout(101).url)
            portal = view.get_customer_portal_url()
        sandbox.add_fault(kind="latency", path="/x", share=0.5)
        user = sandbox.paywall_users(sandbox.paywall_id)[-1]
        paywall = f"/dashboard/paywalls/{sandbox.paywall_id}"
        payment = sandbox.pay(link)
        receipt = f"/pay/{link.rpartition('/')[2]}/receipts/{payment.id}"
        details = (
            *(f"/dashboard/customers/{ada.id}", f"/dashboard/plans/{plan.id}", receipt),
            *(f"/dashboard/payments/{payment.id}", f"/dashboard/events/{sandbox.events(limit=1)[0]['id']}"),
            *(f"/dashboard/requests/{sandbox.requests[0].id}", f"/dashboard/customers/{payment.customer_id}"),
            *(f"/dashboard/deliveries/{sandbox.deliveries(limit=1)[0]['id']}", f"{paywall}/users/{user['id']}"),
            *(f"{paywall}?tab={tab}" for tab in ("users", "purchases", "mails", "tickets", "events", "setup")),
            *(path.removeprefix(sandbox.url) for path in (link, checkout, portal)),
            f"{portal.removeprefix(sandbox.url)}/cancel?purchase={user['purchases'][0]['id']}",
        )
        furnished = [sandbox.url + path for path in (*PAGES, *details)]
        yield {
            "furnished": furnished,
            "empty": [empty.url + path for path in PAGES],
            "some": [*furnished[:3], *furnished[len(PAGES) : len(PAGES) + 3]],
        }


@pytest.mark.parametrize(("which", "width"), [("furnished", 1280), ("empty", 1280), ("some", 360)])
def test_no_page_has_a_violation(chromium: Any, urls: dict[str, list[str]], which: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    found: list[str] = []
    with open_page(chromium, width=width) as page:
        for url in urls[which]:
            page.goto(url)
            page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
            violations = axe.run(page).response["violations"]
            page.emulate_media(color_scheme="dark")  # changes colours only
            violations += page.evaluate(f"axe.run({DARK}).then(result => result.violations)")
            page.emulate_media(color_scheme="light")
            for violation in violations:
                nodes = [node["html"][:150] for node in violation["nodes"][:2]]
                found.append(f"{url}: {violation['id']}: {violation['help']}: {nodes}")
    assert found == [], "\n".join(found)
