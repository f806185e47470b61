"""What tests with a real browser share."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from montra_sandbox import Sandbox


class Threaded:
    """An object of Playwright that lives in another thread; whatever it returns lives there, too.

    Playwright's synchronous interface leaves an event loop running in its thread, in which neither a `with Sandbox()`
    nor an asynchronous test could run.
    """

    def __init__(self, target: Any, thread: Executor) -> None:
        self._target, self._thread = target, thread

    def __getattr__(self, name: str) -> Any:
        return self._wrap(self._thread.submit(getattr, self._target, name).result(120))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap(self._thread.submit(self._target, *args, **kwargs).result(120))

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._wrap(one) for one in value]
        lives_there = callable(value) or type(value).__module__.startswith("playwright")
        return Threaded(value, self._thread) if lives_there else value


@contextmanager
def open_chromium(path: str) -> Generator[Any]:
    """A running browser, in a thread of its own.

    Args:
        path: its program.
    """
    from playwright.sync_api import sync_playwright

    with ThreadPoolExecutor(1, "playwright") as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result(120)
        try:
            browser = Threaded(playwright.chromium, thread).launch(executable_path=path)
            yield browser
            browser.close()
        finally:
            thread.submit(playwright.stop).result(120)


@contextmanager
def open_page(chromium: Any, *, width: int = 1280, dark: bool = False, scripts: bool = True) -> Generator[Any]:
    """A page of a new profile. Errors of scripts and violations of the content policy fail the test."""
    context = chromium.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
        reduced_motion="reduce",
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: dialog.accept())
    page.on("console", lambda message: problems.append(message.text) if _is_problem(message.text) else None)
    try:
        yield page
        assert problems == []
    finally:
        context.close()


def _is_problem(text: str) -> bool:
    """A refused form has an error status, which the browser's console mentions."""
    return "Content Security Policy" in text or "Uncaught" in text


@contextmanager
def receiving() -> Generator[tuple[str, list[bytes], list[int]]]:
    """A webhook endpoint: its URL, the bodies that it got, and the statuses that it answers next (200 by default)."""
    bodies: list[bytes] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", bodies, statuses
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def furnish(sandbox: Sandbox) -> None:
    """Demo data, small enough for tests."""
    sandbox.demo(customers=40, months=4)
