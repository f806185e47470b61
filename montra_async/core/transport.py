"""Send one call, with tries, time-outs and hooks. Knows HTTP; knows nothing of what is sent or of what errors mean."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from io import BytesIO
from typing import Any

import attrs
from yarl import URL

from .deadlines import Deadline
from .errors import CallInfo, NetworkError, PoolTimeoutError, RequestTimeoutError
from .failures import EXPECTED, dropped, may_retry, network_error, without_frames
from .options import CallEvent, CallOptions, Connection, Hook, Hooks
from .redaction import Secret, scrub
from .retry import RETRY_STATUSES, next_pause, parse_retry_after
from .sessions import LoopSession, Sessions

log = logging.getLogger("montra")

_FOREVER = 1e9  # seconds; for a call without a total time-out
REQUEST_ID = "x-request-id"


@attrs.define(kw_only=True)
class Call:
    """One logical call, complete before its first try: every try sends the same key and the same body.

    `path` is for people (messages, logs, hooks). `body` makes the payload anew for each try when it can't be bytes.
    `repeatable` says whether a second execution is harmless; when it is not, only what was never sent is tried again.
    """

    method: str
    url: URL
    path: str
    body: bytes | Callable[[], Any] | None = None
    headers: Mapping[str, str] | None = None
    idempotency_key: str | None = None
    repeatable: bool = True
    attempts: int = 0

    def info(self) -> CallInfo:
        return CallInfo(
            method=self.method,
            path=self.path,
            attempts=max(1, self.attempts),
            idempotency_key=self.idempotency_key,
        )


@attrs.frozen(kw_only=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reason: str | None = None

    @property
    def request_id(self) -> str | None:
        return self.headers.get(REQUEST_ID)

    @property
    def retry_after(self) -> float | None:
        return parse_retry_after(self.headers.get("Retry-After"), datetime.now(timezone.utc))


_LARGE_BODY = 512 * 1024


def _payload(body: bytes | Callable[[], Any] | None) -> Any:
    """What aiohttp is to send. It writes large bytes at one go, and warns of that; a stream goes in pieces."""
    if callable(body):
        return body()
    return BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body


class Transport:
    """The pooled connections of one client and everything that happens on the way. Shared by all its views."""

    def __init__(
        self,
        *,
        headers: Callable[[], Mapping[str, str]],
        secrets: tuple[Secret, ...] = (),
        connection: Connection | None = None,
        hooks: Hooks | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection or Connection()
        self._sessions = Sessions(self._connection, headers)
        # A session of the user's doesn't carry our headers: they are sent with each call then.
        self._base_headers = headers if self._connection.session is not None else dict
        self._secrets = secrets
        self._hooks = hooks or Hooks()
        self._draw = draw

    async def aclose(self) -> None:
        await self._sessions.aclose()

    def scrub(self, text: str) -> str:
        """`text` without this client's secrets."""
        return scrub(text, *self._secrets)

    async def send(self, call: Call, options: CallOptions) -> Answer:
        """Try until there is a final answer, the tries are used up or the time is over.

        An error status is an answer: it is returned, not raised.

        Raises:
            NetworkError: no answer, after as many tries as allowed.
            RequestTimeoutError, PoolTimeoutError: a time-out ran out.
        """
        home = await self._sessions.here()
        end = home.loop.time() + (options.timeout.total or _FOREVER)
        deadline = Deadline(home.deadlines, end)
        try:
            with deadline:
                return await self._tries(call, options, end)
        except TimeoutError as error:
            if not deadline.expired or isinstance(error, NetworkError):
                raise
            without_frames(error)
        seconds = options.timeout.total
        raise RequestTimeoutError(f"no answer within the total time-out of {seconds:g} s", call.info())

    async def _tries(self, call: Call, options: CallOptions, end: float) -> Answer:
        while True:
            home = await self._sessions.here()
            call.attempts += 1
            answer: Answer | None = None
            failure: NetworkError | None = None
            cause: BaseException | None = None
            began = home.loop.time()
            if self._hooks.on_request is not None:
                self._tell(self._hooks.on_request, call, began, home)
            try:
                answer = await self._try(home, call, options)
            except EXPECTED as error:
                if isinstance(error, NetworkError):
                    raise
                cause = without_frames(error)
                failure = self._failure(cause, call, home)
            self._report(call, began, home, answer, failure)

            pause = self._pause(call, options, end - home.loop.time(), answer, failure, cause)
            if pause is None:
                if answer is not None:
                    return answer
                assert failure is not None
                raise failure from cause
            self._report_retry(call, began, home, answer, failure, pause)
            if pause:
                await asyncio.sleep(pause)

    async def _try(self, home: LoopSession, call: Call, options: CallOptions) -> Answer:
        if home.gate.locked():
            await self._wait_for_connection(home, call, options.timeout.pool)
        else:
            await home.gate.acquire()  # at once
        try:
            response = await home.session.request(
                call.method,
                call.url,
                data=_payload(call.body),
                headers={**self._base_headers(), **options.headers, **(call.headers or {})},
                timeout=options.client_timeout,
                allow_redirects=False,
            )
            body = await response.read()
        except RuntimeError:
            if not home.session.closed:
                raise
            raise NetworkError("the client was closed before the call was sent", call.info(), sent=False) from None
        finally:
            home.gate.release()
        return Answer(status=response.status, headers=response.headers, body=body, reason=response.reason)

    async def _wait_for_connection(self, home: LoopSession, call: Call, seconds: float | None) -> None:
        deadline = Deadline(home.deadlines, home.loop.time() + (seconds or _FOREVER))
        try:
            with deadline:
                await home.gate.acquire()
        except TimeoutError:
            size = self._sessions.pool_size
            problem = f"no connection became free within {seconds:g} s: all {size} of the pool are in use"
            raise PoolTimeoutError(problem, call.info(), sent=call.attempts > 1, phase="pool") from None

    def _failure(self, cause: BaseException, call: Call, home: LoopSession) -> NetworkError:
        failure = network_error(cause, call.info(), call.url.authority)
        if home.closed:
            return NetworkError("the client was closed during the call", call.info(), sent=failure.sent)
        return failure

    def _pause(
        self,
        call: Call,
        options: CallOptions,
        remaining: float,
        answer: Answer | None,
        failure: NetworkError | None,
        cause: BaseException | None,
    ) -> float | None:
        if answer is not None:
            again = call.repeatable and answer.status in RETRY_STATUSES
        else:
            assert failure is not None
            assert cause is not None
            again = may_retry(cause) and (call.repeatable or not failure.sent)
        if not again:
            return None
        return next_pause(
            attempt=call.attempts,
            max_attempts=options.max_attempts,
            remaining=remaining,
            draw=self._draw,
            retry_after=answer.retry_after if answer is not None else None,
            at_once=cause is not None and dropped(cause),
        )

    def _report(
        self, call: Call, began: float, home: LoopSession, answer: Answer | None, failure: NetworkError | None
    ) -> None:
        if self._hooks.on_response is not None:
            self._tell(self._hooks.on_response, call, began, home, answer, failure)
        if log.isEnabledFor(logging.DEBUG):
            what = answer.status if answer is not None else failure
            milliseconds = (home.loop.time() - began) * 1000
            log.debug("%s %s -> %s in %.1f ms, try %d", call.method, call.path, what, milliseconds, call.attempts)

    def _report_retry(
        self,
        call: Call,
        began: float,
        home: LoopSession,
        answer: Answer | None,
        failure: NetworkError | None,
        pause: float,
    ) -> None:
        if self._hooks.on_retry is not None:
            self._tell(self._hooks.on_retry, call, began, home, answer, failure, pause)
        what = answer.status if answer is not None else failure
        log.info("%s %s: %s; trying again in %.2f s", call.method, call.path, what, pause)

    def _tell(
        self,
        hook: Hook,
        call: Call,
        began: float,
        home: LoopSession,
        answer: Answer | None = None,
        failure: NetworkError | None = None,
        pause: float | None = None,
    ) -> None:
        event = CallEvent(
            method=call.method,
            path=call.path,
            attempt=call.attempts,
            elapsed=home.loop.time() - began,
            status=answer.status if answer is not None else None,
            request_id=answer.request_id if answer is not None else None,
            error=failure,
            pause=pause,
        )
        try:
            hook(event)
        except Exception:
            log.exception("a hook of the user failed on %s %s", call.method, call.path)
