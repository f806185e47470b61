"""Run schemathesis against a sandbox of its own, for both services. Further arguments go to schemathesis.

Some data is set up first, and its ids are put into the documents as examples, so that not every generated request ends
at "no such customer".
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
        montra = await _check("montra", sandbox.base_url, await _montra(sandbox), _bearer(sandbox.api_key), arguments)
    async with Sandbox() as sandbox:
        ids = await _paywall(sandbox)
        headers = {"X-Api-Key": sandbox.api_key, **_bearer(ids.pop("access_token"))}
        base = f"{sandbox.url}/api"
        ending = [f"--{{}}-operation-id={name}" for name in ("sign_out", "revoke_all")]  # they end the session
        paywall = await _check("paywall", base, ids, headers, [one.format("exclude") for one in ending] + arguments)
        ends = await _check("paywall", base, ids, headers, [one.format("include") for one in ending] + arguments)
    return montra or paywall or ends


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _check(name: str, url: str, ids: dict[str, str], headers: dict[str, str], arguments: list[str]) -> int:
    document = _with_examples(read_contract(name).document, ids)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.json")
        path.write_text(json.dumps(document), encoding="utf-8")
        return await _schemathesis(url, headers, path, arguments)


async def _montra(sandbox: Sandbox) -> dict[str, str]:
    """One of everything; the ids by parameter name."""
    async with aiohttp.ClientSession(headers=_bearer(sandbox.api_key)) as http:

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


async def _paywall(sandbox: Sandbox) -> dict[str, str]:
    """A user with a purchase and a session; the ids by parameter name."""
    base = f"{sandbox.url}/api/v1/paywall/{sandbox.paywall_id}"
    async with aiohttp.ClientSession(headers={"X-Api-Key": sandbox.api_key}, raise_for_status=True) as http:
        ada = {"email": "ada@example.com", "userMeta": {"userId": "ada"}}
        async with http.post(f"{base}/start-checkout", json={**ada, "priceId": 101}) as answer:
            page = (await answer.json())["checkoutUrl"]
        async with http.post(page, data={"card": "4242424242424242", "action": "pay"}):
            pass
        async with http.post(f"{base}/auth/otp/send", json={"email": ada["email"]}):
            pass
        proof = {"email": ada["email"], "token": sandbox.mails()[0]["token"], "type": "email"}
        async with http.post(f"{base}/auth/otp/verify", json=proof) as answer:
            session = await answer.json()
        [purchase] = sandbox.paywall_users(sandbox.paywall_id)[0]["purchases"]
    return {
        "paywall_id": sandbox.paywall_id,
        "paywallId": sandbox.paywall_id,
        "provider_id": "echo",
        "priceId": "101",
        "email": "ada@example.com",
        "user_id": "ada",
        "subscriptionId": purchase["id"],
        "access_token": session["access_token"],
    }


def _with_examples(document: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """The document with the ids that exist as examples of path parameters and body fields."""
    document = copy.deepcopy(document)
    components = document["components"]
    for parameter in components["parameters"].values():
        if parameter["name"] in ids:
            parameter["example"] = ids[parameter["name"]]
        if parameter["name"] == "paywall_id":  # without it there is nothing but 404
            parameter["schema"] = {"const": ids["paywall_id"]}
    for name, schema in components["schemas"].items():
        if name.endswith(("Create", "Request", "Report", "Change", "Withdrawal")):
            for field, rule in schema["properties"].items():
                if field in ids:
                    schema["properties"][field] = {**rule, "examples": [ids[field]]}
    return document


async def _schemathesis(url: str, headers: dict[str, str], document: Path, arguments: list[str]) -> int:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run", str(document)),
        *("--url", url, *(part for one in headers.items() for part in ("--header", ": ".join(one)))),
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
