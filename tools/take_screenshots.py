"""Take the screenshots of `docs/sandbox/dashboard.md`: demo data, a clock that stands still, figures that don't vary.

Usage: python tools/take_screenshots.py [FOLDER]
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import attrs
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from montra_async import NotFoundError
from montra_sandbox import Sandbox
from montra_sandbox.world import World
from montra_sync import Montra

NOW = datetime(2026, 6, 30, 14, 5, tzinfo=timezone.utc)
COLOURS = 256
FOLDER = Path(__file__).parents[1] / "docs" / "images"
RECEIVER_PORT = 8000
URL = f"http://127.0.0.1:{RECEIVER_PORT}/webhooks"


class Receiver(BaseHTTPRequestHandler):
    """An application that does not know one of the events."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_known = b'"type":"usage.limit_reached"' not in body
        answer = b'{"received": true}' if is_known else b'{"error": "unknown event"}'
        self.send_response(200 if is_known else 500)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def receiver() -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", RECEIVER_PORT), Receiver)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def prepare(sandbox: Sandbox) -> dict[str, str]:
    """Fill the sandbox; returns the paths of the pages by the name of the image."""
    sandbox.freeze(NOW)
    sandbox.seed_ids(42)
    sandbox.demo()
    with Montra(sandbox.api_key, sandbox.base_url) as montra:
        montra.create_webhook(url=URL)
        customers = montra.list_customers()
        plans = {plan.name: plan for plan in montra.list_pricing_models()}
        subscribed = montra.list_subscriptions(status="active")
        team = [one.customer_id for one in subscribed if one.pricing_model_id == plans["Team"].id]
        busy = team[len(team) // 2]
        ada = montra.create_customer(name="Ada Lovelace", email="ada@example.com", idempotency_key="sign-up-4711")
        montra.create_subscription(ada.id, plans["Pro"].id)
        sandbox.add_fault(kind="drop_after", method="POST", path="/usage")
        montra.report_usage(ada.id, montra.list_meters()[0].slug, amount=1200)
        with suppress(NotFoundError):
            montra.get_customer("cust_unknown")
        montra.check_feature_access(ada.id, "sso")
        montra.get_customer(customers[3].id)
        link = montra.create_checkout_link(
            link_name="pro", payment_name="Pro", amount=29, description="For one month"
        ).url
    sandbox.trigger("usage.limit_reached")
    sandbox.settle()
    sandbox.call_in_server(lambda: _fix_figures(sandbox._world))
    created = next(one for one in sandbox.requests if one.operation == "create_customer")
    return {
        "overview": "/",
        "customer": f"/dashboard/customers/{busy}",
        "plan": f"/dashboard/plans/{plans['Team'].id}",
        "requests": "/dashboard/requests",
        "request": f"/dashboard/requests/{created.id}",
        "webhooks": "/dashboard/webhooks",
        "clock": "/dashboard/clock",
        "checkout": link.removeprefix(sandbox.url),
    }


def _fix_figures(world: World) -> None:
    """Give durations and ids of requests values that are the same in every run."""
    kept = list(world.requests)
    world.requests.clear()
    for number, request in enumerate(kept, 1):
        world.requests.add(attrs.evolve(request, id=f"req_{number:016x}", duration_ms=0.8 + number * 7 % 10 / 4))
    with world.db.transaction() as db:
        db.run("UPDATE deliveries SET duration_ms = 3 + sequence % 5 WHERE duration_ms IS NOT NULL")


def take(browser: Browser, url: str, path: Path, *, width: int = 1240, height: int = 800, dark: bool = False) -> None:
    """Save a small picture of a page."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        device_scale_factor=2 if width < 500 else 1,
    )
    page: Page = context.new_page()
    page.goto(url)
    page.wait_for_timeout(300)  # the live feed connects
    picture = Image.open(io.BytesIO(page.screenshot()))
    context.close()
    small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1024} KB")


def main(folder: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("needs a Chromium: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with receiver(), Sandbox(port=4242) as sandbox:
        pages = prepare(sandbox)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium)
            for name, path in pages.items():
                take(browser, sandbox.url + path, folder / f"dashboard-{name}.png")
            take(browser, sandbox.url, folder / "dashboard-dark.png", dark=True)
            phone = {"width": 390, "height": 760, "dark": True}
            take(browser, sandbox.url + pages["customer"], folder / "dashboard-phone.png", **phone)  # type: ignore[arg-type]
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
