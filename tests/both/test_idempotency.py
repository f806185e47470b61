"""One key, one effect."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from montra_async import ConflictError, InvalidRequestError, Montra, NotFoundError
from montra_sandbox import Sandbox


async def test_the_same_key_replays_the_answer(montra: Montra) -> None:
    first = await montra.create_customer(name="A", email="a@example.com", idempotency_key="k")
    again = await montra.create_customer(name="A", email="a@example.com", idempotency_key="k")
    assert first == again
    assert len(await montra.list_customers()) == 1
    assert (await montra.list_audit_logs()).meta.total == 1


async def test_a_replay_is_equal_to_the_byte(sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {sandbox.api_key}", "Idempotency-Key": "k"}
    answers = []
    async with aiohttp.ClientSession(headers=headers) as http:
        for body in ('{"name":"A","email":"a@x.fi"}', '{ "email": "a@x.fi", "name": "A" }'):
            kind = {"Content-Type": "application/json"}
            async with http.post(f"{sandbox.base_url}/customers", data=body, headers=kind) as answer:
                answers.append((answer.status, await answer.read(), answer.headers.get("Idempotent-Replayed")))
    assert answers[0][:2] == answers[1][:2]
    assert (answers[0][2], answers[1][2]) == (None, "true")


async def test_another_request_with_the_same_key_is_a_mismatch(montra: Montra) -> None:
    await montra.create_customer(name="A", email="a@example.com", idempotency_key="k")
    for call in (
        montra.create_customer(name="B", email="a@example.com", idempotency_key="k"),
        montra.create_pricing_model(name="A", idempotency_key="k"),
        montra.upload_file(b"x", idempotency_key="k"),
    ):
        with pytest.raises(ConflictError) as caught:
            await call
        assert caught.value.code == "idempotency_mismatch"


async def test_files_are_told_apart_by_their_content(montra: Montra) -> None:
    first = await montra.upload_file(b"x", name="a", idempotency_key="k")
    assert await montra.upload_file(b"x", name="a", idempotency_key="k") == first
    for content, name in ((b"y", "a"), (b"x", "b")):
        with pytest.raises(ConflictError):
            await montra.upload_file(content, name=name, idempotency_key="k")


async def test_merchants_have_keys_of_their_own(montra: Montra, other: Montra) -> None:
    mine = await montra.create_customer(name="A", email="a@example.com", idempotency_key="k")
    theirs = await other.create_customer(name="B", email="b@example.com", idempotency_key="k")
    assert mine.id != theirs.id


async def test_what_failed_may_be_corrected_under_the_same_key(montra: Montra) -> None:
    with pytest.raises(NotFoundError):
        await montra.create_invoice(customer_id="cust_none", amount_due=1, idempotency_key="k")
    with pytest.raises(InvalidRequestError):
        await montra.create_customer(name="A", email="nonsense", idempotency_key="k")
    await montra.create_customer(name="A", email="a@example.com", idempotency_key="k")


async def test_simultaneous_twins_run_once(montra: Montra, sandbox: Sandbox) -> None:
    sandbox.add_fault(kind="latency", seconds=0.05, share=0.5, path="/customers", method="POST")
    twins = await asyncio.gather(
        *(montra.create_customer(name="A", email="a@example.com", idempotency_key="k") for _ in range(30))
    )
    assert len({one.id for one in twins}) == 1
    assert (await montra.list_audit_logs(event_type="customer.created")).meta.total == 1


async def test_keys_outlive_a_restart(connect: Any, tmp_path: object) -> None:
    db = f"{tmp_path}/sandbox.db"
    made = []
    for _ in range(2):
        async with Sandbox(db=db) as sandbox, connect(sandbox.api_key, sandbox.base_url) as montra:
            made.append(await montra.create_customer(name="A", email="a@example.com", idempotency_key="k"))
    assert made[0] == made[1]
