"""A process that forks while its sandbox is busy: no child hangs, and the parent's sandbox goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

COMMON = """
import os, signal, sqlite3, sys, threading, time
from montra_sandbox import Sandbox, forks
from montra_sync import Montra

def child_ended(pid, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "it hangs"

def fork(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return pid
"""


def run(program: str, *arguments: str) -> str:
    # Python 3.12 warns of every fork of a process with threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", COMMON + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_many_forks_under_load(tmp_path: Path, kind: str) -> None:
    """The child opens a database of its own, as a reporter does."""
    program = """
db = ":memory:" if sys.argv[2] == "memory" else sys.argv[1] + "/sandbox.db"
sandbox = Sandbox(db=db)
sandbox.start()
montra = Montra(sandbox.api_key, sandbox.base_url)
over = threading.Event()
made = [0, 0]

def load(which):
    while not over.is_set():
        made[which] += 1
        montra.create_customer(name="A", email=f"{which}-{made[which]}@example.com")

threads = [threading.Thread(target=load, args=(which,)) for which in range(2)]
for thread in threads:
    thread.start()
while min(made) < 3:
    time.sleep(0.01)

def open_one():
    own = sqlite3.connect(sys.argv[1] + f"/{os.getpid()}.db")
    own.execute("CREATE TABLE numbers (number)")
    own.execute("INSERT INTO numbers VALUES (1)")
    own.commit()
    own.close()

ended = [child_ended(fork(open_one)) for _ in range(80)]
over.set()
for thread in threads:
    thread.join()
print(ended.count(0), len(montra.list_customers()) == sum(made))
sandbox.stop()
"""
    assert run(program, str(tmp_path), kind) == "80 True\n"


def test_what_a_child_can_do_with_an_inherited_sandbox(tmp_path: Path) -> None:
    """It is told, and nothing of the parent's is touched: neither its file nor what waits in it."""
    program = """
file = sys.argv[1] + "/sandbox.db"

def app(environ, start_response):
    start_response("204 No Content", [])
    return []

sandbox = Sandbox(db=file)
with sandbox:
    sandbox.webhooks.to(app)
    with Montra(sandbox.api_key, sandbox.base_url) as montra:
        montra.create_customer(name="A", email="a@example.com")

    def use():
        for control in (sandbox.now, sandbox.settle, sandbox.reset, lambda: sandbox.trigger("checkout.completed")):
            try:
                control()
            except RuntimeError as error:
                assert "not running" in str(error), error
            else:
                raise AssertionError(control)
        sandbox.stop()
        with Sandbox() as own:
            assert own.now().year > 2000
        try:
            sandbox.start()  # another one, on a file that the parent's uses
        except OSError as error:
            assert "another running sandbox" in str(error), error
        else:
            raise AssertionError

    def leave():
        sandbox.__exit__(None, None, None)

    print([child_ended(fork(work)) for work in (use, leave)])

    # A child that ends as usual, so that all its objects are freed.
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    print(child_ended(pid))
    with Montra(sandbox.api_key, sandbox.base_url) as montra:
        montra.create_customer(name="B", email="b@example.com")
        print(len(montra.list_customers()))
with Sandbox(db=file) as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
    print(len(montra.list_customers()))
"""
    assert run(program, str(tmp_path)) == "[0, 0]\n0\n2\n2\n"


def test_locks_that_another_thread_holds() -> None:
    program = """
sandbox = Sandbox()
with sandbox:
    held, over = threading.Event(), threading.Event()

    def hold():
        with sandbox._starting:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def again():
        sandbox.stop()
        with sandbox:
            assert sandbox.now().year > 2000

    print(child_ended(fork(again)))
    over.set()
    thread.join()
"""
    assert run(program) == "0\n"


def test_a_server_that_does_not_stand_still_holds_no_fork_up() -> None:
    """And one that was stopped, or is being started, neither."""
    program = """
forks.FORK_TIMEOUT = 0.05
stopped = Sandbox()
stopped.start()
stopped.stop()
with Sandbox() as sandbox:
    busy, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=sandbox.call_in_server, args=(lambda: (busy.set(), over.wait()),))
    thread.start()
    busy.wait()
    print(child_ended(fork(lambda: None)))
    over.set()
    thread.join()
    print(sandbox.now().year > 2000)
    # In the server's own thread, which can't wait for itself.
    print(child_ended(sandbox.call_in_server(lambda: fork(lambda: None))))
    print(sandbox.now().year > 2000)
"""
    assert run(program) == "0\nTrue\n0\nTrue\n"


def test_several_threads_that_fork_at_the_same_time() -> None:
    program = """
with Sandbox() as first, Sandbox() as second:
    ended = []

    def fork_some():
        for _ in range(15):
            ended.append(child_ended(fork(lambda: sqlite3.connect(":memory:").close())))

    threads = [threading.Thread(target=fork_some) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        first.now(), second.now()
    print(ended.count(0), first.now().year > 2000, second.now().year > 2000)
"""
    assert run(program) == "45 True True\n"


def test_a_child_that_lives_on_keeps_no_connection_no_port_and_no_database(tmp_path: Path) -> None:
    """Clients of a sandbox that was stopped are told at once, and its port and its database are free."""
    program = """
import socket
from urllib.parse import urlsplit

file = sys.argv[1] + "/sandbox.db"
sandbox = Sandbox(db=file)
sandbox.start()
address = urlsplit(sandbox.url)
idle = socket.create_connection((address.hostname, address.port), timeout=20)
idle.sendall(b"GET /nothing HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\n\\r\\n" % address.port)
assert idle.recv(1 << 16).startswith(b"HTTP/1.1 404")
started, over = os.pipe(), os.pipe()

def live_on():
    idle.close()
    os.close(over[1])
    os.write(started[1], b".")
    os.read(over[0], 1)  # until the parent closes its end

child = fork(live_on)
os.read(started[0], 1)
with Montra(sandbox.api_key, sandbox.base_url) as montra:
    print(montra.list_customers())  # the parent's sandbox has lost nothing
sandbox.stop()
while rest := idle.recv(1 << 16):
    pass
print(rest)
try:
    socket.create_connection((address.hostname, address.port), timeout=20)
except ConnectionRefusedError:
    print("refused")
with Sandbox(port=address.port, db=file) as again:
    print(again.url == sandbox.url)
os.close(over[1])
print(child_ended(child))
"""
    assert run(program, str(tmp_path)) == "[]\nb''\nrefused\nTrue\n0\n"
