"""Endless lists, and pages with an impossible `total`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from montra_async import Montra


@pytest.mark.parametrize(
    "total", [lambda page: page * 10**6, lambda page: 10**15 + page, lambda page: -5, lambda page: None], ids=range(4)
)
async def test_an_iterator_continues_whatever_total_a_page_has(total: Any) -> None:
    asked: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        asked.append(request.query_string)
        entries = [{"id": f"log_{len(asked)}_{i}"} for i in range(3)]
        body = {"success": True, "data": entries, "meta": {"total": total(len(asked)), "limit": 3, "offset": 0}}
        return web.Response(text=json.dumps(body), content_type="application/json")

    app = web.Application()
    app.router.add_get("/audit-logs", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with Montra("sk_test_x", f"http://127.0.0.1:{runner.addresses[0][1]}") as montra:
        entries = montra.iter_audit_logs(page_size=3)
        for _ in range(20):
            await asyncio.wait_for(entries.__anext__(), 20)
            assert len(asked) < 60
        await entries.aclose()
    await runner.cleanup()
