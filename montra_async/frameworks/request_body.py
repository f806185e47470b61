"""Read the body of a webhook request: no more than the receiver allows, whatever the sender announces."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable

import anyio

from ..webhooks import Reply, WebhookReceiver

log: logging.Logger = logging.getLogger("montra.frameworks")

_CHUNK_SIZE = 256 * 1024

BODY_TIMEOUT = 30.0
"""Seconds for a whole body. Synchronous servers have time-outs of their own; asynchronous servers have none."""

TOO_SLOW = Reply(
    status=408,
    body=b'{"status": "too_slow", "detail": "the body did not arrive in time"}',
    headers={"Content-Type": "application/json"},
)
UNREADABLE = Reply(
    status=400,
    body=b'{"status": "unreadable", "detail": "the body was cut off, or its transfer or content coding is broken"}',
    headers={"Content-Type": "application/json"},
)


class _BodyBuffer:
    """The bytes that have arrived: kept up to the receiver's limit, then discarded up to twice the limit.

    A server that closes a connection while the sender still writes may lose its own response (TCP reset). A body that
    is a little too large is therefore read to its end, so that the sender receives the response.
    """

    def __init__(self, content_length: str | None, receiver: WebhookReceiver) -> None:
        self._receiver = receiver
        self._kept = bytearray()
        digits = (content_length or "").strip().lstrip("0")
        announced = digits.isdecimal() and (len(digits) > 18 or int(digits) > 2 * receiver.max_body_size)
        self.left = 0 if announced else 2 * receiver.max_body_size + 1
        """Bytes still to be read, at most; 0 when the announced length is far too large."""
        self._too_large = announced

    def add(self, chunk: bytes) -> None:
        self.left = max(0, self.left - len(chunk))
        if self._too_large or len(self._kept) + len(chunk) > self._receiver.max_body_size:
            self._too_large = True
            self._kept.clear()
        else:
            self._kept += chunk

    def result(self) -> bytes | Reply:
        return self._receiver.too_large() if self._too_large else bytes(self._kept)


async def read_chunks(
    chunks: AsyncIterable[bytes], content_length: str | None, receiver: WebhookReceiver
) -> bytes | Reply:
    """Read a body from an async iterator.

    Args:
        chunks: the chunks of the body.
        content_length: the Content-Length header, or None.
        receiver: the receiver, whose `max_body_size` is the limit.

    Returns:
        The body, or the response when it is too large, too slow or broken.
    """
    body = _BodyBuffer(content_length, receiver)
    if not body.left:
        return body.result()
    try:
        with anyio.fail_after(BODY_TIMEOUT):
            async for chunk in chunks:
                body.add(chunk)
                if not body.left:
                    break
    except TimeoutError:
        return TOO_SLOW
    except Exception as error:
        return unreadable(error)
    return body.result()


def read_stream(
    read: Callable[[int], bytes],
    content_length: str | None,
    receiver: WebhookReceiver,
    too_large: tuple[type[Exception], ...] = (),
) -> bytes | Reply:
    """Read a body from a blocking stream.

    Args:
        read: reads at most the given number of bytes; returns `b""` at the end.
        content_length: the Content-Length header, or None.
        receiver: the receiver, whose `max_body_size` is the limit.
        too_large: exceptions of `read` which mean that the body exceeds a lower limit of the application. Default:
            none.

    Returns:
        The body, or the response when it is too large or broken.
    """
    body = _BodyBuffer(content_length, receiver)
    try:
        while body.left and (chunk := read(min(body.left, _CHUNK_SIZE))):
            body.add(chunk)
    except too_large:
        return receiver.too_large()
    except Exception as error:
        return unreadable(error)
    return body.result()


def unreadable(error: Exception) -> Reply:
    """Log that a sender closed the connection or broke the protocol, and return the response."""
    log.warning("a webhook's body can't be read: %s", type(error).__name__)
    return UNREADABLE
