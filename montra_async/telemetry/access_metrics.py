"""Counters of decisions about access: where they come from, and whether they allow."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..access.errors import AccessDeniedError
from ..core.deprecation import is_coroutine_function
from . import attributes as names
from .recorder import guarded

ACCESS_SOURCE = "montra.access.source"
ALLOWED = "montra.access.allowed"


def counted_methods(kind: type) -> dict[str, Any]:
    """The methods of a class of `Access`, asynchronous or not, that count.

    Args:
        kind: the class.
    """
    counted = {"check": _decision, "peek": _decision, "reserve": _hold, "try_reserve": _attempted_hold}
    return {name: _counting(getattr(kind, name), count) for name, count in counted.items() if hasattr(kind, name)}


def _counting(
    method: Callable[..., Any], count: Callable[[Any, Any, BaseException | None], None]
) -> Callable[..., Any]:
    if is_coroutine_function(method):

        @wraps(method)
        async def call_async(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            try:
                result = await method(self, *args, **kwargs)
            except Exception as error:
                count(self, None, error)
                raise
            count(self, result, None)
            return result

        return call_async

    @wraps(method)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            result = method(self, *args, **kwargs)
        except Exception as error:
            count(self, None, error)
            raise
        count(self, result, None)
        return result

    return call


@guarded
def _decision(access: Any, decision: Any, error: BaseException | None) -> None:
    recorder = getattr(access, "telemetry_recorder", None)
    if recorder is None:
        return
    if error is not None:
        recorder.access_decisions.add(1, {names.ERROR_TYPE: names.error_type(error)})
    else:
        recorder.access_decisions.add(1, {ACCESS_SOURCE: decision.source, ALLOWED: decision.allowed})


def _attempted_hold(access: Any, granted: Any, error: BaseException | None) -> None:
    """A hold that was not granted at once is asked for once more, with `reserve`."""
    if granted:
        _hold(access, granted, error)


@guarded
def _hold(access: Any, _: Any, error: BaseException | None) -> None:
    recorder = getattr(access, "telemetry_recorder", None)
    if recorder is None:
        return
    labels = {ALLOWED: error is None}
    if error is not None and not isinstance(error, AccessDeniedError):
        recorder.access_holds.add(1, {names.ERROR_TYPE: names.error_type(error)})
    else:
        recorder.access_holds.add(1, labels)
