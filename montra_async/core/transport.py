"""Send one call, with tries, time-outs and hooks. Knows HTTP; knows nothing of what is sent or of what errors mean."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from .calls import Answer, Call, Outcome
from .deadlines import Deadline
from .errors import NetworkError, PoolTimeoutError, RequestTimeoutError
from .failures import EXPECTED, dropped, may_retry, network_error, without_frames
from .observer import Observer
from .options import CallOptions, Connection, Hooks
from .redaction import Secret, scrub
from .retry import RETRY_STATUSES, next_pause
from .sessions import LoopSession, Sessions
from .streams import Stream

if TYPE_CHECKING:
    from .failover import Failover

_FOREVER = 1e9  # seconds; for a call without a total time-out
_QUICK_BODY = 64 * 1024  # what a socket takes at once
_LARGE_BODY = 512 * 1024


def _payload(body: bytes | Callable[[], Any] | None) -> Any:
    """What aiohttp is to send. It writes large bytes at one go, and warns of that; a stream goes in pieces."""
    if callable(body):
        return body()
    return BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body


def _is_quick(call: Call) -> bool:
    """Sent at one go, and read as fast as it comes: only the server can be slow."""
    return not call.streams and (call.body is None or (not callable(call.body) and len(call.body) <= _QUICK_BODY))


async def _patiently(
    request: Awaitable[aiohttp.ClientResponse], home: LoopSession, seconds: float
) -> aiohttp.ClientResponse:
    with Deadline(home.deadlines, home.loop.time() + seconds):
        return await request


class Transport:
    """The pooled connections of one client and everything that happens on the way. Shared by all its views."""

    def __init__(
        self,
        *,
        headers: Callable[[], Mapping[str, str]],
        secrets: tuple[Secret, ...] = (),
        connection: Connection | None = None,
        hooks: Hooks | None = None,
        failover: Failover | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection or Connection()
        self._sessions = Sessions(self._connection, headers)
        # A session of the user's doesn't carry our headers: they are sent with each call then.
        self._base_headers = headers if self._connection.session is not None else dict
        self._secrets = secrets
        self._observer = Observer(hooks or Hooks())
        self._failover = failover
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
        home = self._sessions.opened() or await self._sessions.here()
        end = home.loop.time() + (options.timeout.total or _FOREVER)
        deadline = Deadline(home.deadlines, end)
        try:
            with deadline:
                return await self._tries(home, call, options, end)
        except TimeoutError as error:
            if not deadline.expired or isinstance(error, NetworkError):
                raise
            without_frames(error)
        seconds = options.timeout.total
        raise RequestTimeoutError(f"no answer within the total time-out of {seconds:g} s", call.info())

    async def _tries(self, home: LoopSession, call: Call, options: CallOptions, end: float) -> Answer:
        while True:
            call.attempts += 1
            on_mirror = self._failover is not None and self._failover.on_mirror()
            began = home.loop.time()
            self._observer.begins(call)
            try:
                answer = await self._try(home, call, options, on_mirror)
                if answer.status < 400 and not self._observer.listens():
                    return answer
                outcome = Outcome(answer=answer)
            except EXPECTED as error:
                if isinstance(error, NetworkError):  # the pool is exhausted: waiting again would not help
                    raise
                cause = without_frames(error)
                outcome = Outcome(failure=self._failure(cause, call, home, on_mirror), cause=cause)
            outcome.elapsed = home.loop.time() - began
            self._observer.ended(call, outcome)

            if outcome.answer is not None and outcome.answer.status < 400:
                return outcome.answer
            if home.closed:
                return outcome.result()
            if self._failover is not None and self._failover.moves(call, outcome, on_mirror=on_mirror):
                pause: float | None = 0.0
            else:
                pause = self._pause(call, options, end - home.loop.time(), outcome)
            if pause is None:
                return outcome.result()
            self._observer.tries_again(call, outcome, pause)
            if pause:
                await asyncio.sleep(pause)
            home = await self._sessions.here()

    async def _try(self, home: LoopSession, call: Call, options: CallOptions, on_mirror: bool) -> Answer:
        if not home.gate.enter():
            await self._wait_for_connection(home, call, options.timeout.pool)
        quick = _is_quick(call)
        stream = None
        body = b""
        try:
            response = await self._request(home, call, options, on_mirror, quick)
            if call.streams and response.status < 300:
                stream = Stream(response, call.info(), home.gate.leave, owner=self)
                home.streams.add(stream)
            elif quick and response.content.is_eof() and not home.traced:
                body = response.content.read_nowait()  # it came together with the headers, as most do
            else:
                body = await response.read()
        except RuntimeError:
            if not home.session.closed:
                raise
            raise NetworkError("the client was closed before the call was sent", call.info(), sent=False) from None
        finally:
            if stream is None:  # else it keeps its place until its end
                home.gate.leave()
        return Answer(
            status=response.status, headers=response.headers, body=body, reason=response.reason, stream=stream
        )

    def _request(
        self, home: LoopSession, call: Call, options: CallOptions, on_mirror: bool, quick: bool
    ) -> Awaitable[aiohttp.ClientResponse]:
        """The answer's headers, from the service or its mirror."""
        request = home.session.request(
            call.method,
            self._url(call, on_mirror),
            data=_payload(call.body),
            headers={**self._base_headers(), **options.headers, **call.headers},
            timeout=options.lazy_timeout if quick and home.lazy else options.eager_timeout,
            allow_redirects=False,
            raise_for_status=False,  # whatever a session of the user's does by default
        )
        patience = None if self._failover is None else self._failover.patience(call, on_mirror=on_mirror)
        return request if patience is None else _patiently(request, home, patience)

    def _url(self, call: Call, on_mirror: bool) -> URL:
        return call.url if self._failover is None else self._failover.route(call.url, on_mirror=on_mirror)

    async def _wait_for_connection(self, home: LoopSession, call: Call, seconds: float | None) -> None:
        deadline = Deadline(home.deadlines, home.loop.time() + (seconds or _FOREVER))
        try:
            with deadline:
                await home.gate.wait()
        except TimeoutError:
            size = self._sessions.pool_size
            problem = f"no connection became free within {seconds:g} s: all {size} of the pool are in use"
            raise PoolTimeoutError(problem, call.info(), sent=call.attempts > 1, phase="pool") from None

    def _failure(self, cause: BaseException, call: Call, home: LoopSession, on_mirror: bool) -> NetworkError:
        failure = network_error(cause, call.info(), self._url(call, on_mirror).authority)
        if home.closed:
            return NetworkError("the client was closed during the call", call.info(), sent=failure.sent)
        return failure

    def _pause(self, call: Call, options: CallOptions, remaining: float, outcome: Outcome) -> float | None:
        answer, failure, cause = outcome.answer, outcome.failure, outcome.cause
        if answer is not None:
            again = call.repeatable and answer.status in RETRY_STATUSES
        else:
            again = may_retry(cause) and (call.repeatable or (failure is not None and not failure.sent))
        if not again:
            return None
        return next_pause(
            attempt=call.attempts,
            max_attempts=options.max_attempts,
            remaining=remaining,
            draw=self._draw,
            retry_after=None if answer is None else answer.retry_after,
            at_once=dropped(cause),
        )
