from django.test import Client
from django_app import application

EVE = '{"name": "Eve", "email": "eve@example.com"}'


def test_a_customer_with_single_sign_on_sees_the_reports_while_the_plan_has_it(montra_sandbox, montra_sync):
    client = Client(SERVER_NAME="127.0.0.1")
    assert client.post("/sign-up", EVE, content_type="application/json").status_code == 201
    assert client.get("/reports").json() == {"report": "for those who have single sign-on"}
    montra_sync.delete_feature(montra_sync.list_features()[0].id)
    assert client.get("/reports").status_code == 403


def test_answers_cost_tokens_until_the_limit_and_again_in_the_next_period(montra_sandbox, montra_sync):
    client = Client(SERVER_NAME="127.0.0.1")
    assert client.post("/sign-up", EVE, content_type="application/json").status_code == 201
    assert [client.post("/answers").status_code for _ in range(3)] == [200, 200, 402]
    montra_sandbox.advance(days=32)
    assert client.post("/answers").status_code == 200


def test_a_payment_reaches_the_application(montra_sandbox, montra_sync):
    montra_sandbox.webhooks.to(application)
    link = montra_sync.create_checkout_link(link_name="book", payment_name="A book", amount=20)
    assert montra_sandbox.pay(link, card="declined", email="bob@django.example").status == "failed"
    assert montra_sandbox.pay(link, email="eve@django.example").status == "succeeded"
    assert "eve@django.example" in Client(SERVER_NAME="127.0.0.1").get("/buyers").json()
