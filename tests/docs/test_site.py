"""The site that `nox -s docs` has built, as files and in a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

import montra_async

from . import ROOT

from build_docs.page_checks import anchors, problems_of  # isort: skip
from build_docs.public_names import public_names  # isort: skip
from build_docs.staging import Staging  # isort: skip

pytestmark = pytest.mark.site
SITE = ROOT / "site"
VERSION = SITE / montra_async.__version__


class Handler(SimpleHTTPRequestHandler):
    """Serves files, silently."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the site is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "needs a Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that reaches this machine only."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(30_000)
    opened = context.new_page()
    elsewhere: list[str] = []
    opened.on("request", lambda request: elsewhere.append(request.url) if _is_elsewhere(request.url) else None)
    yield opened
    context.close()
    assert elsewhere == []


def _is_elsewhere(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "file://", "data:", "blob:", "about:"))


def test_nothing_is_loaded_from_elsewhere_and_every_link_leads_somewhere() -> None:
    assert problems_of(VERSION.resolve()) == []


def test_every_public_name_has_an_anchor() -> None:
    inventory = (VERSION / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]
    known = anchors(VERSION) | {line.split(" ", 1)[0] for line in zlib.decompress(inventory).decode().splitlines()}
    assert {one.path for one in public_names()} - known == set()
    assert {"montra_async.Montra.create_customer", "montra_sync.Montra.create_customer"} <= known
    assert {"montra_pytest.plugin.montra_sandbox", "montra_sandbox.Sandbox.advance"} <= known


def test_the_files_beside_the_pages_are_there() -> None:
    versions = json.loads((SITE / "versions.json").read_text())
    assert {"version": montra_async.__version__, "title": montra_async.__version__} in [
        {"version": one["version"], "title": one["title"]} for one in versions
    ]
    assert (SITE / "latest" / "index.html").exists()
    listed = (VERSION / "llms.txt").read_text()
    pages = [one.relative_to(VERSION).as_posix() for one in VERSION.rglob("*.html") if one.name != "404.html"]
    assert [one for one in pages if f"]({one})" not in listed] == []
    assert "montra_async.Montra.create_customer" in (VERSION / "llms-full.txt").read_text()


def test_the_front_leads_to_the_latest_version(page: Page, address: str) -> None:
    page.goto(f"{address}/")
    page.wait_for_url(f"{address}/latest/index.html")
    selector = page.locator(".md-version__current")
    expect(selector).to_contain_text(montra_async.__version__)


def test_tabs_switch_and_are_remembered(page: Page, address: str) -> None:
    page.goto(f"{address}/latest/guides/access.html")
    shown = page.locator(".tabbed-block:visible").first
    expect(shown).to_contain_text("await access.check")
    page.locator(".tabbed-labels label", has_text="sync").filter(has_not_text="async").first.click()
    expect(page.locator(".tabbed-block:visible").first).not_to_contain_text("await")
    page.goto(f"{address}/latest/guides/usage.html")
    expect(page.locator(".tabbed-block:visible").first).to_contain_text("montra_sync")


@pytest.mark.parametrize("kind", ["served", "file"])
def test_search_finds_refund(kind: str, page: Page, address: str) -> None:
    start = f"{address}/latest" if kind == "served" else VERSION.as_uri()
    page.goto(f"{start}/index.html")
    page.get_by_role("button", name="Search").first.click()
    page.get_by_role("textbox").or_(page.get_by_role("combobox")).first.fill("refund")
    result = page.locator("a[href*='refund']:visible").filter(has_text="efund").first
    expect(result).to_be_visible()


def test_the_palette_follows_the_system(browser: Browser, address: str) -> None:
    colours = []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{address}/latest/index.html")
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert colours[0] != colours[1]


def test_pages_fit_a_phone(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 760})
    page = context.new_page()
    for path in (
        "index.html",
        "guides/usage.html",
        "reference/customers.html",
        "reference/synchronous.html",
        "cli.html",
    ):
        page.goto(f"{address}/latest/{path}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    context.close()


BROKEN_CODES = """[...document.querySelectorAll("td:first-child code")]
  .filter(code => !code.textContent.includes(" ") && code.getClientRects().length > 1)
  .map(code => code.textContent)"""


def test_codes_in_tables_stay_whole_on_a_phone(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 760})
    page = context.new_page()
    page.goto(f"{address}/latest/errors.html")
    assert page.locator("td:first-child code").count() > 100
    assert page.evaluate(BROKEN_CODES) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()


def test_code_can_be_copied(page: Page, address: str) -> None:
    page.goto(f"{address}/latest/guides/usage.html")
    button = page.locator("button[data-clipboard-target], .md-code__button, button.md-clipboard").first
    expect(button).to_be_attached()


@pytest.mark.parametrize("prefix", ["latest", montra_async.__version__])
def test_an_address_that_does_not_exist_has_a_page(prefix: str, page: Page, address: str) -> None:
    page.route("**/gone.html", lambda route: route.fulfill(status=404, path=SITE / "404.html"))
    page.goto(f"{address}/{prefix}/guides/gone.html")
    expect(page.get_by_role("heading")).to_contain_text("does not exist")
    page.get_by_role("link", name="front page").click()
    page.wait_for_url(f"{address}/{prefix}/index.html")


# What the build refuses


BAD_PAGES = {
    "a link to nothing": ("[x](gone.md)", "page does not exist"),
    "a missing anchor": ("[x](other.md#gone)", "anchor does not exist"),
    "a missing reference": ("[x][montra_async.Gone]", "unresolved autoref"),
    "an object that does not exist": ("::: montra_async.Gone", "montra_async.Gone could not be found"),
}


@pytest.mark.parametrize(("text", "said"), [*BAD_PAGES.values(), ("[x](other.md#there)", None)])
def test_the_build_is_strict(text: str, said: str | None, tmp_path: Path) -> None:
    settings = Staging(tmp_path, "1.0").settings({})
    settings["nav"] = [{"Home": "index.md"}, {"Other": "other.md"}]
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "tools" / "build_docs" / "theme", docs / "assets")
    (docs / "index.md").write_text(f"# Home\n\n{text}\n")
    (docs / "other.md").write_text("# Other\n\n## There\n")
    (tmp_path / "mkdocs.yml").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(tmp_path / "mkdocs.yml")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode == 0) is (said is None), run.stdout + run.stderr
    assert (said or "") in run.stdout + run.stderr
