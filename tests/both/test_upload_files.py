"""Files that block, break, change or lie while they are uploaded."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from montra_async import InvalidArgumentError, RequestTimeoutError
from montra_async.paywall import PaywallError
from montra_sandbox import Sandbox

from ..processes import run_program

fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")


@pytest.fixture
def no_thread_left() -> Any:
    """Threads that read files end when they can."""
    yield
    for thread in threading.enumerate():
        if thread.name == "montra-file":
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def pipe() -> Any:
    """A pipe: an open file to read from, and the file descriptor of its other end."""
    reading, writing = os.pipe()
    with open(reading, "rb") as file:
        yield file, writing
    os.close(writing)


class Sink:
    """A server of files that keeps what it gets, and refuses as often as it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.refusals = 0
        self.types: list[str] = []
        self.bodies: list[bytes] = []

    async def files(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.types.append(request.headers["Content-Type"])
        self.bodies.append(body)
        if self.refusals > 0:
            self.refusals -= 1
            return web.json_response({}, status=503, headers={"Retry-After": "0"})
        data = {"id": "f", "name": "n", "size": len(body), "type": "t", "url": "https://x"}
        return web.json_response({"success": True, "data": data}, status=201)

    @property
    def contents(self) -> list[bytes]:
        """The files in the bodies."""
        return [body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0] for body in self.bodies]


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/api/v1/files", sink.files)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sink.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1"
    yield sink
    await runner.cleanup()


@pytest.fixture
async def client(connect: Any, sink: Any) -> AsyncIterator[Any]:
    async with connect("sk_test_x", sink.url) as client:
        yield client


# Files that block


@pytest.mark.usefixtures("no_thread_left")
async def test_the_total_holds_while_a_pipe_is_silent(client: Any, pipe: Any) -> None:
    file, writing = pipe
    os.write(writing, b"first")
    with pytest.raises(RequestTimeoutError) as caught:
        await client.with_options(timeout=0.3).upload_file(file, name="a")
    assert caught.value.phase == "total"
    await asyncio.wait_for(asyncio.to_thread(file.close), 30)  # the thread doesn't hold it


@pytest.mark.usefixtures("no_thread_left")
async def test_a_pipe_that_is_written_slowly(client: Any, sink: Sink, pipe: Any) -> None:
    file, writing = pipe
    pieces = [b"x" * 10, b"y" * 60_000, b"z"]

    def write() -> None:
        with os.fdopen(os.dup(writing), "wb", buffering=0) as end:
            os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # the last writer
            for piece in pieces:
                end.write(piece)
                threading.Event().wait(0.15)

    writer = threading.Thread(target=write)
    writer.start()
    await client.upload_file(file, name="a")
    writer.join()
    assert sink.contents == [b"".join(pieces)]


@pytest.mark.usefixtures("no_thread_left")
async def test_what_was_read_ahead_from_a_pipe_is_sent_too(client: Any, sink: Sink) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as file:
        os.write(writing, b"0123456789")
        assert file.read(4) == b"0123"
        os.close(writing)
        await client.upload_file(file, name="a")
    assert sink.contents == [b"456789"]


class Hanging(io.RawIOBase):
    """A file of somebody's own: nobody knows how to wait for it."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def read(self, size: int = -1) -> bytes:
        self.over.wait(60)
        return b""


@pytest.mark.usefixtures("no_thread_left")
async def test_the_total_holds_while_any_file_hangs(client: Any) -> None:
    file = Hanging()
    try:
        for _ in range(3):
            with pytest.raises(RequestTimeoutError):
                await client.with_options(timeout=0.2).upload_file(file, name="a")
        assert (await client.upload_file(b"x")).id == "f"
    finally:
        file.over.set()


HANGS = {
    "async": """
import asyncio
from montra_async import Montra, MontraError
async def main():
    async with Montra() as client:
        try:
            await client.with_options(timeout=0.5).upload_file(file, name='a')
        except MontraError as error:
            print(type(error).__name__)
asyncio.run(main())
""",
    "sync": """
from montra_sync import Montra, MontraError
try:
    Montra(timeout=0.5).upload_file(file, name='a')
except MontraError as error:
    print(type(error).__name__)
""",
}
FILES = {
    "a pipe": "import os; r, w = os.pipe(); file = open(r, 'rb')",
    "an object": """
import threading
class file:
    def read(size): threading.Event().wait()
""",
}


@pytest.mark.parametrize("program", HANGS.values(), ids=HANGS)
@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_file_that_hangs_does_not_hold_up_the_end_of_the_process(served: str, file: str, program: str) -> None:
    assert run_program(f"{file}\n{program}\nif 'r' in globals(): file.close(); os.close(w)", served) == (
        "RequestTimeoutError"
    )


# Paths


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


@fifos
@pytest.mark.usefixtures("no_thread_left")
async def test_a_path_that_is_no_regular_file(client: Any, sink: Sink, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(_fifo(tmp_path / "fifo"))
    for path in (tmp_path / "fifo", link, Path("/dev/zero")):
        with pytest.raises(InvalidArgumentError, match=r"not a regular file; open it with mode 'rb'"):
            await client.upload_file(path)
    with pytest.raises(InvalidArgumentError, match="Is a directory"):
        await client.upload_file(tmp_path)
    assert sink.bodies == []


@fifos
@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize("change", ["fifo", "gone", "shorter"])
async def test_a_path_that_changes_before_it_is_sent(connect: Any, sink: Any, tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 200_000)
    requests: list[object] = []

    def on_request(event: object) -> None:
        requests.append(event)
        path.unlink()
        if change == "fifo":
            os.mkfifo(path)
        elif change == "shorter":
            path.write_bytes(b"x" * 100)

    async with connect("sk_test_x", sink.url, on_request=on_request, timeout=20) as client:
        problem = {"fifo": "not a regular", "gone": "No such file", "shorter": "ended 199900 bytes before"}[change]
        with pytest.raises(InvalidArgumentError, match=problem) as caught:
            await client.upload_file(path)
    assert caught.value.parameter == "file"
    assert len(requests) == 1
    assert sink.bodies == []


async def test_a_file_that_grows_is_sent_as_long_as_it_was(connect: Any, sink: Any, tmp_path: Path) -> None:
    """Its length stands in the request's headers already."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 100)

    def on_request(_: object) -> None:
        path.write_bytes(b"x" * 100 + b"y" * 100)

    async with connect("sk_test_x", sink.url, on_request=on_request) as client:
        await client.upload_file(path)
        with path.open("rb") as file:
            await client.upload_file(file)
    assert sink.contents == [b"x" * 100, b"x" * 100 + b"y" * 100]
    assert all(body.endswith(b"--\r\n") for body in sink.bodies)


