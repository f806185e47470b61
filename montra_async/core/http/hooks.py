"""Tell hooks and log what happens to a call. Neither may ever disturb it, or learn a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..decoding import clean_name
from ..options import CallEvent, Hook, Hooks
from .messages import AttemptResult, Request

log = logging.getLogger("montra")


class HookRunner:
    """One client's hooks, and the logger `montra`: every try at DEBUG, every retry at INFO."""

    def __init__(self, hooks: Hooks, scrub: Callable[[str], str]) -> None:
        self._hooks = hooks
        self._scrub = scrub

    def listens(self) -> bool:
        """Does anybody want to hear of an answer that is good?"""
        return self._hooks.on_response is not None or log.isEnabledFor(logging.DEBUG)

    def begins(self, call: Request) -> None:
        if self._hooks.on_request is not None:
            self._tell(self._hooks.on_request, call, None)

    def ended(self, call: Request, outcome: AttemptResult) -> None:
        if self._hooks.on_response is not None:
            self._tell(self._hooks.on_response, call, outcome)
        if log.isEnabledFor(logging.DEBUG):
            milliseconds = outcome.elapsed * 1000
            words = (call.method, call.path, _what(outcome), milliseconds, call.attempts)
            log.debug("%s %s -> %s in %.1f ms, try %d", *words)

    def tries_again(self, call: Request, outcome: AttemptResult, pause: float) -> None:
        if self._hooks.on_retry is not None:
            self._tell(self._hooks.on_retry, call, outcome, pause)
        log.info("%s %s: %s; trying again in %.2f s", call.method, call.path, _what(outcome), pause)

    def _tell(self, hook: Hook, call: Request, outcome: AttemptResult | None, pause: float | None = None) -> None:
        answer = None if outcome is None else outcome.answer
        event = CallEvent(
            method=call.method,
            path=call.path,
            attempt=call.attempts,
            elapsed=0.0 if outcome is None else outcome.elapsed,
            status=None if answer is None else answer.status,
            request_id=None
            if answer is None or answer.request_id is None
            else clean_name(answer.request_id, self._scrub),
            error=None if outcome is None or outcome.failure is None else outcome.failure.error,
            pause=pause,
        )
        try:
            hook(event)
        except Exception:
            log.exception("a hook of the user failed on %s %s", call.method, call.path)


def _what(outcome: AttemptResult) -> object:
    if outcome.answer is not None:
        return outcome.answer.status
    return None if outcome.failure is None else outcome.failure.error
