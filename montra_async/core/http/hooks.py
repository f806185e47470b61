"""Hooks and the log: what happens to a call. Neither may ever disturb the call, or be told a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..options import CallEvent, Hook, Hooks
from ..redaction import clean_name
from .messages import AttemptResult, Request

log: logging.Logger = logging.getLogger("montra")


class HookRunner:
    """Runs the hooks of one client, and writes to the logger `montra`: attempts at DEBUG, retries at INFO.

    Args:
        hooks: of the user.
        scrub: removes known secrets from a text.
    """

    def __init__(self, hooks: Hooks, scrub: Callable[[str], str]) -> None:
        self._hooks = hooks
        self._scrub = scrub

    def wants_successes(self) -> bool:
        """Whether a hook, or the log, is told of successful attempts."""
        return self._hooks.on_response is not None or log.isEnabledFor(logging.DEBUG)

    def attempt_started(self, request: Request) -> None:
        """Before a request is sent."""
        if self._hooks.on_request is not None:
            self._run(self._hooks.on_request, request, None)

    def attempt_ended(self, request: Request, result: AttemptResult) -> None:
        """After a response or a failure."""
        if self._hooks.on_response is not None:
            self._run(self._hooks.on_response, request, result)
        if log.isEnabledFor(logging.DEBUG):
            milliseconds = result.elapsed * 1000
            values = (request.method, request.path, _result_of(result), milliseconds, request.attempts)
            log.debug("%s %s -> %s in %.1f ms, attempt %d", *values)

    def retry_scheduled(self, request: Request, result: AttemptResult, pause: float) -> None:
        """Before the pause, in seconds, that precedes another attempt."""
        if self._hooks.on_retry is not None:
            self._run(self._hooks.on_retry, request, result, pause)
        log.info("%s %s: %s; trying again in %.2f s", request.method, request.path, _result_of(result), pause)

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
