"""Send one call, with tries, time-outs and hooks. Knows HTTP; knows nothing of what is sent or of what errors mean."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from ..decoding import BODY_KEPT, LONGEST_SECRET
from ..errors import MontraError, NetworkError, PoolTimeoutError, RequestTimeoutError, without_frames
from ..options import CallOptions, Connection, Hooks
from ..redaction import Secret, scrub
from .aiohttp_compat import tell_traces
from .aiohttp_errors import emptied, failure_of, raised_by_us
from .hooks import HookRunner
from .messages import AttemptResult, RawResponse, Request
from .retry import LOST_STATUSES, RETRY_STATUSES, next_pause
from .sessions import LoopSession, Sessions
from .streaming import Stream, read_body
from .timeouts import Deadline

if TYPE_CHECKING:
    from .failover import Failover

_FOREVER = 1e9  # seconds; for a call without a total time-out
_QUICK_BODY = 64 * 1024  # what a socket takes at once
_LARGE_BODY = 512 * 1024
ERROR_SIZE = BODY_KEPT + LONGEST_SECRET
"""Bytes of an error's body that are read; what an error says fits into less."""

_LONGEST_RETRY_AFTER = 600.0  # seconds; a call without a total time-out is not held longer by what a server asks for

_CLOSED = "the client was closed during the call"


def _payload(body: bytes | Callable[[], Any] | None) -> Any:
    """What aiohttp is to send. It writes large bytes at one go, and warns of that; a stream goes in pieces."""
    if callable(body):
        return body()
    return BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body


