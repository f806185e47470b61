"""Sends one call: attempts, time-outs, hooks. It knows HTTP, but no endpoint and no meaning of an error.

The walk: `send` (total time-out) -> `_attempts` (retry policy, hooks) -> `_attempt` (place in the pool) -> `_request`
(headers of the response), then its body is read, or left to a stream. What differs between sessions is chosen when a
session is opened (`sessions.Strategy`), what differs between services when the client is made (`failover.Routing`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from io import BytesIO
from typing import Any

import aiohttp

from ..errors import MontraError, NetworkError, PoolTimeoutError, RequestTimeoutError, without_frames
from ..options import CallOptions, Hooks
from ..redaction import BODY_KEPT, LONGEST_SECRET, Secret, scrub
from .aiohttp_compat import is_closed_session, try_acquire
from .aiohttp_errors import emptied, failure_of, raised_by_us
from .connection import Connection, eager_timeout_of
from .endpoints import EndpointTable
from .failover import Direct, Route, Routing
from .hooks import HookRunner
from .messages import AttemptResult, RawResponse, Request
from .retry import LOST_STATUSES, RETRY_STATUSES, next_pause
from .sessions import LoopSession, PoolState, Sessions
from .streaming import Stream
from .timeouts import Deadline

_FOREVER = 1e9  # seconds; for a call without a total time-out
_SMALL_BODY = 64 * 1024  # what a socket takes at once
_LARGE_BODY = 512 * 1024
ERROR_SIZE = BODY_KEPT + LONGEST_SECRET
"""Bytes of an error's body that are read; more than an error shows."""

_LONGEST_RETRY_AFTER = 600.0  # seconds; the most that a server can hold a call without a total time-out

_CLOSED = "the client was closed during the call"


