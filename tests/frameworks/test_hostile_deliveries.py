"""Whatever is sent to a webhook view, it answers in HTTP, holds no more of it than it may, and goes on."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Callable

import pytest

from montra_async.webhooks.signature import sign

from .conftest import SECRET
from .serving import EVERY, Server

LIMIT = 1024 * 1024
EVENT = json.dumps({"id": "evt_1", "type": "meter.read", "data": {}}).encode()
HOOK = b"POST /webhooks/montra HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"


@pytest.fixture(params=EVERY)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server(name: str, site: Callable[[str], Server]) -> Server:
    server = site(name)
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        except OSError:  # some servers say that they are running a moment before they listen
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return server
    raise AssertionError("the server does not answer")


async def send(server: Server, *parts: bytes, hang_up: bool = False) -> int:
    """The status of the answer to raw bytes; 0 when the server closes without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if hang_up:
            return 0
        line = await asyncio.wait_for(reader.readline(), 20)
        return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0
    finally:
        writer.close()


def headers(**fields: object) -> bytes:
    lines = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in fields.items())
    return HOOK + lines.encode("latin-1") + b"\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def bomb(megabytes: int, wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(megabytes)) + packer.flush()


async def is_well(server: Server) -> bool:
    signed = headers(Montra_Signature=sign(EVENT, SECRET), Content_Length=len(EVENT))
    return await send(server, signed, EVENT) == 200


HOSTILE = {
    "length is no number": [headers(Content_Length="ten"), EVENT],
    "length below zero": [headers(Content_Length=-5), EVENT],
    "length beyond all": [headers(Content_Length=10**30), EVENT],
    "two lengths": [headers(Content_Length=5)[:-2] + b"Content-Length: 6\r\n\r\n", EVENT],
    "chunk of no size": [headers(Transfer_Encoding="chunked"), b"zz\r\nabc\r\n0\r\n\r\n"],
    "chunk below zero": [headers(Transfer_Encoding="chunked"), b"-5\r\nabc\r\n0\r\n\r\n"],
    "chunk without its end": [headers(Transfer_Encoding="chunked"), b"3\r\nabcdef\r\n0\r\n\r\n"],
    "unknown transfer coding": [headers(Transfer_Encoding="brotli"), EVENT],
    "gzip that is none": [headers(Content_Encoding="gzip", Content_Length=len(EVENT)), EVENT],
    "deflate that is none": [headers(Content_Encoding="deflate", Content_Length=len(EVENT)), EVENT],
    "unknown content coding": [headers(Content_Encoding="rot13", Content_Length=len(EVENT)), EVENT],
    "signature of other letters": [headers(Montra_Signature="\xff" * 64, Content_Length=len(EVENT)), EVENT],
    "long signature": [headers(Montra_Signature="0" * 6000, Content_Length=len(EVENT)), EVENT],
    "multipart that is none": [headers(Content_Type="multipart/form-data", Content_Length=len(EVENT)), EVENT],
    "a form": [headers(Content_Type="application/x-www-form-urlencoded", Content_Length=3), b"a=1"],
    "no body": [headers(Content_Length=0)],
    "unknown charset": [headers(Content_Type="application/json; charset=punycode", Content_Length=len(EVENT)), EVENT],
}


async def test_nothing_but_proper_answers(server: Server) -> None:
    for what, parts in HOSTILE.items():
        status = await send(server, b"".join(parts))
        assert status == 0 or status == 501 or 400 <= status < 500, (what, status)
    assert await is_well(server)
    assert not server.crashes(), server.log


async def test_senders_that_hang_up(server: Server) -> None:
    for parts in ([headers(Content_Length=100), b"half"], [headers(Transfer_Encoding="chunked"), chunk(b"half")]):
        for _ in range(3):
            await send(server, *parts, hang_up=True)
    for _ in range(5):
        assert await is_well(server)
    assert not server.crashes(), server.log


async def test_signed_json_that_is_no_event(server: Server) -> None:
    for body in (b"[]", b"null", b'"evt"', b"{", b"\xff\xfe", b'{"id":1}', b"[" * 100_000, b'{"id":NaN}'):
        status = await send(server, headers(Montra_Signature=sign(body, SECRET), Content_Length=len(body)), body)
        assert status == 400, (body[:20], status)
    assert not server.crashes(), server.log


async def test_too_large_is_said_with_and_without_a_length(name: str, server: Server) -> None:
    large = bytes(LIMIT + 1)
    signature = sign(large, SECRET)
    status = await send(server, headers(Montra_Signature=signature, Content_Length=len(large)), large)
    assert status == 413
    chunks = [chunk(large[:100_000]) for _ in range(11)]
    status = await send(server, headers(Transfer_Encoding="chunked"), b"".join(chunks) + b"0\r\n\r\n")
    # Django under WSGI knows no chunks, and sees an empty body.
    assert status == (401 if name == "django" else 413)
    assert await is_well(server)


async def test_an_endless_body_is_answered_before_its_end(name: str, server: Server) -> None:
    if name == "django-async":
        pytest.skip("Django under ASGI reads the whole body before it calls any view")
    status = await send(server, headers(Transfer_Encoding="chunked"), *(chunk(bytes(60_000)) for _ in range(40)))
    assert status in {401 if name == "django" else 413, 0}  # 0: who still sends may lose the answer to a reset
    assert await is_well(server)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("coding", "wbits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_a_bomb_does_not_go_off(name: str, server: Server, coding: str, wbits: int) -> None:
    assert await is_well(server)
    before = server.peak_memory()
    packed = bomb(200, wbits)
    status = await send(server, headers(Content_Encoding=coding, Content_Length=len(packed)), packed)
    assert status == (413 if name == "aiohttp" else 401)  # only aiohttp.web unpacks bodies, all others see a wrong one
    assert server.peak_memory() - before < 40 * 1024 * 1024
    assert await is_well(server)