def _is_quick(call: Request) -> bool:
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
        proxy = self._connection.proxy
        self._secrets = (*secrets, *(() if proxy is None else proxy.secrets))
        self._observer = HookRunner(hooks or Hooks(), self.scrub)
        self._failover = failover
        self._draw = draw

    async def aclose(self) -> None:
        await self._sessions.aclose()

    def scrub(self, text: str) -> str:
        """`text` without this client's secrets."""
        return scrub(text, *self._secrets)

    async def deadline(self, seconds: float | None) -> Deadline:
        """For what is waited for beside calls: over after some seconds, or when the client is closed."""
        home = self._sessions.opened() or await self._sessions.here()
        return Deadline(home.deadlines, home.loop.time() + (seconds or _FOREVER), home)

    async def send(self, call: Request, options: CallOptions) -> RawResponse:
        """Try until there is a final answer, the tries are used up or the time is over.

        An error status is an answer: it is returned, not raised.

        Raises:
            NetworkError: no answer, after as many tries as allowed, or the client was closed meanwhile.
            RequestTimeoutError, PoolTimeoutError: a time-out ran out.
        """
        home = self._sessions.opened() or await self._sessions.here()
        end = home.loop.time() + (options.timeout.total or _FOREVER)
        deadline = Deadline(home.deadlines, end, home)
        try:
            with deadline:
                return await self._tries(home, call, options, end)
        except NetworkError as error:
            error.sent = error.sent or call.sent
            raise error.with_traceback(None) from error.__cause__
        except TimeoutError as error:
            if not deadline.expired:
                raise without_frames(error)  # noqa: B904 - the same error
        except BaseException as error:
            # The frames below hold headers in their variables; whoever cancelled us may record them.
            raise without_frames(error)  # noqa: B904 - the same error
        if deadline.owner_closed:
            raise NetworkError(_CLOSED, call.info(), sent=call.sent)
        seconds = options.timeout.total
        problem = f"no answer within the total time-out of {seconds:g} s"
        raise RequestTimeoutError(problem, call.info(), sent=call.sent)

    async def _tries(self, home: LoopSession, call: Request, options: CallOptions, end: float) -> RawResponse:
        while True:
            call.attempts += 1
            call.sent_earlier = call.sent
            on_mirror = self._failover is not None and self._failover.on_mirror()
            began = home.loop.time()
            self._observer.begins(call)
            try:
                answer = await self._try(home, call, options, on_mirror)
                if answer.status < 400 and not self._observer.listens():
                    return answer
                outcome = AttemptResult(answer=answer)
            except MontraError:  # the pool is exhausted, a file can't be read: waiting again would not help
                raise
            except Exception as error:
                outcome = self._failed(error, call, on_mirror)
            outcome.elapsed = home.loop.time() - began
            self._observer.ended(call, outcome)

            if outcome.answer is not None and outcome.answer.status < 400:
                return outcome.answer
            if self._failover is not None and self._failover.moves(call, outcome, on_mirror=on_mirror):
                pause: float | None = 0.0
            else:
                pause = self._pause(call, options, self._remaining(call, end - home.loop.time()), outcome)
            if pause is None:
                return outcome.result()
            if outcome.answer is None or outcome.answer.status in LOST_STATUSES:
                call.lost = call.sent
            self._observer.tries_again(call, outcome, pause)
            if pause:
                await asyncio.sleep(pause)

    def _failed(self, error: Exception, call: Request, on_mirror: bool) -> AttemptResult:
        """
        Raises:
            MontraError: what went wrong is ours, or the user's, not the network's.
        """
        ours = raised_by_us(error)
        if ours is not None:
            without_frames(ours)
            raise ours from ours.__cause__
        host = self._url(call, on_mirror).authority
        failure = failure_of(error, call.info(), host, proxy=self._sessions.proxy, scrub=self.scrub)
        emptied(error)
        if not failure.error.sent:
            call.sent = call.sent_earlier
        return AttemptResult(failure=failure)

    async def _try(self, home: LoopSession, call: Request, options: CallOptions, on_mirror: bool) -> RawResponse:
        if not home.gate.enter():
            await self._wait_for_connection(home, call, options.timeout.pool)
        quick = _is_quick(call)
        stream = None
        try:
            if home.session.closed:
                raise NetworkError("the client was closed before the call was sent", call.info(), sent=False)
            call.sent = True
            response = await self._request(home, call, options, on_mirror, quick)
            if call.streams and 200 <= response.status < 300:
                stream = Stream(response, call.info(), home.gate.leave, self, options.max_response_size, self.scrub)
                home.streams.add(stream)
                body, truncated = b"", False
            elif quick and response.status < 300 and response.content.is_eof() and not home.traced:
                body = response.content.read_nowait()  # it came together with the headers, as most do
                truncated = len(body) > options.max_response_size
            else:
                body, truncated = await self._body(home, response, call, options)
        finally:
            if stream is None:  # else it keeps its place until its end
                home.gate.leave()
        return RawResponse(
            status=response.status,
            headers=response.headers,
            body=body,
            reason=response.reason,
            stream=stream,
            limit=options.max_response_size if truncated else None,
        )

    async def _body(
        self, home: LoopSession, response: aiohttp.ClientResponse, call: Request, options: CallOptions
    ) -> tuple[bytes, bool]:
        """The body, and whether it is longer than it may be."""
        limit = options.max_response_size if response.status < 300 else min(ERROR_SIZE, options.max_response_size)
        if call.streams:  # such a call has no time-outs; its errors do
            seconds = options.error_timeout
            with contextlib.suppress(TimeoutError), Deadline(home.deadlines, home.loop.time() + seconds):
                return await read_body(response, limit)
            return b"", True
        body, truncated = await read_body(response, limit)
        if home.traced:
            await tell_traces(response, body)
        return body, truncated

    def _request(
        self, home: LoopSession, call: Request, options: CallOptions, on_mirror: bool, quick: bool
    ) -> Awaitable[aiohttp.ClientResponse]:
        """The answer's headers, from the service or its mirror."""
        request = home.request(
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

    def _url(self, call: Request, on_mirror: bool) -> URL:
        return call.url if self._failover is None else self._failover.route(call.url, on_mirror=on_mirror)

    async def _wait_for_connection(self, home: LoopSession, call: Request, seconds: float | None) -> None:
        deadline = Deadline(home.deadlines, home.loop.time() + (seconds or _FOREVER))
        try:
            with deadline:
                await home.gate.wait()
        except TimeoutError:
            size = self._sessions.pool_size
            problem = f"no connection became free within {seconds:g} s: all {size} of the pool are in use"
            raise PoolTimeoutError(problem, call.info(), sent=call.sent, phase="pool") from None

    @staticmethod
    def _remaining(call: Request, seconds: float) -> float:
        return seconds if call.remaining is None else min(seconds, call.remaining())

    def _pause(self, call: Request, options: CallOptions, remaining: float, outcome: AttemptResult) -> float | None:
        answer, failure = outcome.answer, outcome.failure
        if answer is not None:
            again = call.repeatable and answer.status in RETRY_STATUSES
        else:
            again = failure is not None and failure.retryable and (call.repeatable or not call.sent)
        if not again:
            return None
        return next_pause(
            attempt=call.attempts,
            max_attempts=options.max_attempts,
            remaining=min(remaining, _LONGEST_RETRY_AFTER),
            draw=self._draw,
            retry_after=None if answer is None else answer.retry_after,
            at_once=failure is not None and failure.dropped,
        )
