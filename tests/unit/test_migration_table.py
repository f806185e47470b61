"""docs/migration.md names every call of the clients, and nothing that does not exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from montra_async import Montra
from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient
from montra_async.webhooks import WebhookHelpers

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
CLIENTS = {kind.__name__: kind for kind in (Montra, BillingClient, AuthClient, ApiGatewayClient)}
TABLES = re.findall(r"\| JavaScript \| `(\w+)` \| \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE)
ROW = re.compile(r"\| `([\w.]+)` \| `([\w.]+)` \|")
ROWS = [(client, *found) for client, table in TABLES for found in ROW.findall(table)]
ONLY_IN_PYTHON = [
    (name, clients) for name, clients in re.findall(r"^\| `([\w.]+)` \| ((?:`\w+`(?:, )?)+|all clients) \|", PAGE, re.M)
]


def calls_of(client: type) -> set[str]:
    return {
        name
        for name, member in inspect.getmembers(client)
        if not name.startswith("_") and callable(member) and not inspect.isclass(member)
    }


def exists(client: type, name: str) -> bool:
    owner, _, call = name.rpartition(".")
    return hasattr(WebhookHelpers if owner else client, call)


def only_in_python(client: str) -> set[str]:
    return {name for name, clients in ONLY_IN_PYTHON if clients == "all clients" or f"`{client}`" in clients}


@pytest.mark.parametrize("client", CLIENTS)
def test_every_call_is_in_the_table(client: str) -> None:
    named = {name for kind, _, name in ROWS if kind == client} | only_in_python(client)
    assert calls_of(CLIENTS[client]) - named == set()


@pytest.mark.parametrize(("client", "javascript", "name"), ROWS)
def test_every_named_call_exists(client: str, javascript: str, name: str) -> None:
    assert exists(CLIENTS[client], name)
    snake = re.sub(r"(?<=[a-z])(OAuth|[A-Z])", lambda found: f"_{found[0].lower()}", javascript)
    assert snake == name


@pytest.mark.parametrize("client", CLIENTS)
def test_what_only_python_has_exists(client: str) -> None:
    for name in only_in_python(client):
        assert exists(CLIENTS[client], name), name


def test_the_tables_were_found() -> None:
    assert {client for client, _ in TABLES} == set(CLIENTS)
    assert len(ROWS) > 65
    assert len(ONLY_IN_PYTHON) >= 8
