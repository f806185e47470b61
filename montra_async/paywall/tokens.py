"""Token balances: read, credited, debited, and debited after work that succeeded."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any

from ..core import validation
from ..core.decoding import json_of
from ..core.http.messages import RawResponse, Request
from ..core.type_guards import is_object
from .errors import PaywallError, PaywallInvalidArgumentError, translate_errors
from .models import Balance, TokenBalance
from .responses import NOT_FOUND, decode, invalid_response
from .single_flight import Flight
from .user_scope import KnownBalances, UserScopedClient

log = logging.getLogger("montra")


class TokenCalls(UserScopedClient):
    async def credit_tokens(self, type: str, amount: int, *, idempotency_key: str | None = None) -> TokenBalance:
        """Give the user tokens (`POST /api/v1/paywall/{id}/balances`). Needs the server key and an identity.

        Sent once: it is tried again only when it surely did not reach the service. Whether a call that ended in
        `network_error` or `timeout` with `error.sent` took effect is unknown: look at the balance before repeating it.

        Args:
            type: token type, e.g. `gpt-4`; a new one is created.
            amount: how many, at least 1.
            idempotency_key: makes the call one that is retried, where the service honours such keys.

        Raises:
            PaywallError: `apikey_required`, `identity_required`, `invalid_argument`, `identity_not_found`.
        """
        return await self._change("credit", type, amount, idempotency_key)

    async def debit_tokens(self, type: str, amount: int, *, idempotency_key: str | None = None) -> TokenBalance:
        """Take tokens from the user (`POST /api/v1/paywall/{id}/balances`): all of them, or none and `insufficient`.

        Sent once, as `credit_tokens` is.

        Args:
            type: token type.
            amount: how many, at least 1.
            idempotency_key: makes the call one that is retried, where the service honours such keys.

        Raises:
            PaywallError: `apikey_required`, `identity_required`, `invalid_argument`, `identity_not_found`,
                `insufficient`.
        """
        return await self._change("debit", type, amount, idempotency_key)

    async def withdraw_tokens(
        self, type: str, amount: int, *, user_id: str | None = None, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Take tokens by the legacy call (`POST /api/v1/withdraw-tokens`); `debit_tokens` does the same and more.

        Args:
            type: token type.
            amount: how many, at least 1.
            user_id: whose; the identity's `user_id` by default.
            idempotency_key: makes the call one that is retried, where the service honours such keys.

        Raises:
            PaywallError: `apikey_required`, `identity_required`, `invalid_argument`, `insufficient`.
        """
        self._require_key()
        with translate_errors():
            whose = validation.optional_text("user_id", user_id) or self._identity.user_id
        if whose is None:
            raise PaywallError("identity_required", "this call needs the user's id: billing.for_user(user_id=...)")
        body = {"paywall_id": self._endpoint.paywall_id, "user_id": whose, **self._tokens(type, amount)}
        request = self._with_key(self._json_post("/api/v1/withdraw-tokens", body, key=idempotency_key))
        return await self._send(request, lambda response, request: decode(response, request, dict[str, Any]), NOT_FOUND)

    async def get_balances(self, *, force: bool = False) -> list[Balance]:
        """What the signed-in user has, by type (`GET /api/v1/paywall/{id}/balances`).

        Kept for thirty seconds. Without a session there is nothing: no request is made.

        Args:
            force: ask the service, whatever is kept.
        """
        actor = await self._actor()
        tokens = actor.tokens
        if tokens is None:
            return []
        user_id = tokens.user_id
        known = None if force or user_id is None else self._caches.balances.get(user_id)
        if known is not None and known.shown_to == actor.cache_key:
            return list(known.balances)
        request = self._request("GET", f"{self._endpoint.path}/balances")

        async def fetch(flight: Flight) -> list[Balance]:
            flight.set_request(request)
            found = await self._send(
                request,
                lambda response, request: decode(response, request, list[Balance], within="balances"),
                tokens=tokens,
            )
            if user_id is not None:
                self._caches.balances.put(user_id, KnownBalances(actor.cache_key_of(request), found))
            return found

        return list(await self._run_shared(self._caches.flights, ("balances", actor.cache_key, force), fetch))

    def metered(self, type: str, amount: int = 1, *, idempotency_key: str | None = None) -> Charge:
        """Debit tokens when the work inside succeeded:

            async with billing.for_user(email=...).metered(type="gpt-4", amount=5) as charge:
                answer = await ask_the_model(...)
                charge.amount = answer.tokens_used

        A block that raises costs nothing. The debit happens at the block's end; see `Charge` for what its failure
        means.

        Args:
            type: token type.
            amount: how many, unless the block sets `charge.amount`.
            idempotency_key: makes the debit one that is retried, where the service honours such keys.
        """
        return Charge(self, type, amount, idempotency_key)

    def _tokens(self, kind: str, amount: int) -> dict[str, Any]:
        with translate_errors():
            return {"type": validation.text("type", kind), "amount": validation.whole("amount", amount, minimum=1)}

    async def _change(self, op: str, kind: str, amount: int, key: str | None) -> TokenBalance:
        self._require_key()
        identity = self._require_identity()
        body = {"email": identity.email, "user_id": identity.user_id, **self._tokens(kind, amount), "op": op}
        request = self._with_key(self._json_post(f"{self._endpoint.path}/balances", body, key=key))

        def changed(response: RawResponse, request: Request) -> TokenBalance:
            payload = json_of(response)
            if is_object(payload) and payload.get("success", True) is not True:
                raise invalid_response(response, request, "`success` is not true in a success answer")
            return decode(response, request, TokenBalance)

        result = await self._send(request, changed, NOT_FOUND)
        self._caches.balances.drop(result.user_id)
        return result

    def _charged(self, who: str, query_type: str | None) -> None:
        """The gateway took one of this type from the user with this id; without a type, balances are read anew."""
        if query_type is None:
            self._caches.balances.drop(who)
            return
        self._caches.balances.change(who, lambda known: known.charged(query_type))


