"""`TokensApi`: token balances. `Charge`: a debit after successful work."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any

from ..core import validation
from ..core.hints import AsyncOnly
from ..core.http.messages import RawResponse, Request
from ..core.type_guards import is_object
from .errors import PaywallError, PaywallInvalidArgumentError, translate_errors
from .models import Balance, TokenBalance
from .responses import NOT_FOUND, decode, decode_as, invalid_response, read_json
from .single_flight import Flight
from .user_scope import CachedBalances, UserScopedClient

log: logging.Logger = logging.getLogger("montra")


class TokensApi(UserScopedClient):
    """Token balances of a user."""

    async def credit_tokens(self, type: str, amount: int, *, idempotency_key: str | None = None) -> TokenBalance:
        """Add tokens to the user's balance (`POST /api/v1/paywall/{id}/balances`).

        Requires the server key and an identity. Retried only if the request certainly did not reach the service, or
        with an idempotency key. After a `network_error` or `timeout` with `error.sent` the tokens may have been added:
        read the balance before you repeat the call.

        Args:
            type: token type, e.g. `gpt-4`. A new type is created.
            amount: number of tokens, at least 1.
            idempotency_key: your own key. With a key the call is retried, which is safe if the service honours it.
                Default: None.

        Raises:
            PaywallError: `apikey_required`, `identity_required`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallNotFoundError: `identity_not_found`: the paywall does not know the user.
        """
        return await self._change_balance("credit", type, amount, idempotency_key)

    async def debit_tokens(self, type: str, amount: int, *, idempotency_key: str | None = None) -> TokenBalance:
        """Take tokens from the user's balance (`POST /api/v1/paywall/{id}/balances`).

        Requires the server key and an identity. A balance that is too low is not changed. Retried like
        `credit_tokens`.

        Args:
            type: token type, e.g. `gpt-4`.
            amount: number of tokens, at least 1.
            idempotency_key: your own key. With a key the call is retried, which is safe if the service honours it.
                Default: None.

        Raises:
            PaywallError: `apikey_required`, `identity_required`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallNotFoundError: `identity_not_found`: the paywall does not know the user.
            PaywallApiError: `insufficient`: the balance is too low. The status is 400, 402 or 409.
        """
        return await self._change_balance("debit", type, amount, idempotency_key)

    async def withdraw_tokens(
        self, type: str, amount: int, *, user_id: str | None = None, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Take tokens with the legacy endpoint (`POST /api/v1/withdraw-tokens`). Prefer `debit_tokens`.

        Requires the server key. Retried like `credit_tokens`.

        Args:
            type: token type, e.g. `gpt-4`.
            amount: number of tokens, at least 1.
            user_id: your own id of the user. Default: the identity's `user_id`.
            idempotency_key: your own key. With a key the call is retried, which is safe if the service honours it.
                Default: None.

        Returns:
            The body of the response.

        Raises:
            PaywallError: `apikey_required`, `identity_required`.
            PaywallInvalidArgumentError: `invalid_argument`.
            PaywallNotFoundError: `identity_not_found`: the paywall does not know the user.
            PaywallApiError: `insufficient`: the balance is too low.
        """
        self._require_key()
        with translate_errors():
            user_id = validation.optional_text("user_id", user_id) or self._identity.user_id
        if user_id is None:
            raise PaywallError("identity_required", "this call needs the user's id: billing.for_user(user_id=...)")
        body = {"paywall_id": self._endpoint.paywall_id, "user_id": user_id, **self._token_fields(type, amount)}
        request = self._with_key(self._json_post("/api/v1/withdraw-tokens", body, key=idempotency_key))
        return await self._send(request, decode_as(dict[str, Any], codes=NOT_FOUND))

    async def get_balances(self, *, force: bool = False) -> list[Balance]:
        """List the balances of the signed-in user (`GET /api/v1/paywall/{id}/balances`).

        Cached for 30 seconds. Concurrent callers share one request.

        Args:
            force: whether to send a request even if the cache has the result. Default: False.

        Returns:
            One balance for each token type. Empty without a session; no request is sent then.

        Raises:
            PaywallAuthenticationError: the session is no longer valid.
            PaywallApiError: the service's code.
        """
        principal = await self._principal()
        tokens = principal.tokens
        if tokens is None:
            return []
        user_id = tokens.user_id
        cached = None if force or user_id is None else self._caches.balances.get(user_id)
        if cached is not None and cached.cache_key == principal.cache_key:
            return list(cached.balances)
        request = self._request("GET", f"{self._endpoint.path}/balances")

        async def fetch(flight: Flight) -> list[Balance]:
            flight.set_request(request)
            balances = await self._send(request, decode_as(list[Balance], field="balances"), tokens=tokens)
            if user_id is not None:
                self._caches.balances.put(user_id, CachedBalances(principal.cache_key_of(request), balances))
            return balances

        return list(await self._run_shared(self._caches.flights, ("balances", principal.cache_key, force), fetch))

    def metered(self, type: str, amount: int = 1, *, idempotency_key: str | None = None) -> Charge:
        """A context manager that debits tokens after the block has succeeded.

            async with billing.for_user(email=...).metered(type="gpt-4", amount=5) as charge:
                answer = await ask_the_model(...)
                charge.amount = answer.tokens_used

        A block that raises is not charged. `Charge` describes the errors of the debit.

        Args:
            type: token type, e.g. `gpt-4`.
            amount: number of tokens, at least 0, unless the block sets `charge.amount`. Default: 1.
            idempotency_key: your own key. With a key the call is retried, which is safe if the service honours it.
                Default: None.

        Raises:
            PaywallError: at the beginning of the block `apikey_required`, `identity_required`; at its end the errors of
                `debit_tokens`.
            PaywallInvalidArgumentError: `invalid_argument`, at the beginning of the block.
        """
        return Charge(self, type, amount, idempotency_key)

    def _token_fields(self, type: str, amount: int) -> dict[str, Any]:
        with translate_errors():
            return {"type": validation.text("type", type), "amount": validation.whole("amount", amount, minimum=1)}

    async def _change_balance(
        self, operation: str, type: str, amount: int, idempotency_key: str | None
    ) -> TokenBalance:
        self._require_key()
        identity = self._require_identity()
        tokens = self._token_fields(type, amount)
        body = {"email": identity.email, "user_id": identity.user_id, **tokens, "op": operation}
        request = self._with_key(self._json_post(f"{self._endpoint.path}/balances", body, key=idempotency_key))
        balance = await self._send(request, _decode_change)
        self._caches.balances.remove(balance.user_id)
        return balance

    def _record_charge(self, user_id: str, query_type: str | None) -> None:
        """Update the cached balances after the gateway has charged a user.

        Args:
            user_id: the service's id of the user.
            query_type: the token type that was charged. None when it is not known: the balances are then removed from
                the cache.
        """
        if query_type is None:
            self._caches.balances.remove(user_id)
            return
        self._caches.balances.update(user_id, lambda cached: cached.after_charge(query_type))