# Files that break


class Broken(io.RawIOBase):
    def __init__(self, outcome: object, *, seekable: bool) -> None:
        self.outcome = outcome
        self.pieces = [b"x" * 1000]
        self.seekable = lambda: seekable  # type: ignore[method-assign]

    def read(self, size: int = -1) -> Any:
        if self.pieces:
            return self.pieces.pop()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def tell(self) -> int:
        if not self.seekable():
            raise OSError("no")
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return 5000 if whence else 0


OUTCOMES = [OSError(5, "Input/output error"), RuntimeError("x"), StopIteration(), SystemExit(3), EOFError(), "text"]


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
async def test_a_file_that_breaks_is_an_argument_that_was_wrong(
    connect: Any, sink: Any, outcome: Any, seekable: bool
) -> None:
    """Neither OSError nor NetworkError comes out, and it isn't tried again."""
    requests: list[object] = []
    async with connect("sk_test_x", sink.url, on_request=requests.append) as client:
        with pytest.raises(InvalidArgumentError, match=r"gave no bytes|reading it failed with") as caught:
            await client.upload_file(Broken(outcome, seekable=seekable), name="a")
        assert len(requests) == 1
        if isinstance(outcome, BaseException):
            assert caught.value.__cause__ is outcome
        assert (await client.upload_file(b"x")).id == "f"
    assert len(sink.bodies) == 1


async def test_a_closed_file(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        pass
    with pytest.raises(InvalidArgumentError, match="closed file"):
        await client.upload_file(file)


async def test_whatever_tell_and_seek_raise(client: Any, sink: Sink) -> None:
    left = [b"abc"]

    class Odd(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return left.pop() if left else b""

        def tell(self) -> int:
            raise LookupError

    await client.upload_file(Odd(), name="a")
    assert sink.contents == [b"abc"]


async def test_a_large_file_is_read_in_small_pieces(client: Any, sink: Sink) -> None:
    sizes: list[int] = []

    class Large(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            sizes.append(size)
            return super().read(size)

    await client.upload_file(Large(b"x" * 10_000_000), name="a")
    assert sink.contents == [b"x" * 10_000_000]
    assert 0 < max(sizes) <= 64 * 1024
    assert min(sizes) > 0


# The boundary


def _boundary(content_type: str) -> str:
    return content_type.split("boundary=")[1].strip('"')


async def test_the_boundary_is_random_for_each_call_and_the_same_for_each_try(client: Any, sink: Sink) -> None:
    boundaries: list[str] = []
    for _ in range(4):
        sink.refusals = 1
        await client.upload_file(b"x", idempotency_key="the-same-key")
        first, second = map(_boundary, sink.types[-2:])
        assert first == second
        assert sink.bodies[-2] == sink.bodies[-1]
        boundaries.append(first)
    assert len(set(boundaries)) == 4
    assert all(len(boundary) >= 32 for boundary in boundaries)


async def test_content_that_holds_the_boundary_of_another_call_arrives_whole(client: Any, sink: Sink) -> None:
    await client.upload_file(b"x", idempotency_key="k")
    forged = b'\r\n--%s\r\nContent-Disposition: form-data; name="file"\r\n\r\n!' % _boundary(sink.types[0]).encode()
    await client.upload_file(forged, idempotency_key="k")
    assert sink.contents[1].startswith(forged)
    assert sink.bodies[1].count(_boundary(sink.types[1]).encode()) == 2


# The paywall service


async def test_files_of_a_ticket(kinds: Any, sandbox: Sandbox, pipe: Any) -> None:
    billing = kinds.BillingClient(sandbox.paywall_id, sandbox.url, sandbox.api_key, timeout=0.4)
    ticket = {"subject": "s", "content": "c", "email": "a@example.com"}
    with pytest.raises(PaywallError) as caught:
        await billing.create_support_ticket(**ticket, files=[pipe[0]])
    assert caught.value.code == "timeout"
    with pytest.raises(PaywallError, match=r"files\[0\]: reading it failed with OSError") as caught:
        await billing.create_support_ticket(**ticket, files=[Broken(OSError(5, "x"), seekable=False)])
    assert caught.value.code == "invalid_argument"
    await billing.aclose()


async def test_bodies_of_the_gateway(kinds: Any, sandbox: Sandbox) -> None:
    gateway = kinds.ApiGatewayClient(sandbox.paywall_id, sandbox.url, user_id="u")
    with pytest.raises(PaywallError, match="body: reading it failed with OSError") as caught:
        await gateway.call("echo", body=Broken(OSError(5, "x"), seekable=True))
    assert caught.value.code == "invalid_argument"
    await gateway.aclose()
