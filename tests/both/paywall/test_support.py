"""Tickets with files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from montra_async.paywall import Attachment, PaywallError
from montra_sandbox import Sandbox

from ..conftest import Service


async def test_a_ticket(ada: Any, billing: Any, sandbox: Sandbox) -> None:
    ticket = await ada.create_support_ticket("It broke", "All of it.")
    assert (ticket.id, ticket.status) == (1, "open")
    await billing.create_support_ticket("Anybody", "there?", email="Eve@example.com")
    eve, adas = sandbox.tickets()
    assert (adas["subject"], adas["content"], adas["email"], adas["files"]) == (
        *("It broke", "All of it.", "ada@example.com", []),
    )
    assert eve["email"] == "eve@example.com"


async def test_files_of_every_kind(ada: Any, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "grüße.png"
    path.write_bytes(b"png")
    with (tmp_path / "log.txt").open("wb+") as log:
        log.write(b"0123456789")
        log.seek(4)
        await ada.create_support_ticket(
            "Files",
            "Ünïcode 🎉\nin lines",
            files=[
                path,
                str(path),
                b"bytes",
                log,
                io.BytesIO(b"memory"),
                Attachment(b"{}", name="data.json"),
                Attachment(path, name='a "quoted" name', content_type="image/x-mine"),
            ],
        )
        assert not log.closed
    [ticket] = sandbox.tickets()
    assert ticket["content"] == "Ünïcode 🎉\nin lines"
    assert [(one["name"], one["type"], one["size"]) for one in ticket["files"]] == [
        ("grüße.png", "image/png", 3),
        ("grüße.png", "image/png", 3),
        ("file", "application/octet-stream", 5),
        ("log.txt", "text/plain", 6),
        ("file", "application/octet-stream", 6),
        ("data.json", "application/json", 2),
        ("a %22quoted%22 name", "image/x-mine", 3),
    ]


async def test_a_file_is_not_read_into_memory(ada: Any, sandbox: Sandbox) -> None:
    class Watched(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            chunk = super().read(size)
            self.largest = max(self.largest, len(chunk))
            return chunk

    source = Watched(os.urandom(3_000_000))
    await ada.create_support_ticket("Large", "file", files=[source])
    assert sandbox.tickets()[0]["files"][0]["size"] == 3_000_000
    assert source.largest <= 64 * 1024


async def test_a_source_that_can_be_read_once_is_sent_once(ada: Any, sandbox: Sandbox, service: Service) -> None:
    read, write = os.pipe()
    os.write(write, b"from a pipe")
    os.close(write)
    with open(read, "rb") as source:
        await ada.create_support_ticket("Pipe", "x", files=[source], idempotency_key="t-1")
    assert sandbox.tickets()[0]["files"][0]["size"] == 11
    service.watch.answers = False
    read, write = os.pipe()
    os.close(write)
    sandbox.add_fault(kind="drop_before", times=3)
    with open(read, "rb") as source, pytest.raises(PaywallError, match="network_error"):
        await ada.create_support_ticket("Pipe", "x", files=[source], idempotency_key="t-2")
    assert sandbox.faults()[0]["hits"] == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"subject": ""}, "subject"),
        ({"content": " "}, "content"),
        ({"email": "nobody"}, "email"),
        ({"files": ["/no/such/file"]}, r"files\[0\]: can't read"),
        ({"files": [b"x", 5]}, r"files\[1\]: a path, bytes or an open binary file, not int"),
        ({"files": b"x"}, "files: a list of files"),
        ({"files": [io.StringIO("x")]}, "open as text"),
        ({"files": [Attachment(b"x", name="a\r\nb")]}, "line breaks"),
        ({"idempotency_key": ""}, "idempotency_key"),
    ],
)
async def test_invalid_tickets_are_not_sent(service: Service, fields: dict[str, Any], words: str) -> None:
    billing = service.kinds.BillingClient("pw", "http://127.0.0.1:9")
    given = {"subject": "s", "content": "c", "email": "a@example.com", **fields}
    with pytest.raises(PaywallError, match=words) as caught:
        await billing.create_support_ticket(given.pop("subject"), given.pop("content"), **given)
    assert (caught.value.code, caught.value.call) == ("invalid_argument", None)


async def test_a_ticket_requires_an_address(billing: Any) -> None:
    with pytest.raises(PaywallError) as caught:
        await billing.create_support_ticket("s", "c")
    assert (caught.value.code, caught.value.call) == ("identity_required", None)
