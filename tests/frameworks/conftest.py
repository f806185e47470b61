"""A billing service that answers as the test wants, and applications that ask it. All live for the whole session."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest

from .serving import SERVERS, Server, start
from .session_cookies import SESSION_SECRET

SECRET = "whsec_0123456789abcdef0123456789abcdef"
KEY = "sk_test_canary_8c1f"

HTML = "<!doctype html><title>Not Found</title>"


@attrs.frozen(kw_only=True)
class Said:
    """An answer of the service to the question of a guard."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = attrs.field(factory=dict)


def problem(status: int, code: str, message: str, **headers: str) -> Said:
    return Said(
        status=status,
        body=json.dumps({"success": False, "error": {"code": code, "message": message}}),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def access(**fields: Any) -> Said:
    return Said(body=json.dumps({"success": True, "data": fields}))


SAID: dict[str, Said] = {
    "wrong-key": problem(401, "invalid_api_key", "the key sk_test_canary_8c1f is not known"),
    "forbidden": problem(403, "forbidden", "this key may not read entitlements"),
    "no-such-path": problem(404, "unknown_route", "there is no '/entitlements' here"),
    "foreign-404": Said(status=404, body=HTML),
    "no-meter": problem(404, "not_found", "no meter with the slug 'customer'"),
    "moved": Said(status=308, headers={"Location": "https://elsewhere.example/"}),
    "refused": problem(400, "validation_error", "give exactly one of meter and feature"),
    "nobody": problem(404, "not_found", "no customer 'meter'"),
    "nobody-by-code": problem(404, "customer_not_found", "who?"),
    "limited": problem(429, "rate_limited", "slow down", Retry_After="120"),
    "down": problem(503, "maintenance", "back soon", Retry_After="120"),
    "a-page": Said(body="<html>welcome</html>"),
    "no-plan": access(has_access=False, reason="no_plan"),
    "used-up": access(has_access=False, usage=10, limit=8),
    "yes": access(has_access=True),
}


class Service(ThreadingHTTPServer):
    """The customer's id says what the service answers; `user-<n>-yes` and `user-<n>-no` are a crowd."""

    daemon_threads = True
    request_queue_size = 500

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.asked: Counter[str] = Counter()
        self.ended = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v1"


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        service = self.server
        assert isinstance(service, Service)
        [customer] = parse_qs(urlsplit(self.path).query)["customer_id"]
        service.asked[customer] += 1
        if customer == "silent":
            service.ended.wait(60)
            return
        said = SAID.get(customer) or access(has_access=customer.endswith("-yes"))
        self.send_response(said.status)
        body = said.body.encode()
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.ended.set()
        running.shutdown()
        thread.join()


Start = Callable[..., Server]


@pytest.fixture(scope="session")
def site(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Applications by name, asking `service`; each is started when it is first wanted."""
    folder: Path = tmp_path_factory.mktemp("sites")
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            running[name] = start(
                SERVERS[name],
                MONTRA_BASE_URL=service.base_url,
                MONTRA_API_KEY=KEY,
                MONTRA_WEBHOOK_SECRET=SECRET,
                SESSION_SECRET=SESSION_SECRET,
                EVENTS_DB=str(folder / f"{name}.db"),
                BUYERS_FILE=str(folder / f"{name}.txt"),
            )
            running[name].framework = name
        return running[name]

    yield get
    for server in running.values():
        server.stop()
    for name, server in running.items():
        assert not server.crashes(), (name, server.log)
