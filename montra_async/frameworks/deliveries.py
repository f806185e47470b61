"""What every webhook view does with a body: read no more of it than is allowed, whatever the sender claims."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable

import anyio

from ..webhooks import Reply, WebhookReceiver

log = logging.getLogger("montra.frameworks")

_AT_ONCE = 256 * 1024

BODY_TIMEOUT = 30.0
"""Seconds for a whole body. Synchronous servers have time-outs of their own; asynchronous ones wait for ever."""

TOO_SLOW = Reply(
    status=408,
    body=b'{"status": "too_slow", "detail": "the body did not come in time"}',
    headers={"Content-Type": "application/json"},
)
UNREADABLE = Reply(
    status=400,
    body=b'{"status": "unreadable", "detail": "the body was cut off, or its transfer or content coding is broken"}',
    headers={"Content-Type": "application/json"},
)


class _Body:
    """What has come so far: kept up to the receiver's limit, then thrown away up to twice of it.

    A server that closes a connection while the sender still writes may take its own answer back (TCP resets): a body
    that is a little too large is read to its end, so that its sender surely hears of it.
    """

    def __init__(self, declared: str | None, receiver: WebhookReceiver) -> None:
        self._receiver = receiver
        self._kept = bytearray()
        digits = (declared or "").strip().lstrip("0")
        announced = digits.isdecimal() and (len(digits) > 18 or int(digits) > 2 * receiver.largest)
        self.left = 0 if announced else 2 * receiver.largest + 1
        """Bytes still to be read, at most. None, when far too much is announced, which may never come."""
        self._too_large = announced

    def take(self, chunk: bytes) -> None:
        self.left = max(0, self.left - len(chunk))
        if self._too_large or len(self._kept) + len(chunk) > self._receiver.largest:
            self._too_large = True
            self._kept.clear()
        else:
            self._kept += chunk

    def whole(self) -> bytes | Reply:
        return self._receiver.too_large() if self._too_large else bytes(self._kept)


async def read_chunks(chunks: AsyncIterable[bytes], declared: str | None, receiver: WebhookReceiver) -> bytes | Reply:
    """The body of a request, or what to answer when it is too large or broken.

    Args:
        chunks: of the body.
        declared: the Content-Length header, if there is one.
        receiver: says how many bytes are allowed.
    """
    body = _Body(declared, receiver)
    if not body.left:
        return body.whole()
    try:
        with anyio.fail_after(BODY_TIMEOUT):
            async for chunk in chunks:
                body.take(chunk)
                if not body.left:
                    break
    except TimeoutError:
        return TOO_SLOW
    except Exception as error:
        return unreadable(error)
    return body.whole()


def read_stream(
    read: Callable[[int], bytes],
    declared: str | None,
    receiver: WebhookReceiver,
    too_large: tuple[type[Exception], ...] = (),
) -> bytes | Reply:
    """The same for a stream, of which one `read` may give less than is there.

    Args:
        read: of the stream; its argument is a number of bytes.
        declared: the Content-Length header, if there is one.
        receiver: says how many bytes are allowed.
        too_large: what `read` raises at a lower limit of the application's.
    """
    body = _Body(declared, receiver)
    try:
        while body.left and (chunk := read(min(body.left, _AT_ONCE))):
            body.take(chunk)
    except too_large:
        return receiver.too_large()
    except Exception as error:
        return unreadable(error)
    return body.whole()


def unreadable(error: Exception) -> Reply:
    """A sender that hangs up or breaks the protocol is no failure of the application."""
    log.warning("a webhook's body can't be read: %s", type(error).__name__)
    return UNREADABLE
