"""Controls of the paywall side: what its owner does in the dashboard, and what a test must see."""

from __future__ import annotations

from typing import Any

from .paywall import config as paywall_config, purchases, support, tracking
from .paywall.balances import all_of
from .paywall.context import PaywallContext
from .paywall.users import purchases_of
from .problems import Problem, invalid, not_found
from .store import Row, pick
from .wire import dumps, loads
from .world import World


class PaywallControls:
    """Every control takes effect at once and is one transaction."""

    _world: World

    def add_paywall(
        self,
        *,
        id: str | None = None,
        owner: str | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """A further paywall. `owner` is an API key, the first one by default; `fields` as in `set_paywall`."""
        if not all(one is None or isinstance(one, str) for one in (id, owner, webhook_url, webhook_secret)):
            raise invalid("id, owner, webhook_url and webhook_secret: a string or null")
        if id is not None and self._world.store.one("SELECT 1 FROM paywalls WHERE id = ?", id):
            raise Problem(409, "paywall_exists", f"there is a paywall {id!r} already")
        merchant_id = self._owner(owner)
        with self._world.store.transaction():
            made = self._world.add_paywall(
                merchant_id, fields, paywall_id=id, webhook_url=webhook_url, webhook_secret=webhook_secret
            )
        return self.paywall(made)

    def set_paywall(self, paywall_id: str, **fields: Any) -> dict[str, Any]:
        """Replace parts of a paywall: `name`, `acquiring`, `prices`, `offers`, `layout`, `experiment`, `locales`,
        `tokenization`, `providers`, `settings`, `trial_days`, `require_confirmation`, and where its webhooks go:
        `webhook_url`, `webhook_secret`."""
        row = self._paywall(paywall_id)
        hook = {name: fields.pop(name) for name in ("webhook_url", "webhook_secret") if name in fields}
        if not all(value is None or isinstance(value, str) for value in hook.values()):
            raise invalid(f"{' and '.join(hook)}: a string or null")
        config = paywall_config.merged(loads(row["config"].encode()), fields)
        with self._world.store.transaction() as store:
            store.update("paywalls", paywall_id, config=dumps(config), version=row["version"] + 1, **hook)
        return self.paywall(paywall_id)

    def set_provider(self, paywall_id: str, provider_id: str, **fields: Any) -> dict[str, Any]:
        """A provider behind the gateway: `query_type`, `mode` (`echo`, `stream`), `enabled`, `events`, `pause`
        (seconds between events), `break_after` (events before the connection breaks)."""
        providers = self.paywall(paywall_id)["providers"]
        providers[provider_id] = {**providers.get(provider_id, {}), **fields}
        return self.set_paywall(paywall_id, providers=providers)

    def paywall(self, paywall_id: str) -> dict[str, Any]:
        """A paywall as its owner set it up."""
        row = self._paywall(paywall_id)
        config: dict[str, Any] = loads(row["config"].encode())
        return {**pick(row, "id", "version", "webhook_url"), **config}

    def paywall_users(self, paywall_id: str) -> list[dict[str, Any]]:
        """The users of a paywall with their balances and purchases, oldest first."""
        context = self._context(self._paywall(paywall_id))
        rows = self._world.store.all("SELECT * FROM paywall_users WHERE paywall_id = ? ORDER BY rowid", paywall_id)
        return [
            {
                **pick(row, "id", "email", "external_id", "created_at"),
                "balances": all_of(context, row),
                "purchases": [purchases.show(one) for one in purchases_of(context, row)],
            }
            for row in rows
        ]

    def mails(self) -> list[dict[str, Any]]:
        """The mails that would have been sent (codes for sign-in, confirmation, recovery), newest first.

        `token` is the code; None for mails from before the sandbox was started, since codes are kept in memory only.
        """
        names = ("paywall_id", "email", "type", "token", "used", "created_at")
        rows = self._world.store.all(
            "SELECT mail.*, codes.token FROM paywall_mails mail LEFT JOIN temp.codes ON codes.mail_id = mail.id"
            " ORDER BY mail.rowid DESC"
        )
        return [{**pick(row, *names), "used": bool(row["used"])} for row in rows]

    def tickets(self) -> list[dict[str, Any]]:
        """Support tickets with what files came with them, newest first."""
        store = self._world.store
        return [
            support.show_ticket(
                row, store.all("SELECT * FROM paywall_ticket_files WHERE ticket_id = ? ORDER BY id", row["id"])
            )
            for row in store.all("SELECT * FROM paywall_tickets ORDER BY id DESC")
        ]

    def tracked_events(self, paywall_id: str) -> list[dict[str, Any]]:
        """What the public client told of its user interface, newest first; the last 10,000 are kept."""
        self._paywall(paywall_id)
        rows = self._world.store.all("SELECT * FROM paywall_tracked WHERE paywall_id = ? ORDER BY id DESC", paywall_id)
        return [tracking.show(row) for row in rows]

    def refund_purchase(self, purchase_id: str) -> None:
        """Give a purchase's money back, as an owner does at the acquirer: sends `refund.created`."""
        row = self._world.store.one("SELECT * FROM paywall_purchases WHERE id = ?", purchase_id)
        if row is None:
            raise not_found("purchase", purchase_id)
        with self._world.store.transaction():
            purchases.refund(self._context(self._paywall(row["paywall_id"])), row)
        self._world.changed.set()

    def streams(self) -> list[dict[str, Any]]:
        """How far the gateway's streams have come, oldest first."""
        return [dict(one) for one in self._world.streams]

    def _paywall(self, paywall_id: str) -> Row:
        row = self._world.store.one("SELECT * FROM paywalls WHERE id = ?", paywall_id)
        if row is None:
            raise not_found("paywall", paywall_id)
        return row

    def _owner(self, api_key: str | None) -> str:
        if api_key is None:
            return str(self._world.store.value("SELECT id FROM merchants ORDER BY rowid LIMIT 1"))
        merchant_id = self._world.merchant_of(api_key)
        if merchant_id is None:
            raise invalid("owner: the sandbox does not know this API key")
        return merchant_id

    def _context(self, row: Row) -> PaywallContext:
        world = self._world
        return PaywallContext(store=world.store, now=world.clock.now(), origin=world.origin, paywall=row)
