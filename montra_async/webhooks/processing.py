"""Process one delivery of a verified event: claim the event, call its handlers, mark it as done."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from threading import Thread
from typing import Any, TypeAlias

import attrs

from .claims import EventClaim
from .parsing import printable
from .renewal import next_renewal, renewals
from .store_access import StoreAccess, finish, run_async, run_blocking
from .stores import Claim, DeduplicationStore
from .webhook_event import WebhookEvent

log: logging.Logger = logging.getLogger("montra")

Handler: TypeAlias = Callable[[Any], Awaitable[object] | object]


@attrs.frozen(kw_only=True)
class Reply:
    """The HTTP response to a delivery. The sender delivers again unless the status is 2xx.

    Attributes:
        status: 200 handled, handled before, or no handler; 400 unreadable or too old; 401 wrong signature; 413 too
            large; 500 a handler or the store failed; 503 another delivery of the event is being handled right now.
        body: JSON with `status` and `detail`; nothing of the event.
        headers: the content type, and `Retry-After` with status 503.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]


def make_reply(status: int, outcome: str, detail: str, *, retry_after: int | None = None) -> Reply:
    """Build a reply; `retry_after` is in seconds."""
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Reply(status=status, body=json.dumps({"status": outcome, "detail": detail}).encode(), headers=headers)


@attrs.frozen(kw_only=True)
class Delivery:
    """A verified event, its handlers, and the claim to be made for it."""

    event: WebhookEvent
    handlers: Sequence[Handler]
    claim: EventClaim

    @property
    def name(self) -> str:
        """The event's type and id, for the log."""
        return f"{printable(self.event.type)} {printable(self.event.id)}"

    def log_handler_failure(self) -> Reply:
        log.exception("a handler of %s failed; it will be delivered again", self.name)
        return make_reply(500, "failed", "a handler failed")

    def log_store_failure(self) -> Reply:
        log.exception("the deduplication store failed at %s", self.name)
        return make_reply(500, "failed", "the store failed")

    def log_not_recorded(self) -> Reply:
        log.exception("%s was handled, but the store failed: if it comes again, it is handled again", self.name)
        return make_reply(200, "done", "handled, but could not be recorded")

    def log_handled(self, claim_was_kept: bool) -> Reply:
        if not claim_was_kept:
            log.warning("%s took longer than its claim's TTL, and may have been handled twice", self.name)
        return make_reply(200, "done", "handled")


def _not_acquired(result: Claim) -> Reply:
    if result is Claim.DONE:
        return make_reply(200, "duplicate", "handled before")
    return make_reply(503, "in_progress", "being handled right now", retry_after=1)


async def process(delivery: Delivery, access: StoreAccess) -> Reply:
    """Process a delivery on an event loop. Coroutine functions run on the loop, plain functions in threads."""
    try:
        result = await run_async(delivery.claim.acquire(), access)
    except Exception:
        return delivery.log_store_failure()
    except GeneratorExit:  # nothing can be awaited any more
        raise
    except BaseException:  # the loop or the process is ending
        await finish(run_async(delivery.claim.release(retry=False), access))
        raise
    if result is not Claim.ACQUIRED:
        return _not_acquired(result)
    with _renewed(delivery, access):
        try:
            for handler in delivery.handlers:
                await _call(handler, delivery.event)
        except Exception:
            return await _give_back(delivery, access)
        except BaseException as error:
            if _is_cancelled_by_handler(error):
                return await _give_back(delivery, access)
            await finish(run_async(delivery.claim.release(retry=False), access))
            raise
        return await _mark_done(delivery, access)


async def _give_back(delivery: Delivery, access: StoreAccess) -> Reply:
    reply = delivery.log_handler_failure()
    try:
        await run_async(delivery.claim.release(), access)
    except Exception:
        return delivery.log_store_failure()
    return reply


async def _mark_done(delivery: Delivery, access: StoreAccess) -> Reply:
    try:
        return delivery.log_handled(await run_async(delivery.claim.done(), access))
    except Exception:
        return delivery.log_not_recorded()
    except BaseException:  # the loop or the process is ending
        await finish(run_async(delivery.claim.done(retry=False), access))
        raise


