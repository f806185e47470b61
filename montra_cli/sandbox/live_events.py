"""What happens in a sandbox, as it happens: its event stream, read again after the sandbox was restarted."""

from __future__ import annotations

import contextlib
import http.client
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import Any, NamedTuple

from ..failures import NETWORK, CliError
from ..json_types import exact_json, is_object
from .control_client import ControlClient

QUIET = 40.0
"""Seconds without a byte after which the connection counts as lost; the sandbox sends a comment every 15 s."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
_MAX_LINE = 4 * 1024 * 1024
_ENDS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]


class LiveEvent(NamedTuple):
    """A thing that happened.

    Attributes:
        kind: `request`, `delivery`, `event`, `clock`, `reset`; `connected` when the stream has begun, again or for the
            first time.
        position: its position in the sandbox's feed; empty for `connected`.
        data: its JSON.
    """

    kind: str
    position: str
    data: dict[str, Any]


class LiveEvents:
    """The feed of one sandbox.

    Args:
        controls: the sandbox.
        on_lost: called once when the connection is lost, before it is tried again.
    """

    def __init__(self, controls: ControlClient, on_lost: Callable[[], object]) -> None:
        self._controls = controls
        self._on_lost = on_lost
        self._last: str | None = None

    def __iter__(self) -> Iterator[LiveEvent]:
        """Yields what happens from now on, without end. A sandbox that is restarted is waited for.

        Raises:
            CliError: the sandbox can't be reached at the beginning, or it has no feed.
        """
        try:
            response = self._open()
        except (OSError, http.client.HTTPException):
            raise CliError(f"no sandbox at {self._controls.url}", NETWORK) from None
        while True:
            with response:
                yield LiveEvent("connected", "", {})
                yield from self._read(response)
            self._on_lost()
            response = self._reopen()

    def _read(self, response: http.client.HTTPResponse) -> Iterator[LiveEvent]:
        """The events of a connection until it is lost."""
        fields: dict[str, str] = {}
        try:
            while line := response.readline(_MAX_LINE):
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                if text:
                    name, _, value = text.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                event = _event(fields)
                fields = {}
                if event is not None:
                    self._last = event.position or self._last
                    yield event
        except (OSError, http.client.HTTPException, ValueError):  # ValueError: closed meanwhile
            return

    def _open(self) -> http.client.HTTPResponse:
        after = "" if self._last is None else f"?after={self._last}"
        return self._controls.stream(f"/live{after}", timeout=QUIET)

    def _reopen(self) -> http.client.HTTPResponse:
        pause = FIRST_PAUSE
        while True:
            time.sleep(pause)
            try:
                return self._open()
            except ConnectionRefusedError:
                self._last = _after_restart(self._last)
            except (OSError, http.client.HTTPException):
                pass
            except CliError as error:  # just starting, or another service has taken the port
                if error.code not in (NETWORK,) and "starting" not in error.message:
                    raise
            pause = min(pause * 2, LONGEST_PAUSE)


def _after_restart(position: str | None) -> str | None:
    """Where to go on in a sandbox that was started anew: messages have new numbers, stored events keep theirs."""
    return None if position is None else f"0-{position.partition('-')[2] or 0}"


def _event(fields: dict[str, str]) -> LiveEvent | None:
    """The event of a block of lines; None for comments and for what is not understood."""
    try:
        data = exact_json(fields["data"])
    except (KeyError, ValueError):
        return None
    return LiveEvent(fields.get("event", "message"), fields.get("id", ""), data) if is_object(data) else None


@contextlib.contextmanager
def ends_well() -> Generator[None, None, None]:
    """Ctrl-C, SIGTERM and a closed terminal end a command that has no other end; what it has to tidy up is done."""
    before = {number: signal.getsignal(number) for number in _ENDS}
    is_ending = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_ending
        if is_ending and number != signal.SIGINT:  # a shutdown sends several; the tidying must not end half-way
            return
        is_ending = True
        raise KeyboardInterrupt

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # `nohup` ignores SIGHUP, and a shell's `&` SIGINT
            signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
