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

    def attempt_started(self, call: Request) -> None:
        """Before a request is sent."""
        if self._hooks.on_request is not None:
            self._run(self._hooks.on_request, call, None)

    def attempt_ended(self, call: Request, outcome: AttemptResult) -> None:
        """After a response or a failure."""
        if self._hooks.on_response is not None:
            self._run(self._hooks.on_response, call, outcome)
        if log.isEnabledFor(logging.DEBUG):
            milliseconds = outcome.elapsed * 1000
            values = (call.method, call.path, _result_of(outcome), milliseconds, call.attempts)
            log.debug("%s %s -> %s in %.1f ms, attempt %d", *values)

    def retry_scheduled(self, call: Request, outcome: AttemptResult, pause: float) -> None:
        """Before the pause, in seconds, that precedes another attempt."""
        if self._hooks.on_retry is not None:
            self._run(self._hooks.on_retry, call, outcome, pause)
        log.info("%s %s: %s; trying again in %.2f s", call.method, call.path, _result_of(outcome), pause)

    def _run(self, hook: Hook, call: Request, outcome: AttemptResult | None, pause: float | None = None) -> None:
        answer = None if outcome is None else outcome.answer
        request_id = None if answer is None else answer.request_id
        event = CallEvent(
            method=call.method,
            path=call.path,
            attempt=call.attempts,
            elapsed=0.0 if outcome is None else outcome.elapsed,
            status=None if answer is None else answer.status,
            request_id=None if request_id is None else clean_name(request_id, self._scrub),
            error=None if outcome is None or outcome.failure is None else outcome.failure.error,
            pause=pause,
        )
        try:
            hook(event)
        except Exception:
            log.exception("a hook of the user failed on %s %s", call.method, call.path)


def _result_of(outcome: AttemptResult) -> object:
    """The status of the response, or the error."""
    if outcome.answer is not None:
        return outcome.answer.status
    return None if outcome.failure is None else outcome.failure.error
