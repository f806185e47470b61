"""Makes the deliveries to applications of this process, for who waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from .app_targets import DELIVERING, GONE, AppTarget, Outcome
from .log import log
from .webhook_sender import Answer, PendingDelivery

MAX_ROUNDS: int = 100
"""How often webhooks may cause further ones."""
_LOOK_INTERVAL = 0.005


class AppDeliveries:
    """Makes the deliveries to applications, in the thread or on the event loop of who waits for them.

    Args:
        send_due: attempts all other due deliveries, in the server's thread.
        take: takes the due deliveries to applications, and says whether others are making some.
        store: stores what an application answered to a delivery.
        release: lets taken deliveries be taken again.
    """

    def __init__(
        self,
        send_due: Callable[[], Future[None]],
        take: Callable[[], tuple[list[PendingDelivery], bool]],
        store: Callable[[PendingDelivery, Answer], None],
        release: Callable[[list[PendingDelivery]], None],
    ) -> None:
        self._send_due = send_due
        self._take = take
        self._store = store
        self._release = release
        self._apps: dict[str, AppTarget] = {}
        self._targets: set[AppTarget] = set()  # also those whose endpoint has another application now

    def __bool__(self) -> bool:
        return bool(self._apps)

    def register(self, endpoint_ids: Iterable[str], app: AppTarget) -> None:
        """Let an application get the deliveries of endpoints.

        Args:
            endpoint_ids: the endpoints.
            app: the application.
        """
        self._targets.add(app)
        for endpoint_id in endpoint_ids:
            self._apps[endpoint_id] = app

    def find(self, app: Any) -> list[str]:
        """The endpoints of an application.

        Args:
            app: the application.
        """
        return [endpoint_id for endpoint_id, target in self._apps.items() if target.app is app]

    def clear(self) -> None:
        """Forget all applications."""
        targets, self._targets = self._targets, set()
        self._apps.clear()
        for target in targets:
            target.close()

    def settle(self) -> None:
        """Make all due deliveries, in this thread, which runs no event loop.

        Raises:
            BaseException: the first that an application raised, after all deliveries.
            RuntimeError: webhooks cause webhooks without end.
        """
        raised: list[BaseException] = []
        for _ in self._rounds():
            self._send_due().result()
            pending, others = self._take()
            while not pending and others and not DELIVERING.get():
                time.sleep(_LOOK_INTERVAL)
                pending, others = self._take()
            if not pending:
                break
            with self._releasing(pending):
                for delivery in pending:
                    target = self._apps.get(delivery.endpoint_id)
                    self._finish(delivery, GONE if target is None else target.deliver(delivery), raised)
        _raise_first(raised)

    async def settle_async(self) -> None:
        """The same in a coroutine.

        Raises:
            BaseException: the first that an application raised, after all deliveries.
            RuntimeError: webhooks cause webhooks without end.
        """
        raised: list[BaseException] = []
        for _ in self._rounds():
            await asyncio.shield(asyncio.wrap_future(self._send_due()))  # a cancellation must not reach the server
            pending, others = self._take()
            while not pending and others and not DELIVERING.get():
                await asyncio.sleep(_LOOK_INTERVAL)
                pending, others = self._take()
            if not pending:
                break
            with self._releasing(pending):
                for delivery in pending:
                    target = self._apps.get(delivery.endpoint_id)
                    self._finish(delivery, GONE if target is None else await target.deliver_async(delivery), raised)
        _raise_first(raised)

    @contextmanager
    def _releasing(self, pending: list[PendingDelivery]) -> Generator[None]:
        """What Ctrl-C or a cancellation keeps from being made can be taken again."""
        inside = DELIVERING.set(True)
        try:
            yield
        except BaseException:
            self._release(pending)
            raise
        finally:
            DELIVERING.reset(inside)

    def _rounds(self) -> Iterator[int]:
        yield from range(MAX_ROUNDS)
        raise RuntimeError(f"{MAX_ROUNDS} rounds of webhooks, and each caused further ones")

    def _finish(
        self,
        delivery: PendingDelivery,
        outcome: Outcome,
        raised: list[BaseException],
    ) -> None:
        answer, error = outcome
        self._store(delivery, answer)
        if error is not None:
            raised.append(error)
        elif answer.error is not None or answer.status is None or answer.status >= 300:
            log.warning("the application refused %s: %s", delivery.event_type, _refusal(delivery, answer))


def _refusal(delivery: PendingDelivery, answer: Answer) -> str:
    if answer.error is not None:
        return answer.error
    if answer.status in (404, 405):
        return f"{answer.status}, it has no POST {delivery.path}; `webhooks.to(app, path=...)` names its route"
    return f"{answer.status} {answer.body}"


def _raise_first(raised: list[BaseException]) -> None:
    if raised:
        raise raised[0]
