from flask_app import app


def test_a_customer_with_single_sign_on_sees_the_reports_while_the_plan_has_it(montra_sandbox, montra_sync):
    ada = {"X-Customer-Id": montra_sync.list_customers()[0].id}
    assert app.test_client().get("/reports", headers=ada).json == {"report": "for those who have single sign-on"}
    montra_sync.delete_feature(montra_sync.list_features()[0].id)
    assert app.test_client().get("/reports", headers=ada).status_code == 403


def test_answers_cost_tokens_until_the_limit_and_again_in_the_next_period(montra_sandbox, montra_sync):
    ada = {"X-Customer-Id": montra_sync.list_customers()[0].id}
    assert [app.test_client().post("/answers", headers=ada).status_code for _ in range(3)] == [200, 200, 402]
    montra_sandbox.advance(days=32)
    assert app.test_client().post("/answers", headers=ada).status_code == 200


def test_a_payment_reaches_the_application(montra_sandbox, montra_sync):
    montra_sandbox.webhooks.to(app)
    link = montra_sync.create_checkout_link(link_name="book", payment_name="A book", amount=20)
    assert montra_sandbox.pay(link, card="declined", email="bob@flask.example").status == "failed"
    assert montra_sandbox.pay(link, email="eve@flask.example").status == "succeeded"
    assert "eve@flask.example" in app.test_client().get("/buyers").json
    assert "bob@flask.example" not in app.test_client().get("/buyers").json
