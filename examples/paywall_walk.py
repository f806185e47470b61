"""The paywall service against a sandbox: prices, checkout, access, tokens, portal, ticket, gateway, cancellation.

python examples/paywall_walk.py
"""

import asyncio
import tempfile

from walking import Receiver, ended, expect, pay, step

from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient, PaywallError, QuotaExceededError
from montra_sandbox import Sandbox


async def sell(billing: BillingClient, sandbox: Sandbox, receiver: Receiver) -> None:
    """Prices, checkout, payment, access."""
    prices = await billing.get_prices(locale="de-AT")
    step("prices, in German where there is", ", ".join(f"{one.label} {one.amount} {one.currency}" for one in prices))
    ada = billing.for_user(email="ada@example.com", user_id="ada-1")
    expect(not (await ada.get_user()).has_active_subscription, "access before paying")
    shop = f"{receiver.origin}/thanks?session=__SESSION__"
    checkout = await ada.create_checkout(prices[0].id, success_url=shop)
    step("checkout", f"{checkout.url} by {checkout.acquiring}")
    expect("declined" in await pay(checkout.url, card="4000000000000002"), "a bad card paid")
    step("a declined card", "the page says so")
    expect("Thank you for chk_" in await pay(checkout.url), "the payment failed")
    await sandbox.settle()
    step("paid; webhooks, signatures verified", ", ".join(receiver.received))
    expect(receiver.received == ["subscription.created", "payment.completed"], "the webhooks did not come")
    user = await ada.get_user(force=True)
    step("access", f"active={user.has_active_subscription} until {user.purchases[0].current_period_end:%Y-%m-%d}")
    expect(user.has_active_subscription, "no access after paying")
    try:
        await ada.create_checkout(prices[1].id)
        expect(False, "sold twice")
    except PaywallError as error:
        step("buying again", f"refused: {error.code}")


async def spend(billing: BillingClient) -> None:
    """Tokens: the purchase has credited 100."""
    ada = billing.for_user(email="ada@example.com", user_id="ada-1")
    step("credit of 20", (await ada.credit_tokens("gpt-4", 20)).count)
    async with ada.metered(type="gpt-4", amount=5) as charge:
        charge.amount = 50  # the cost is known only now
    step("metered work, paid when it was done", f"{charge.balance.count} left" if charge.balance else "?")
    try:
        async with ada.metered(type="gpt-4", amount=10):
            raise ConnectionError("the model did not answer")
    except ConnectionError:
        step("work that failed", "costs nothing")
    balance = await ada.debit_tokens("gpt-4", 70)
    step("debit of 70", f"{balance.count} left")
    expect(balance.count == 0, "the tokens do not add up")
    try:
        await ada.debit_tokens("gpt-4", 1)
        expect(False, "a debit below zero")
    except PaywallError as error:
        step("one more", f"refused: {error.code}")


async def look_after(billing: BillingClient, sandbox: Sandbox) -> None:
    """Purchases, cancellation, portal, ticket."""
    ada = billing.for_user(email="ada@example.com", user_id="ada-1")
    [purchase] = await ada.list_purchases()
    step("purchases", f"{purchase.id}: {purchase.unit_amount} cents per {purchase.interval}, {purchase.status}")
    canceled = await ada.cancel_subscription(purchase.id, "testing")
    step("cancelled", f"still {canceled.status}, ends {canceled.cancel_at:%Y-%m-%d}")
    portal = await ada.get_customer_portal_url(return_url="https://shop.example.com/account")
    step("customer portal", portal)
    with tempfile.NamedTemporaryFile(suffix=".png") as picture:
        picture.write(b"not really a picture")
        picture.flush()
        ticket = await ada.create_support_ticket("It broke", "See the picture.", files=[picture.name])
    [kept] = sandbox.tickets()
    step("ticket with a file", f"#{ticket.id} {ticket.status}, a file of type {kept['files'][0]['type']}")
    sandbox.advance(days=32)
    user = await ada.get_user(force=True)
    step("a month later", f"active={user.has_active_subscription}")
    expect(not user.has_active_subscription, "access after the end")


async def stream(billing: BillingClient, auth: AuthClient) -> None:
    """The gateway: a user with three free calls a day."""
    session = await auth.sign_in_anonymously()
    step("somebody signs in", session.user.id if session.user else "?")
    visitor = billing.for_user(auth=auth)
    gateway = ApiGatewayClient(billing=visitor)
    step("balances", await visitor.get_balances())
    told = ""
    async with await gateway.call("openai", "v1/chat/completions", body={"stream": True}) as answer:
        async for event in answer.iter_sse():
            told += "" if event.data == "[DONE]" else event.json()["delta"]
    step("a streamed answer", f"{told!r} for one {answer.query_type}")
    asked = 1
    try:
        while asked < 10:
            await (await gateway.call("echo")).json()
            asked += 1
    except QuotaExceededError as error:
        step("asking on", f"{error.code} after {asked}: {error.current_balance} {error.query_type} left")
    expect(asked == 3, "the quota is three")
    await auth.sign_out()


async def main() -> None:
    async with Receiver("X-Signature") as receiver, Sandbox() as sandbox:
        receiver.secret = "whsec_of_the_dashboard"
        sandbox.set_paywall(sandbox.paywall_id, webhook_url=receiver.url, webhook_secret=receiver.secret)
        async with BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key) as billing:
            await sell(billing, sandbox, receiver)
            await spend(billing)
            await look_after(billing, sandbox)
            async with AuthClient(sandbox.paywall_id, sandbox.url) as auth:
                await stream(billing, auth)


if __name__ == "__main__":
    asyncio.run(main())
    ended()
