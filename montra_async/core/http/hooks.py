"""Hooks and the log: what happens to a call. Neither may ever disturb the call, or be told a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..log_setup import as_line, log_from_environment
from ..options import CallEvent, Hook, Hooks
from ..redaction import clean_name
from .endpoints import EndpointTable
from .messages import AttemptResult, Request

log: logging.Logger = logging.getLogger("montra")


class HookRunner:
    """Runs the hooks of one client, and writes to the logger `montra`: attempts at DEBUG, retries at INFO.

    With the environment variable `MONTRA_LOG`, attempts are lines at INFO that name the operation, not its ids.

    Args:
        hooks: of the user.
        scrub: removes known secrets from a text.
        endpoints: gives the endpoints of the service.
    """

    def __init__(
        self, hooks: Hooks, scrub: Callable[[str], str], endpoints: Callable[[], EndpointTable] | None = None
    ) -> None:
        self._hooks = hooks
        self._scrub = scrub
        self._endpoints = endpoints
        self._writes_lines = log_from_environment()
        self._wants_successes = hooks.on_response is not None or self._writes_lines

    def wants_successes(self) -> bool:
        """Whether a hook, or the log, is told of successful attempts."""
        return self._wants_successes or log.isEnabledFor(logging.DEBUG)

    def attempt_started(self, request: Request) -> None:
        """Before a request is sent."""
        if self._writes_lines and log.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, "attempt_started", request)
        if self._hooks.on_request is not None:
            self._run(self._hooks.on_request, request, None)

    def attempt_ended(self, request: Request, result: AttemptResult) -> None:
        """After a response or a failure."""
        if self._hooks.on_response is not None:
            self._run(self._hooks.on_response, request, result)
        if self._writes_lines:
            self._write(logging.INFO, "attempt", request, result, ms=result.elapsed * 1000)
        elif log.isEnabledFor(logging.DEBUG):
            milliseconds = result.elapsed * 1000
            values = (request.method, request.path, _result_of(result), milliseconds, request.attempts)
            log.debug("%s %s -> %s in %.1f ms, attempt %d", *values)

    def retry_scheduled(self, request: Request, result: AttemptResult, pause: float) -> None:
        """Before the pause, in seconds, that precedes another attempt."""
        if self._hooks.on_retry is not None:
            self._run(self._hooks.on_retry, request, result, pause)
        if self._writes_lines:
            self._write(logging.INFO, "retry", request, result, pause_ms=pause * 1000)
        else:
            log.info("%s %s: %s; trying again in %.2f s", request.method, request.path, _result_of(result), pause)

    def attempt_interrupted(self, request: Request, error: BaseException) -> None:
        """An attempt was ended by a time-out of the whole call, by a cancellation, or because the client was closed."""
        if self._writes_lines:
            self._write(logging.INFO, "attempt", request, error=type(error).__name__)

    def _write(
        self, level: int, event: str, request: Request, result: AttemptResult | None = None, **more: object
    ) -> None:
        """Log a line about an attempt: what it was for, but for whom neither in a path nor in a message."""
        table = None if self._endpoints is None else self._endpoints()
        endpoint = None if table is None else table.find(request.method, request.path)
        response = None if result is None else result.response
        failure = None if result is None or result.failure is None else result.failure.error
        request_id = None if response is None else response.request_id
        fields = {
            "event": event,
            "service": None if table is None else table.service,
            "op": None if endpoint is None else endpoint.operation,
            "method": request.method,
            "path": None if endpoint is None else endpoint.template,
            "status": None if response is None else response.status,
            "error": None if failure is None else type(failure).__name__,
            "attempt": request.attempts,
            **more,
            "request_id": None if request_id is None else clean_name(request_id, self._scrub),
        }
        given = {name: value for name, value in fields.items() if value is not None}
        log.log(level, "%s", as_line(given), extra={"montra": given})

    def _run(self, hook: Hook, request: Request, result: AttemptResult | None, pause: float | None = None) -> None:
        response = None if result is None else result.response
        request_id = None if response is None else response.request_id
        event = CallEvent(
            method=request.method,
            path=request.path,
            attempt=request.attempts,
            elapsed=0.0 if result is None else result.elapsed,
            status=None if response is None else response.status,
            request_id=None if request_id is None else clean_name(request_id, self._scrub),
            error=None if result is None or result.failure is None else result.failure.error,
            pause=pause,
        )
        try:
            hook(event)
        except Exception:
            log.exception("a hook of the user failed on %s %s", request.method, request.path)


def _result_of(result: AttemptResult) -> object:
    """The status of the response, or the error."""
    if result.response is not None:
        return result.response.status
    return None if result.failure is None else result.failure.error
