"""What every webhook view does with a body: read no more of it than is allowed, whatever the sender claims."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable

from ..webhooks import Reply, WebhookReceiver

log = logging.getLogger("montra.frameworks")

UNREADABLE = Reply(
    status=400,
    body=b'{"status": "unreadable", "detail": "the body was cut off, or its transfer or content coding is broken"}',
    headers={"Content-Type": "application/json"},
)


async def read_chunks(chunks: AsyncIterable[bytes], receiver: WebhookReceiver) -> bytes | Reply:
    """The body of a request, or what to answer when it is too large or broken."""
    body = bytearray()
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) > receiver.largest:
                return receiver.too_large()
    except Exception as error:
        return unreadable(error)
    return bytes(body)


def read_stream(
    read: Callable[[int], bytes], receiver: WebhookReceiver, too_large: tuple[type[Exception], ...] = ()
) -> bytes | Reply:
    """The same for a stream, of which one `read` may give less than is there.

    Args:
        read: of the stream; its argument is a number of bytes.
        receiver: says how many bytes are allowed.
        too_large: what `read` raises at a lower limit of the application's.
    """
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


def unreadable(error: Exception) -> Reply:
    """A sender that hangs up or breaks the protocol is no failure of the application."""
    log.warning("a webhook's body can't be read: %s", type(error).__name__)
    return UNREADABLE
