"""Controls of the paywall service: the owner's dashboard, and what tests need to see."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from ..database import Row, pick
from ..json import dumps, loads
from ..paywall import paywall_config, purchase_lifecycle, purchases, support, tokens, tracking, users
from ..paywall.paywall_context import PaywallContext
from ..problems import Problem, invalid, not_found
from .base import ControlBase, control, settling_control


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""The default of a parameter that keeps the present value. None clears it."""


class PaywallControls(ControlBase):
    """Controls of the paywall service. Each takes effect at once, in one transaction.

    Raises:
        Problem: the control was refused.
        RuntimeError: the sandbox is not running.
    """

    @control
    def add_paywall(
        self,
        *,
        id: str | None = None,
        owner: str | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        name: str | Unset = UNSET,
        acquiring: str | Unset = UNSET,
        prices: list[dict[str, Any]] | Unset = UNSET,
        offers: list[dict[str, Any]] | Unset = UNSET,
        layout: dict[str, Any] | Unset | None = UNSET,
        experiment: dict[str, Any] | Unset | None = UNSET,
        locales: dict[str, Any] | Unset = UNSET,
        tokenization: dict[str, Any] | Unset = UNSET,
        providers: dict[str, Any] | Unset = UNSET,
        settings: dict[str, Any] | Unset = UNSET,
        trial_days: int | Unset = UNSET,
        require_confirmation: bool | Unset = UNSET,
    ) -> dict[str, Any]:
        """Create a paywall.

        Args:
            id: its id; random by default.
            owner: the owner's API key; the first key by default.
            webhook_url: where its webhooks go; nowhere by default.
            webhook_secret: the key of their signatures; unsigned by default.
            name: as in `set_paywall`; `Paywall` by default.
            acquiring: as in `set_paywall`; `stripe` by default.
            prices: as in `set_paywall`; none by default.
            offers: as in `set_paywall`; none by default.
            layout: as in `set_paywall`; none by default.
            experiment: as in `set_paywall`; none by default.
            locales: as in `set_paywall`; none by default.
            tokenization: as in `set_paywall`; none by default.
            providers: as in `set_paywall`; none by default.
            settings: as in `set_paywall`; none by default.
            trial_days: as in `set_paywall`; 0 by default.
            require_confirmation: as in `set_paywall`; False by default.

        Returns:
            The paywall as `paywall` returns it.

        Raises:
            Problem: 400 invalid value, 409 the id exists.
        """
        _check_texts(id=id, owner=owner, webhook_url=webhook_url, webhook_secret=webhook_secret)
        if id is not None and self._world.db.one("SELECT 1 FROM paywalls WHERE id = ?", id):
            raise Problem(409, "paywall_exists", f"there is a paywall {id!r} already")
        merchant_id = self._owner_id(owner)
        config = _without_unset(
            name=name,
            acquiring=acquiring,
            prices=prices,
            offers=offers,
            layout=layout,
            experiment=experiment,
            locales=locales,
            tokenization=tokenization,
            providers=providers,
            settings=settings,
            trial_days=trial_days,
            require_confirmation=require_confirmation,
        )
        with self._world.db.transaction():
            paywall_id = self._world.add_paywall(
                merchant_id, config, paywall_id=id, webhook_url=webhook_url, webhook_secret=webhook_secret
            )
        return self.paywall(paywall_id)

    @control
    def set_paywall(
        self,
        paywall_id: str,
        *,
        webhook_url: str | Unset | None = UNSET,
        webhook_secret: str | Unset | None = UNSET,
        name: str | Unset = UNSET,
        acquiring: str | Unset = UNSET,
        prices: list[dict[str, Any]] | Unset = UNSET,
        offers: list[dict[str, Any]] | Unset = UNSET,
        layout: dict[str, Any] | Unset | None = UNSET,
        experiment: dict[str, Any] | Unset | None = UNSET,
        locales: dict[str, Any] | Unset = UNSET,
        tokenization: dict[str, Any] | Unset = UNSET,
        providers: dict[str, Any] | Unset = UNSET,
        settings: dict[str, Any] | Unset = UNSET,
        trial_days: int | Unset = UNSET,
        require_confirmation: bool | Unset = UNSET,
    ) -> dict[str, Any]:
        """Replace parts of a paywall. What is not given stays.

        Args:
            paywall_id: the paywall.
            webhook_url: where its webhooks go; None for nowhere.
            webhook_secret: the key of their signatures; None for unsigned.
            name: the name on its pages.
            acquiring: `stripe`, `paddle`, `chargebee`, `overpay` or `freemius`.
            prices: each with `id` and `amount` (major units, int or `Decimal`); optional `currency` (USD), `interval`
                (`month`, `year`, `week`, `day`, `lifetime`, or None for once), `interval_count` (1), `trial_days` (0),
                `label`, `description`, `tokens` (counts by type, credited at every payment), `local` (`currency` and
                `amount`).
            offers: each with `id` and `discount_percent`; optional `price_id` (every price without it), `label`,
                `expires_at`, `duration_minutes`.
            layout: what the public client renders; None for its default.
            experiment: `id`, `kind` and `variants` (`key`, `weight`, `prices` that have the id that they `replaces`);
                None for none.
            locales: translations by language.
            tokenization: `daily_trial` (tokens per day) by token type.
            providers: gateway providers by id, with the fields of `set_provider`.
            settings: what overrides the defaults of `settings` in the bootstrap response.
            trial_days: days of the trial of every new account; 0 for none.
            require_confirmation: whether a sign-up has to confirm its address.

        Returns:
            The paywall as `paywall` returns it.

        Raises:
            Problem: 400 invalid value, 404 unknown paywall.
        """
        row = self._get_paywall(paywall_id)
        webhook = _without_unset(webhook_url=webhook_url, webhook_secret=webhook_secret)
        _check_texts(**webhook)
        changes = _without_unset(
            name=name,
            acquiring=acquiring,
            prices=prices,
            offers=offers,
            layout=layout,
            experiment=experiment,
            locales=locales,
            tokenization=tokenization,
            providers=providers,
            settings=settings,
            trial_days=trial_days,
            require_confirmation=require_confirmation,
        )
        config = paywall_config.merge_config(loads(row["config"].encode()), changes)
        with self._world.db.transaction() as db:
            db.update("paywalls", paywall_id, config=dumps(config), version=row["version"] + 1, **webhook)
        return self.paywall(paywall_id)

    @control
    def set_provider(
        self,
        paywall_id: str,
        provider_id: str,
        *,
        query_type: str | Unset = UNSET,
        mode: str | Unset = UNSET,
        enabled: bool | Unset = UNSET,
        events: list[Any] | Unset = UNSET,
        pause: float | Unset = UNSET,
        break_after: int | Unset | None = UNSET,
    ) -> dict[str, Any]:
        """Add a provider behind the gateway, or change one. What is not given stays.

        Args:
            paywall_id: the paywall.
            provider_id: the provider: letters, digits and `-._`.
            query_type: the token type that a call costs; `default` for a new provider.
            mode: `echo` returns the request (new providers), `stream` sends `events`.
            enabled: whether calls are answered; True for a new provider.
            events: the server-sent events of mode `stream`: text, or JSON values.
            pause: seconds between two events, 0 to 60; 0 for a new provider.
            break_after: after how many events the connection breaks; None for never.

        Returns:
            The paywall as `paywall` returns it.

        Raises:
            Problem: 400 invalid value, 404 unknown paywall.
        """
        fields = _without_unset(
            query_type=query_type, mode=mode, enabled=enabled, events=events, pause=pause, break_after=break_after
        )
        providers = self.paywall(paywall_id)["providers"]
        providers[provider_id] = {**providers.get(provider_id, {}), **fields}
        return self.set_paywall(paywall_id, providers=providers)

    @control
    def paywall(self, paywall_id: str) -> dict[str, Any]:
        """A paywall's configuration, with `id`, `version` and `webhook_url`.

        Args:
            paywall_id: the paywall.

        Raises:
            Problem: 404.
        """
        row = self._get_paywall(paywall_id)
        config: dict[str, Any] = loads(row["config"].encode())
        return {**pick(row, "id", "version", "webhook_url"), **config}

    @control
    def paywall_users(self, paywall_id: str) -> list[dict[str, Any]]:
        """The users of a paywall with their balances and purchases, oldest first.

        Args:
            paywall_id: the paywall.

        Raises:
            Problem: 404.
        """
        context = self._paywall_context(self._get_paywall(paywall_id))
        rows = self._world.db.all("SELECT * FROM paywall_users WHERE paywall_id = ? ORDER BY rowid", paywall_id)
        return [
            {
                **pick(row, "id", "email", "external_id", "created_at"),
                "balances": tokens.list_balances(context, row),
                "purchases": [purchases.serialize(purchase) for purchase in users.list_user_purchases(context, row)],
            }
            for row in rows
        ]

    @control
    def mails(self) -> list[dict[str, Any]]:
        """The mails that would have been sent (sign-in, confirmation, recovery), newest first.

        `token` is the code. It is None for mails from before the sandbox was started: codes are kept in memory only.
        """
        names = ("paywall_id", "email", "type", "token", "used", "created_at")
        rows = self._world.db.all(
            "SELECT mail.*, codes.token FROM paywall_mails mail LEFT JOIN temp.codes ON codes.mail_id = mail.id"
            " ORDER BY mail.rowid DESC"
        )
        return [{**pick(row, *names), "used": bool(row["used"])} for row in rows]

    @control
    def tickets(self) -> list[dict[str, Any]]:
        """Support tickets with name, type and size of their files, newest first."""
        db = self._world.db
        return [
            support.serialize_ticket(
                row, db.all("SELECT * FROM paywall_ticket_files WHERE ticket_id = ? ORDER BY id", row["id"])
            )
            for row in db.all("SELECT * FROM paywall_tickets ORDER BY id DESC")
        ]

    @control
    def tracked_events(self, paywall_id: str) -> list[dict[str, Any]]:
        """Events of the public client's user interface, newest first; the last 10,000 are kept.

        Args:
            paywall_id: the paywall.

        Raises:
            Problem: 404.
        """
        self._get_paywall(paywall_id)
        rows = self._world.db.all("SELECT * FROM paywall_tracked WHERE paywall_id = ? ORDER BY id DESC", paywall_id)
        return [tracking.serialize_event(row) for row in rows]

    @settling_control
    def refund_purchase(self, purchase_id: str) -> None:
        """Refund a purchase, as the owner does at the acquirer: sends `refund.created`.

        Args:
            purchase_id: the purchase.

        Raises:
            Problem: 404.
        """
        row = self._world.db.one("SELECT * FROM paywall_purchases WHERE id = ?", purchase_id)
        if row is None:
            raise not_found("purchase", purchase_id)
        with self._world.db.transaction():
            purchase_lifecycle.refund(self._paywall_context(self._get_paywall(row["paywall_id"])), row)
        self._world.notify()

    @control
    def streams(self) -> list[dict[str, Any]]:
        """Progress of the latest 1,000 gateway streams, oldest first: `sent` events and whether it is `finished`."""
        return [dict(progress) for progress in self._world.streams]

    def _get_paywall(self, paywall_id: str) -> Row:
        row = self._world.db.one("SELECT * FROM paywalls WHERE id = ?", paywall_id)
        if row is None:
            raise not_found("paywall", paywall_id)
        return row

    def _paywall_context(self, paywall: Row) -> PaywallContext:
        return self._world.paywall_context(paywall, self._world.clock.now())


def _without_unset(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not UNSET}


def _check_texts(**values: Any) -> None:
    wrong = [name for name, value in values.items() if not (value is None or isinstance(value, str))]
    if wrong:
        raise invalid(f"{' and '.join(wrong)}: a string or null")