@contextlib.contextmanager
def _renewed(delivery: Delivery, access: StoreAccess) -> Generator[None, Any, None]:
    """Renew the claim while the handlers run. The task that does it starts when the first renewal is due: most handlers
    are done by then."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []

    async def renew_repeatedly() -> None:
        while True:
            try:
                renewed: bool | Exception = await run_async(delivery.claim.renew(), access)
            except Exception as error:
                renewed = error
            await asyncio.sleep(next_renewal(delivery.claim, renewed, delivery.name))

    timer = loop.call_later(delivery.claim.claim_ttl / 3, lambda: tasks.append(loop.create_task(renew_repeatedly())))
    try:
        yield
    finally:
        timer.cancel()
        for task in tasks:
            task.cancel()


def _is_cancelled_by_handler(error: BaseException) -> bool:
    """Return whether a handler raised CancelledError though the task was not cancelled. Python 3.10 can't tell."""
    task: Any = asyncio.current_task()
    cancelling = getattr(task, "cancelling", None)
    return isinstance(error, asyncio.CancelledError) and cancelling is not None and cancelling() == 0


async def _call(handler: Handler, event: WebhookEvent) -> None:
    result = handler(event) if inspect.iscoroutinefunction(handler) else await _call_in_thread(handler, event)
    if inspect.isawaitable(result):
        await result


async def _call_in_thread(handler: Handler, event: WebhookEvent) -> object:
    """Call a plain function in a thread, and wait for it even when cancelled: a thread can't be stopped, and nobody
    else may handle the event meanwhile.

    The executor's future is awaited, not a task of `asyncio.to_thread`: a loop that ends cancels its tasks, which would
    look as if the thread had ended.
    """
    context = contextvars.copy_context()
    work = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(_call_plain, handler, event))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def _call_plain(handler: Handler, event: WebhookEvent) -> object:
    try:
        return handler(event)
    except StopIteration as error:  # no future can hold it
        raise RuntimeError("the handler raised StopIteration") from error


def process_blocking(delivery: Delivery, store: DeduplicationStore) -> Reply:
    """Process a delivery in the calling thread. Only coroutine functions among the handlers need an event loop."""
    try:
        result = run_blocking(delivery.claim.acquire(), store)
    except Exception:
        return delivery.log_store_failure()
    except BaseException:  # the process is ending
        _release_at_end(delivery, store)
        raise
    if result is not Claim.ACQUIRED:
        return _not_acquired(result)
    with renewals.keep(delivery.claim, store, delivery.name):
        try:
            for handler in delivery.handlers:
                _call_blocking(handler, delivery.event)
        except (Exception, asyncio.CancelledError):  # the handler's own: nobody can cancel a thread
            return _give_back_blocking(delivery, store)
        except BaseException:
            _release_at_end(delivery, store)
            raise
        return _mark_done_blocking(delivery, store)


def _release_at_end(delivery: Delivery, store: DeduplicationStore) -> None:
    """Release an event while the process ends; errors of the store are ignored."""
    with contextlib.suppress(Exception):
        run_blocking(delivery.claim.release(retry=False), store)


def _give_back_blocking(delivery: Delivery, store: DeduplicationStore) -> Reply:
    reply = delivery.log_handler_failure()
    try:
        run_blocking(delivery.claim.release(), store)
    except Exception:
        return delivery.log_store_failure()
    return reply


def _mark_done_blocking(delivery: Delivery, store: DeduplicationStore) -> Reply:
    try:
        return delivery.log_handled(run_blocking(delivery.claim.done(), store))
    except Exception:
        return delivery.log_not_recorded()
    except BaseException:  # the process is ending
        with contextlib.suppress(Exception):
            run_blocking(delivery.claim.done(retry=False), store)
        raise


def _call_blocking(handler: Handler, event: WebhookEvent) -> None:
    result = handler(event)
    if inspect.isawaitable(result):
        _run_to_end(result)


def _run_to_end(work: Awaitable[object]) -> None:
    """Run an awaitable on an event loop of its own; in another thread when a loop is running in this one."""

    async def run() -> None:
        await work

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    errors: list[BaseException] = []

    def run_in_thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=contextvars.copy_context().run, args=(run_in_thread,))
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return None
