"""What every webhook view does with a body: read no more of it than is allowed, whatever the sender claims."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable

import anyio

from ..webhooks import Reply, WebhookReceiver

log = logging.getLogger("montra.frameworks")

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


async def read_chunks(chunks: AsyncIterable[bytes], declared: str | None, receiver: WebhookReceiver) -> bytes | Reply:
    """The body of a request, or what to answer when it is too large or broken.

    Args:
        chunks: of the body.
        declared: the Content-Length header, if there is one.
        receiver: says how many bytes are allowed.
    """
    if _says_too_much(declared, receiver):
        return receiver.too_large()
    body = bytearray()
    try:
        with anyio.fail_after(BODY_TIMEOUT):
            async for chunk in chunks:
                body += chunk
                if len(body) > receiver.largest:
                    return receiver.too_large()
    except TimeoutError:
        return TOO_SLOW
    except Exception as error:
        return unreadable(error)
    return bytes(body)


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
    if _says_too_much(declared, receiver):
        return receiver.too_large()
    body = bytearray()
    try:
        while chunk := read(receiver.largest + 1 - len(body)):
            body += chunk
            if len(body) > receiver.largest:
                return receiver.too_large()
    except too_large:
        return receiver.too_large()
    except Exception as error:
        return unreadable(error)
    return bytes(body)


def _says_too_much(declared: str | None, receiver: WebhookReceiver) -> bool:
    """Whether nothing needs to be read: the sender may never send what it has announced."""
    digits = (declared or "").strip().lstrip("0")
    return digits.isdecimal() and (len(digits) > 18 or int(digits) > receiver.largest)


def unreadable(error: Exception) -> Reply:
    """A sender that hangs up or breaks the protocol is no failure of the application."""
    log.warning("a webhook's body can't be read: %s", type(error).__name__)
    return UNREADABLE
