"""The APIs called in-process: the same validation, handlers and transactions as over HTTP, without a connection."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias

from jsonschema.protocols import Validator

from .. import event_log, montra, paywall
from ..contract import ContractOperation, describe, read_contract
from ..database import Database, Row
from ..ids import new_id
from ..montra import payments
from ..montra.charges import exact_decimals
from ..montra.merchant_context import NO_DATA, BareResponse, MerchantContext, Page
from ..paywall import hosted_checkout
from ..paywall.paywall_context import PaywallContext
from ..problems import OUT_OF_RANGE, Problem, invalid, not_found, out_of_range
from ..world import World

Json: TypeAlias = Mapping[str, Any]

_NOTHING: Json = {}
_ALL = -1


class Calls:
    """The calls of one merchant. Each is one transaction; `transaction` makes one of several.

    Args:
        world: the state.
        merchant_id: the merchant.

    Attributes:
        world: as given.
        merchant_id: as given.
        at: the time of the calls, for what happened in the past; None for the sandbox's time.
    """

    world: World
    merchant_id: str
    at: datetime | None

    def __init__(self, world: World, merchant_id: str) -> None:
        self.world = world
        self.merchant_id = merchant_id
        self.at = None
        self._is_open = False

    @property
    def db(self) -> Database:
        """The database."""
        return self.world.db

    def now(self) -> datetime:
        """The time of the calls."""
        return self.at or self.world.clock.now()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Run all calls inside in one transaction: all of them take effect, or none. May be nested.

        Raises:
            Problem: 400, a number or date is out of range.
        """
        if self._is_open:
            yield
            return
        self.world.run_due()
        self._is_open = True
        try:
            with exact_decimals(), self.db.transaction():
                yield
        except OUT_OF_RANGE as error:
            raise out_of_range(error) from None
        finally:
            self._is_open = False
        self.world.notify()

    def montra(self, operation_id: str, body: Json = _NOTHING, *, path: Json = _NOTHING, query: Json = _NOTHING) -> Any:
        """Call the Montra API.

        Args:
            operation_id: the `operationId` of the contract, such as `create_customer`.
            body: the JSON body.
            path: the path parameters.
            query: the query parameters.

        Returns:
            The `data` of the response; None when it has none.

        Raises:
            Problem: as over HTTP.
        """
        _validate(_operations("montra")[operation_id], body, path, query)
        with self.transaction():
            result = montra.OPERATIONS[operation_id](self.context(body=body, path=path, query=query))
        if result is NO_DATA:
            return None
        if isinstance(result, BareResponse):
            return result.value
        return result.data if isinstance(result, Page) else result

    def context(self, *, body: Json = _NOTHING, path: Json = _NOTHING, query: Json = _NOTHING) -> MerchantContext:
        """The context of a handler, at the time of the calls.

        Args:
            body: the JSON body.
            path: the path parameters.
            query: the query parameters.
        """
        return MerchantContext(
            db=self.db,
            merchant_id=self.merchant_id,
            now=self.now(),
            origin=self.world.origin,
            body=body,
            path=path,
            query=query,
        )

    def pay_link(
        self, link_id: str, *, name: str, email: str, code: str | None = None, declined: str | None = None
    ) -> dict[str, Any]:
        """Visit the page of a checkout link and pay; returns the transaction.

        Args:
            link_id: the checkout link.
            name: the payer's name.
            email: the payer's email address.
            code: a discount code.
            declined: why the card is declined, for the payer; None when it pays.

        Raises:
            Problem: 404 unknown link, 410 inactive link, 400 the discount code can't be redeemed.
        """
        with self.transaction():
            context = self.context()
            link = context.get_or_404("checkout_links", "checkout link", link_id)
            if link["status"] != "active":
                raise Problem(410, "link_inactive", "this checkout link is no longer active")
            session = payments.open_session(context, link)
            payment = payments.Payment(name=name, email=email, code=code, declined=declined)
            try:
                return payments.serialize_transaction(payments.pay(context, session, payment))
            except payments.DiscountRefused as refused:
                raise invalid(f"code: {refused}") from None

    # The paywall service

    def paywall(
        self,
        paywall_id: str,
        operation_id: str,
        body: Json = _NOTHING,
        *,
        query: Json = _NOTHING,
        user: Row | None = None,
        is_owner: bool = True,
    ) -> Any:
        """Call the paywall API.

        Args:
            paywall_id: the paywall.
            operation_id: the `operationId` of the contract, such as `start_checkout`.
            body: the JSON body.
            query: the query parameters.
            user: whose session the call has; None for no session.
            is_owner: whether the call has the owner's API key.

        Returns:
            The JSON of the response.

        Raises:
            Problem: as over HTTP.
        """
        path = {"paywall_id": paywall_id}
        _validate(_operations("paywall")[operation_id], body, path, query)
        with self.transaction():
            context = PaywallContext(
                db=self.db,
                now=self.now(),
                origin=self.world.origin,
                paywall=self.get_paywall(paywall_id),
                is_owner=is_owner,
                session_user=user,
                path=path,
                body=body,
                query=query,
            )
            return paywall.OPERATIONS[operation_id](context)

    def paywall_context(self, paywall_id: str) -> PaywallContext:
        """A context for what no request causes, at the time of the calls.

        Args:
            paywall_id: the paywall.

        Raises:
            Problem: 404.
        """
        return self.world.paywall_context(self.get_paywall(paywall_id), self.now())

    def get_paywall(self, paywall_id: str | None = None) -> Row:
        """A paywall of the merchant.

        Args:
            paywall_id: its id; None for the merchant's first.

        Raises:
            Problem: 404.
        """
        row = self.db.one(
            "SELECT * FROM paywalls WHERE merchant_id = ? AND id = coalesce(?, id) ORDER BY rowid LIMIT 1",
            *(self.merchant_id, paywall_id),
        )
        if row is None:
            raise not_found("paywall", paywall_id or "of this merchant")
        return row

    def pay_checkout(self, paywall_id: str, checkout: Json) -> str:
        """Pay on a checkout's page; returns the purchase's id.

        Args:
            paywall_id: the paywall.
            checkout: the response of `start_checkout`.
        """
        with self.transaction():
            checkout_id = str(checkout["checkoutUrl"]).rpartition("/")[2]
            row = self.db.one("SELECT * FROM paywall_checkouts WHERE id = ?", checkout_id)
            assert row is not None
            return hosted_checkout.pay(self.paywall_context(paywall_id), row)

    # Events

    def last_event(self) -> int:
        """The position of the newest event, for `events_after`."""
        return event_log.last_position(self.db)

    def events_after(self, position: int) -> list[dict[str, Any]]:
        """The merchant's events after a position, oldest first.

        Args:
            position: what `last_event` returned.
        """
        rows = event_log.events_after(self.db, position, _ALL)
        return [event_log.serialize_event(row) for row in rows if row["merchant_id"] == self.merchant_id]


def first_merchant(world: World) -> str:
    """The id of the merchant with the first API key.

    Args:
        world: the state.
    """
    return str(world.db.value("SELECT id FROM merchants ORDER BY rowid LIMIT 1"))


def unique_suffix() -> str:
    """Twelve hexadecimal digits for names that must not exist yet; reproducible when ids are."""
    return new_id("x").removeprefix("x_")[:12]


@cache
def _operations(service: str) -> dict[str, ContractOperation]:
    return {operation.id: operation for operation in read_contract(service).operations}


def _validate(operation: ContractOperation, body: Json, path: Json, query: Json) -> None:
    _check(operation.path_validator, path, "path")
    _check(operation.query_validator, query, "query")
    if operation.body is not None and (body or operation.body_required):
        _check(operation.body, body, "body")


def _check(validator: Validator | None, values: Json, where: str) -> None:
    errors = describe(validator, values)
    if errors:
        raise Problem(
            400, "validation_error", f"{(errors[0]['path'] or where)[:200]}: {errors[0]['message']}", details=errors
        )
