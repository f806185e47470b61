"""Views that return models, in the real frameworks."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from typing import Annotated, Any

import flask
import pytest
from fastapi import Body, FastAPI
from fastapi.testclient import TestClient

from montra_async import Customer, Invoice, WebhookEndpoint
from montra_sync.frameworks.flask import MontraJSONProvider

INVOICE = Invoice(id="inv_1", amount_due=Decimal("19.90"))
CUSTOMER = Customer(id="cust_1", email="a@example.com")
WRITTEN = {"id": "inv_1", "amount_due": "19.90"}

app = FastAPI()


@app.get("/annotated")
async def annotated() -> Invoice:
    return INVOICE


@app.get("/response-model", response_model=list[Customer])
async def response_model() -> Any:
    return [CUSTOMER, {"id": "cust_2", "email": "b@example.com", "plan": "pro"}]


@app.get("/excluded", response_model=WebhookEndpoint, response_model_exclude={"secret"})
async def excluded() -> Any:
    return WebhookEndpoint(id="wh_1", url="https://a.example", events=["*"], enabled=True, secret="whsec_1")


@app.get("/nested")
async def nested() -> dict[str, list[Invoice]]:
    return {"invoices": [INVOICE]}


@app.post("/body")
async def body(invoice: Annotated[Invoice, Body()]) -> str:
    return f"{type(invoice).__name__} {invoice.amount_due}"


def test_fastapi_returns_models_and_takes_them() -> None:
    client = TestClient(app)
    assert client.get("/annotated").json() == WRITTEN
    assert client.get("/response-model").json() == [
        {"id": "cust_1", "email": "a@example.com"},
        {"id": "cust_2", "email": "b@example.com", "plan": "pro"},
    ]
    assert client.get("/excluded").json().keys() == {"id", "url", "events", "enabled"}
    assert client.get("/nested").json() == {"invoices": [WRITTEN]}
    assert client.post("/body", json={"id": "inv_1", "amount_due": 19.9}).json() == "Invoice 19.9"
    refused = client.post("/body", json={"id": "inv_1"})
    assert refused.status_code == 422
    assert "required field missing @ Invoice.amount_due" in refused.text


def test_fastapi_describes_them() -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]
    assert {"Customer", "Invoice-Input", "Invoice-Output"} <= set(schemas)
    assert schemas["Invoice-Output"]["properties"]["amount_due"]["type"] == "string"
    listed = document["paths"]["/response-model"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed["items"] == {"$ref": "#/components/schemas/Customer"}


def test_flask_writes_them_anywhere() -> None:
    site = flask.Flask(__name__)
    site.json = MontraJSONProvider(site)
    with site.app_context():
        assert json.loads(flask.jsonify(INVOICE).get_data()) == WRITTEN
        assert json.loads(flask.jsonify({"invoices": [INVOICE]}).get_data()) == {"invoices": [WRITTEN]}
        with pytest.raises(TypeError, match="not JSON serializable"):
            flask.jsonify(object())


@pytest.mark.parametrize("package", ["montra_async", "montra_sync"])
def test_django_writes_them_anywhere(package: str) -> None:
    code = (
        "from django.conf import settings; settings.configure()\n"
        "from django.http import JsonResponse\n"
        "from montra_async import Invoice\n"
        f"from {package}.frameworks.django import MontraJSONEncoder\n"
        "invoice = Invoice.from_dict({'id': 'inv_1', 'amount_due': '19.90'})\n"
        "print(JsonResponse({'invoices': [invoice]}, encoder=MontraJSONEncoder).content.decode())\n"
        "print(JsonResponse([invoice], encoder=MontraJSONEncoder, safe=False).content.decode())\n"
        "try: JsonResponse({'a': object()}, encoder=MontraJSONEncoder)\n"
        "except TypeError as error: print('refused')"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    first, second, third = run.stdout.splitlines() or [run.stderr, "", ""]
    assert json.loads(first) == {"invoices": [WRITTEN]}
    assert json.loads(second) == [WRITTEN]
    assert third == "refused"


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("montra_async.frameworks.fastapi", "fastapi", "fastapi"),
        ("montra_async.frameworks.starlette", "starlette", "starlette"),
        ("montra_async.frameworks.django", "django", "django"),
        ("montra_sync.frameworks.django", "django", "django"),
        ("montra_sync.frameworks.flask", "flask", "flask"),
    ],
)
def test_a_framework_that_is_not_installed_says_what_to_install(module: str, missing: str, extra: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nimport {module}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"ModuleNotFoundError: {module} needs {missing}: pip install 'montra[{extra}]', or in a clone" in run.stderr
    assert "During handling" not in run.stderr