class Transport:
    """The connections of one client, and how calls are sent over them. Shared by all views of the client.

    Args:
        headers: headers of every request, with the key.
        secrets: removed from every text that is shown.
        connection: how connections are made.
        hooks: of the user.
        failover: the routing of a service with a mirror; None for a service without.
        endpoints: gives the endpoints of the service, for telemetry and the log.
        jitter: uniform random numbers in 0..1, for the pauses between attempts.
    """

    def __init__(
        self,
        *,
        headers: Callable[[], Mapping[str, str]],
        secrets: tuple[Secret, ...] = (),
        connection: Connection | None = None,
        hooks: Hooks | None = None,
        failover: Routing | None = None,
        endpoints: Callable[[], EndpointTable] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection or Connection()
        self._sessions = Sessions(self._connection, headers)
        self._headers = _merged if self._connection.sends_own_headers else partial(_merged_with, headers)
        self._secrets = (*secrets, *self._connection.secrets)
        self._hook_runner = HookRunner(hooks or Hooks(), self.scrub, endpoints)
        self._endpoints = endpoints
        self._routing: Routing = Direct() if failover is None else failover
        self._jitter = jitter

    @property
    def is_bound_to_loop(self) -> bool:
        """Whether a session or connector of the user's belongs to one event loop."""
        given = self._connection
        return given.session is not None or isinstance(given.connector, aiohttp.BaseConnector)

    @property
    def pool_size(self) -> int:
        """Requests in flight at most, per event loop."""
        return self._connection.pool_size

    def endpoints(self) -> EndpointTable | None:
        """The endpoints of the service; None when they are not known."""
        return None if self._endpoints is None else self._endpoints()

    def pool_states(self) -> list[PoolState]:
        """The state of the pool of each event loop. Any thread may ask."""
        return self._sessions.pool_states()

    async def aclose(self) -> None:
        """Close all connections and end the calls in flight. Safe to call twice."""
        await self._sessions.aclose()

    def scrub(self, text: str) -> str:
        """`text` without this client's secrets."""
        return scrub(text, *self._secrets)

    async def deadline(self, seconds: float | None) -> Deadline:
        """A deadline for something else than a call: it ends when the client is closed, too.

        Args:
            seconds: from now; None for no limit.
        """
        session = self._sessions.current() or await self._sessions.get_or_open()
        return Deadline(session.deadlines, session.loop.time() + (seconds or _FOREVER), session)

    async def send(self, request: Request, options: CallOptions) -> RawResponse:
        """Attempt a call until there is a final response, no attempt is left or the total time-out is over.

        A response with an error status is returned, not raised.

        Args:
            request: what is sent; its counters are updated.
            options: time-outs, attempts and limits of the call.

        Raises:
            NetworkError: no response after all attempts, or the client was closed meanwhile.
            RequestTimeoutError, PoolTimeoutError: a time-out is over.
        """
        session = self._sessions.current() or await self._sessions.get_or_open()
        now = session.loop.time()
        deadline = Deadline(session.deadlines, now + (options.timeout.total or _FOREVER), session)
        try:
            with deadline:
                return await self._attempts(session, request, options, now)
        except NetworkError as error:
            error.sent = error.sent or request.sent
            raise error.with_traceback(None) from error.__cause__
        except TimeoutError as error:
            if not deadline.expired:
                raise without_frames(error)  # noqa: B904 - the same error
        except BaseException as error:
            self._hook_runner.attempt_interrupted(request, error)
            # The frames of aiohttp hold headers in their variables, and an error reporter may record them.
            raise without_frames(error)  # noqa: B904 - the same error
        raise self._interrupted(request, options, deadline)

    def _interrupted(self, request: Request, options: CallOptions, deadline: Deadline) -> NetworkError:
        """The error of a call that its deadline has ended, or the closing of the client."""
        error: NetworkError
        if deadline.owner_closed:
            error = NetworkError(_CLOSED, request.info(), sent=request.sent)
        else:
            problem = f"no response within the total time-out of {options.timeout.total:g} s"
            error = RequestTimeoutError(problem, request.info(), sent=request.sent)
        self._hook_runner.attempt_interrupted(request, error)
        return error

    async def _attempts(self, session: LoopSession, request: Request, options: CallOptions, now: float) -> RawResponse:
        """Attempt until the retry policy ends it. `now` is loop time."""
        end = now + (options.timeout.total or _FOREVER)
        while True:
            request.attempts += 1
            request.sent_earlier = request.sent
            route = self._routing.route(request)
            self._hook_runner.attempt_started(request)
            try:
                response = await self._attempt(session, request, options, route)
                if response.status < 400 and not self._hook_runner.wants_successes():
                    return response
                result = AttemptResult(response=response)
            except MontraError:  # the pool is exhausted, a file can't be read: another attempt would not help
                raise
            except Exception as error:
                result = self._failure(error, request, route)
            started, now = now, session.loop.time()
            result.elapsed = now - started
            self._hook_runner.attempt_ended(request, result)

            pause = self._pause(request, options, result, route, end - now)
            if pause is None:
                return result.response_or_raise()
            _note_what_may_be_done(request, result)
            self._hook_runner.retry_scheduled(request, result, pause)
            if pause:
                await asyncio.sleep(pause)
                now = session.loop.time()

    async def _attempt(self, session: LoopSession, request: Request, options: CallOptions, route: Route) -> RawResponse:
        """Send once, within the pool's limit. An open stream keeps its place in the pool until it ends."""
        if not try_acquire(session.semaphore):
            await self._wait_for_connection(session, request, options.timeout.pool)
        stream = None
        try:
            request.sent = True
            response = await self._request(session, request, options, route)
            limit = options.max_response_size if response.status < 300 else min(ERROR_SIZE, options.max_response_size)
            if not request.streams:
                body, truncated = await session.strategy.read_body(response, limit)
            elif 200 <= response.status < 300:
                stream = Stream(response, request.info(), session.semaphore.release, self, limit, self.scrub)
                session.streams.add(stream)
                body, truncated = b"", False
            else:
                body, truncated = await _read_error(session, response, limit, options.error_timeout)
        finally:
            if stream is None:
                session.semaphore.release()
        return RawResponse(
            status=response.status,
            headers=response.headers,
            body=body,
            reason=response.reason,
            stream=stream,
            limit=options.max_response_size if truncated else None,
        )

    def _request(
        self, session: LoopSession, request: Request, options: CallOptions, route: Route
    ) -> Awaitable[aiohttp.ClientResponse]:
        """The response's headers."""
        body, takes_time = _payload(request.body)
        strategy = session.strategy
        sending = strategy.request(
            request.method,
            route.url(request.url),
            data=body,
            headers=self._headers(options.headers, request.headers),
            timeout=eager_timeout_of(options) if takes_time or request.streams else strategy.timeout(options),
            allow_redirects=False,
            raise_for_status=False,  # whatever the default of a user's session is
        )
        if route.response_timeout is None:
            return sending
        return _within(Deadline(session.deadlines, session.loop.time() + route.response_timeout), sending)

    async def _wait_for_connection(self, session: LoopSession, request: Request, seconds: float | None) -> None:
        try:
            with Deadline(session.deadlines, session.loop.time() + (seconds or _FOREVER)):
                await session.semaphore.acquire()
        except TimeoutError:
            size = self._sessions.pool_size
            problem = f"no connection became free within {seconds:g} s: all {size} of the pool are in use"
            error = PoolTimeoutError(problem, request.info(), sent=request.sent, phase="pool")
            self._hook_runner.attempt_interrupted(request, error)
            raise error from None

    def _failure(self, error: Exception, request: Request, route: Route) -> AttemptResult:
        """What an exception of an attempt means.

        Raises:
            MontraError: it was raised by the SDK inside aiohttp, such as for a file that can't be read.
        """
        ours = raised_by_us(error)
        if ours is not None:
            without_frames(ours)
            raise ours from ours.__cause__
        if is_closed_session(error):
            request.sent = request.sent_earlier
            raise NetworkError("the client was closed before the call was sent", request.info(), sent=False)
        url = route.url(request.url)
        proxy = self._connection.proxy_of(url)
        named = None if proxy is None else proxy.host
        failure = failure_of(error, request.info(), url.authority, proxy=named, scrub=self.scrub)
        emptied(error)
        if not failure.error.sent:
            request.sent = request.sent_earlier
        return AttemptResult(failure=failure)

    def _pause(
        self, request: Request, options: CallOptions, result: AttemptResult, route: Route, remaining: float
    ) -> float | None:
        """Seconds until the next attempt; None when this outcome is final. `remaining` is in seconds."""
        response, failure = result.response, result.failure
        if response is not None and response.status < 400:
            return None
        if self._routing.switches(request, result, route):
            return 0.0
        if response is not None:
            retryable = request.repeatable and response.status in RETRY_STATUSES
        else:
            retryable = failure is not None and failure.retryable and (request.repeatable or not request.sent)
        if not retryable:
            return None
        if request.remaining is not None:
            remaining = min(remaining, request.remaining())
        return next_pause(
            attempt=request.attempts,
            max_attempts=options.max_attempts,
            remaining=min(remaining, _LONGEST_RETRY_AFTER),
            jitter=self._jitter,
            retry_after=None if response is None else response.retry_after,
            dropped=failure is not None and failure.dropped,
        )


def _note_what_may_be_done(request: Request, result: AttemptResult) -> None:
    """Remember of an attempt, after which another one follows, whether it may have been executed."""
    if result.failure is not None:
        lost = uncertain = result.failure.error.sent
    else:
        status = result.response_or_raise().status
        lost = status in LOST_STATUSES
        uncertain = lost or not 400 <= status < 500
    request.lost = request.lost or lost
    request.uncertain = request.uncertain or uncertain


def _payload(body: bytes | Callable[[], Any] | None) -> tuple[Any, bool]:
    """What aiohttp is given to send, and whether sending it takes time, in which the server has nothing to answer yet.

    aiohttp warns of large bytes, which it would write at once; a file object goes in pieces.
    """
    if body is None:
        return None, False
    if callable(body):
        return body(), True
    size = len(body)
    return (body if size <= _LARGE_BODY else BytesIO(body)), size > _SMALL_BODY


def _merged(first: Mapping[str, str], second: Mapping[str, str]) -> Mapping[str, str]:
    return {**first, **second} if first else second


def _merged_with(
    base: Callable[[], Mapping[str, str]], first: Mapping[str, str], second: Mapping[str, str]
) -> Mapping[str, str]:
    return {**base(), **first, **second}


async def _within(deadline: Deadline, sending: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
    with deadline:
        return await sending


async def _read_error(
    session: LoopSession, response: aiohttp.ClientResponse, limit: int, seconds: float
) -> tuple[bytes, bool]:
    """The body of an error that answers a call without time-outs, and whether it was cut."""
    with contextlib.suppress(TimeoutError), Deadline(session.deadlines, session.loop.time() + seconds):
        return await session.strategy.read_body(response, limit)
    return b"", True
