"""Run schemathesis against a sandbox of its own. Further arguments go to schemathesis.

A merchant with some data is set up first, and its ids are put into the document as examples, so that not every
generated request ends at "no such customer".
"""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from montra_sandbox import Sandbox
from montra_sandbox.contract import read_contract

_SECONDS = 900
_CONFIG = Path(__file__).with_name("schemathesis.toml")


async def main(arguments: list[str]) -> int:
    async with Sandbox() as sandbox:
        ids = await _furnish(sandbox)
        document = _with_examples(read_contract("montra").document, ids)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "montra.json")
            path.write_text(json.dumps(document), encoding="utf-8")
            return await _schemathesis(sandbox, path, arguments)


async def _furnish(sandbox: Sandbox) -> dict[str, str]:
    """One of everything; the ids by parameter name."""
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def post(path: str, **body: Any) -> str:
            async with http.post(sandbox.base_url + path, json=body) as answer:
                answer.raise_for_status()
                made: str = (await answer.json())["data"]["id"]
                return made

        customer = await post("/customers", name="Ada", email="ada@example.com")
        model = await post("/pricing-models", name="Pro", is_default=True)
        other = await post("/pricing-models", name="Team")
        await post("/meters", name="Tokens", slug="api-tokens", pricing_model_id=model)
        link = await post("/checkout-links", link_name="pay", payment_name="Pay", amount=1000)
        card = {"name": "Ada", "email": "ada@example.com", "card": "4242424242424242", "action": "pay"}
        async with http.post(f"{sandbox.url}/pay/{link}", data=card) as page:
            page.raise_for_status()
        return {
            "transaction_id": sandbox.transactions()[0]["id"],
            "customer_id": customer,
            "pricing_model_id": model,
            "new_pricing_model_id": other,
            "meter_slug": "api-tokens",
            "product_id": await post(
                "/products", pricing_model_id=model, name="Seat", price_type="recurring", amount=20
            ),
            "feature_id": await post("/features", pricing_model_id=model, name="SSO", slug="sso"),
            "subscription_id": await post("/subscriptions", customer_id=customer, pricing_model_id=model),
            "invoice_id": await post("/invoices", customer_id=customer, amount_due=10),
            "webhook_id": await post("/webhooks", url="http://127.0.0.1:9/nobody"),
        }


def _with_examples(document: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """The document with the ids that exist as examples of path parameters and body fields."""
    document = copy.deepcopy(document)
    components = document["components"]
    for parameter in components["parameters"].values():
        if parameter["name"] in ids:
            parameter["example"] = ids[parameter["name"]]
    for name, schema in components["schemas"].items():
        if name.endswith(("Create", "Request", "Report")):
            for field, rule in schema["properties"].items():
                if field in ids:
                    schema["properties"][field] = {**rule, "examples": [ids[field]]}
    return document


async def _schemathesis(sandbox: Sandbox, document: Path, arguments: list[str]) -> int:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run", str(document)),
        *("--url", sandbox.base_url, "--header", f"Authorization: Bearer {sandbox.api_key}"),
        # One worker: Python 3.11's parser, which hypothesis uses to describe itself, is not safe in several threads.
        *("--max-examples", "40", "--seed", "1", "--workers", "1"),
        *arguments,
    ]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        return await asyncio.wait_for(process.wait(), _SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        raise subprocess.TimeoutExpired(command[:4], _SECONDS) from None


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