class Charge:
    """Tokens that are debited when the `async with` block ends well.

    What the debit's failure means: the block's work is done, and the error comes out of the `async with`.

    - `insufficient`: nothing was taken; `balance` is None. Decide whether to hand the result over.
    - `network_error`, `timeout` with `error.sent` false: nothing was taken; `debit` again if you want to.
    - with `error.sent` true: nobody knows. It is not repeated, because it could be taken twice.

    A task that is cancelled while the debit is under way is cancelled after the debit has ended: the work was done, so
    it is paid for.

    Attributes:
        balance: what is left, after the debit.
    """

    balance: TokenBalance | None

    def __init__(self, tokens: TokenCalls, type: str, amount: int, idempotency_key: str | None) -> None:
        self._tokens = tokens
        self._type = type
        self._amount = amount
        self._key = idempotency_key
        self._under_way = False
        self.balance = None

    @property
    def amount(self) -> int:
        """How many tokens the end of the block takes; may be set inside, once the real cost is known. 0 takes none."""
        return self._amount

    @amount.setter
    def amount(self, amount: int) -> None:
        with translate_errors():
            self._amount = validation.whole("amount", amount)

    async def debit(self) -> TokenBalance | None:
        """Take the tokens now. The end of the block does this; by hand it is for a second try after a failure.

        Taken once: a debit that has succeeded, or is under way, is not made again.

        Raises:
            PaywallError: `invalid_argument` while another debit of this charge is under way.
        """
        if self._under_way:
            raise PaywallInvalidArgumentError("invalid_argument", "this charge is being debited already")
        if self._amount and self.balance is None:
            self._under_way = True
            try:
                self.balance = await self._tokens.debit_tokens(self._type, self._amount, idempotency_key=self._key)
            finally:
                self._under_way = False
        return self.balance

    async def __aenter__(self) -> Charge:
        """Everything that can be checked is checked before the work begins.

        Raises:
            PaywallError: `invalid_argument` when this charge has been paid: each block needs its own.
        """
        if self.balance is not None:
            raise PaywallInvalidArgumentError(
                "invalid_argument", "this charge has been paid; make another with metered(...)"
            )
        self._tokens._require_key()
        self._tokens._require_identity()
        with translate_errors():
            validation.text("type", self._type)
            validation.whole("amount", self._amount)
            if self._key is not None:
                validation.idempotency_key(self._key)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        debit = asyncio.ensure_future(self.debit())
        cancelled = await _until_done(debit)
        if cancelled is None:
            debit.result()
            return
        if not debit.cancelled() and (failure := debit.exception()) is not None:
            log.warning("a task was cancelled while it paid, and the debit failed: %s", failure)
        raise cancelled

    def __repr__(self) -> str:
        return f"<Charge of {getattr(self, '_amount', '?')} {getattr(self, '_type', '?')}>"


async def _until_done(task: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait for a task to its end, however often we are cancelled meanwhile; the last cancellation is still to be
    raised."""
    cancelled = None
    while not task.done():
        try:
            if cancelled is None:
                await asyncio.wait([task])
            else:
                # anyio cancels again at every step of the event loop: inside its shield it keeps still.
                from anyio import CancelScope

                with CancelScope(shield=True):
                    await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
