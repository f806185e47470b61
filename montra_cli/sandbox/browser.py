"""Opens a sandbox in the browser. Its token stays out of the command line, which other users of the machine see.

The browser gets a file that only the user can read. It leads to a page of this process, which leads to the sandbox: the
sandbox's cookie is not sent to a page that a file has opened, but it is to one that a page of the same host has opened.
"""

from __future__ import annotations

import contextlib
import html
import http.server
import os
import secrets
import socket
import tempfile
import threading
import webbrowser
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from ..failures import FAILED, CliError


class Browser:
    """Opens addresses until the sandbox stops; what it needs meanwhile ends with the `with` block."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def open(self, url: str, *, is_secret: bool) -> None:
        """Open an address.

        Args:
            url: the address.
            is_secret: whether it holds a token.

        Raises:
            CliError: a file for the browser can't be written, or no port is free.
        """
        try:
            webbrowser.open(self.private_page(url) if is_secret else url)
        except OSError as error:
            raise CliError(f"the browser can't be opened: {error.strerror}", FAILED) from None

    def private_page(self, url: str) -> str:
        """The address of a file that leads to a secret address.

        Args:
            url: the secret address.

        Raises:
            OSError: the file can't be written, or no port is free.
        """
        host = urlsplit(url).hostname or ""
        path = f"/{secrets.token_urlsafe(32)}"
        server = (_Server6 if ":" in host else _Server)((host, 0), _handler(path, _leading_to(url)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._ends.callback(server.server_close)
        self._ends.callback(server.shutdown)
        handle, name = tempfile.mkstemp(prefix="montra-sandbox-", suffix=".html")  # with the mode 0600
        self._ends.callback(Path(name).unlink, missing_ok=True)
        shown = f"[{host}]" if ":" in host else host
        with os.fdopen(handle, "wb") as file:
            file.write(_leading_to(f"http://{shown}:{server.server_port}{path}"))
        return Path(name).as_uri()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


def _leading_to(url: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Montra sandbox</title>'
        '<meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0; url={html.escape(url)}">\n'
    ).encode()


def _handler(path: str, page: bytes) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            found = secrets.compare_digest(self.path.encode(), path.encode())
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(page if found else b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