def _decode_change(response: RawResponse, request: Request) -> TokenBalance:
    payload = read_json(response, request, NOT_FOUND)
    if is_object(payload) and payload.get("success", True) is not True:
        raise invalid_response(response, request, "`success` is not true in a success response")
    return decode(response, request, TokenBalance)


class Charge(AsyncOnly):
    """A debit that is made when the `async with` block has succeeded. Created by `metered`.

    The debit's error is raised at the end of the block, when the work is done:

    - `insufficient`: nothing was taken. Decide whether to deliver the result.
    - `network_error`, `timeout` with `error.sent` False: nothing was taken. Call `debit` to try again.
    - The same with `error.sent` True: the tokens may have been taken. Read the balance before you debit again.

    A task that is cancelled during the debit is cancelled after the debit has ended, because the work was done.

    Attributes:
        balance: the balance after the debit; None before it.
    """

    __slots__ = ("_amount", "_client", "_in_progress", "_key", "_type", "balance")  # a misspelt `amount` is an error

    balance: TokenBalance | None

    def __init__(self, client: TokensApi, type: str, amount: int, idempotency_key: str | None) -> None:
        """
        Args:
            client: the client or view that debits.
            type: token type, e.g. `gpt-4`.
            amount: number of tokens, at least 0.
            idempotency_key: key of the debit; None for none.
        """
        self._client = client
        self._type = type
        self._amount = amount
        self._key = idempotency_key
        self._in_progress = False
        self.balance = None

    @property
    def amount(self) -> int:
        """Number of tokens that the end of the block takes. Set it in the block when the cost is known. 0: no debit."""
        return self._amount

    @amount.setter
    def amount(self, amount: int) -> None:
        with translate_errors():
            self._amount = validation.whole("amount", amount)

    async def debit(self) -> TokenBalance | None:
        """Take the tokens now (`POST /api/v1/paywall/{id}/balances`).

        The end of the block calls this. Call it yourself to try again after a failure. A debit that has succeeded is
        not made again.

        Returns:
            The balance after the debit; None when `amount` is 0.

        Raises:
            PaywallInvalidArgumentError: `invalid_argument`: another debit of this charge is in progress.
            PaywallError: the errors of `debit_tokens`.
        """
        if self._in_progress:
            raise PaywallInvalidArgumentError("invalid_argument", "this charge is being debited already")
        if self._amount and self.balance is None:
            self._in_progress = True
            try:
                self.balance = await self._client.debit_tokens(self._type, self._amount, idempotency_key=self._key)
            finally:
                self._in_progress = False
        return self.balance

    async def __aenter__(self) -> Charge:
        """Validate key, identity and arguments before the work begins.

        Raises:
            PaywallError: `apikey_required`, `identity_required`.
            PaywallInvalidArgumentError: `invalid_argument`, also for a charge that has been debited: each block needs
                a charge of its own.
        """
        if self.balance is not None:
            raise PaywallInvalidArgumentError(
                "invalid_argument", "this charge has been debited; create another with metered(...)"
            )
        self._client._require_key()
        self._client._require_identity()
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
            log.warning("a task was cancelled during its debit, and the debit failed: %s", failure)
        raise cancelled

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a charge can't be copied or pickled: it would be debited twice")

    def __repr__(self) -> str:
        return f"<Charge of {getattr(self, '_amount', '?')} {getattr(self, '_type', '?')}>"


async def _until_done(task: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until a task has ended, even if the waiting task is cancelled.

    Returns:
        The last cancellation, which the caller must raise; None when there was none.
    """
    cancelled = None
    while not task.done():
        try:
            if cancelled is None:
                await asyncio.wait([task])
            else:
                # anyio repeats a cancellation at every step of the event loop, except inside a shield.
                from anyio import CancelScope

                with CancelScope(shield=True):
                    await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
