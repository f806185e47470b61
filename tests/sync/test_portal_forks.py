"""The facade in forked processes, whatever ran during the fork; and inside trio."""

from __future__ import annotations

import os

import pytest
import trio

from montra_sync import Montra

from ..processes import run_program

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FORKING = """
import os, signal, sys, threading, time, warnings
from montra_sync import Montra, MontraError, portal
warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12 on: a fork beside a thread
client = Montra()

def forked(child):
    '''How a child ended that did this.'''
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # ends a child that waits for what only the parent has
        try:
            child()
            os._exit(0)
        except BaseException:
            import traceback; traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

SITUATIONS = {
    "while threads make the first call": """
codes = []
for _ in range(10):
    portal._background.end(); portal._background = portal._Background()
    threads = [threading.Thread(target=client.list_meters) for _ in range(4)]
    for thread in threads: thread.start()
    codes.append(forked(client.list_meters))
    for thread in threads: thread.join()
print(set(codes))""",
    "while a hook runs in the loop's thread": """
forking, over = threading.Event(), threading.Event()
def hook(_):
    forking.set()
    over.wait(30)
slow = Montra(on_request=hook)
thread = threading.Thread(target=slow.list_meters)
thread.start()
forking.wait()
print({forked(client.list_meters)})
over.set()
thread.join()""",
    "while a thread looks up the first host": """
began = threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "stringprep":
            began.set()
            time.sleep(0.5)  # its module is locked meanwhile
sys.meta_path.insert(0, Slow())
named = Montra(base_url=os.environ["MONTRA_BASE_URL"].replace("127.0.0.1", "localhost"))
thread = threading.Thread(target=named.list_meters)
thread.start()
began.wait()
print({forked(named.list_meters)})
thread.join()""",
    "at every instruction of a first call": """
import asyncio
FILES = [portal.__file__, portal.LoopThread.start.__code__.co_filename]
codes = set()
async def answer(): return 1
class Interrupt:
    def __init__(self, nth): self.left = nth
    def __call__(self, frame, event, _):
        if frame.f_code.co_filename not in FILES: return None
        frame.f_trace_opcodes = True
        if event == 'opcode':
            self.left -= 1
            if self.left == 0: codes.add(forked(lambda: portal.run(answer)))
        return self
nth = 1
while True:
    portal._background.end(); portal._background = portal._Background()
    interrupt = Interrupt(nth)
    sys._getframe().f_trace_opcodes = True  # Python 3.12 heeds it when tracing begins
    sys.settrace(interrupt)
    portal.run(answer)
    sys.settrace(None)
    if interrupt.left > 0: break
    nth += 7
print(codes)""",
    "in a child of a child": """
client.list_meters()
def child():
    client.list_meters()
    assert forked(client.list_meters) == 0
    client.list_meters()
print({forked(child)})""",
    "in a child that ends as programs do": """
def busy():
    while not over.is_set(): client.list_meters()
over = threading.Event()
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
codes = set()
for n in range(6):
    time.sleep(0.02)
    pid = os.fork()
    if pid == 0:
        if n % 2: client.list_meters()
        sys.exit(0)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
client.list_meters()  # the parent's loop was not harmed
over.set()
for thread in threads: thread.join()
print(codes)""",
    "with an iterator half-way": """
for n in range(3): client.create_pricing_model(name=f'P{n}')
entries = client.iter_audit_logs(page_size=1)
next(entries)
print({forked(lambda: [client.list_meters(), entries.close()])})
assert next(entries) is not None""",
    "with an upload under way": """
r, w = os.pipe()
with open(r, 'rb') as file:
    thread = threading.Thread(target=client.upload_file, args=(file,), kwargs={'name': 'a'})
    thread.start()
    time.sleep(0.1)
    def child():
        os.close(w)
        assert client.upload_file(b'abc').size == 3
    code = forked(child)
    os.close(w)
    thread.join()
print({code})""",
}


@forks
@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_a_fork(served: str, situation: str) -> None:
    assert run_program(f"{FORKING}\n{situation}\nclient.list_meters()", served) == "{0}"


@forks
def test_a_fork_while_a_thread_makes_the_first_event_loop(served: str) -> None:
    """asyncio makes its policy under a lock then. It is made before."""
    code = """
import asyncio, sys, threading, time
name = "DefaultEventLoopPolicy" if sys.version_info < (3, 14) else "_DefaultEventLoopPolicy"
policy, makers = getattr(asyncio, name), []
def make():
    makers.append(threading.current_thread())
    if threading.current_thread() is not threading.main_thread():
        time.sleep(1)
    return policy()
setattr(asyncio, name, make)
"""
    code += FORKING
    code += """
thread = threading.Thread(target=client.list_meters)
thread.start()
time.sleep(0.3)
print({forked(client.list_meters)}, makers == [threading.main_thread()])
thread.join()
"""
    assert run_program(code, served) == "{0} True"


@forks
def test_a_call_that_was_in_progress_in_the_forking_thread_does_not_hang_in_the_child(served: str) -> None:
    """A signal handler forks while its thread waits: the response goes to the parent."""
    code = (
        FORKING
        + """
import asyncio, signal
pids = []
signal.signal(signal.SIGUSR1, lambda *_: pids.append(os.fork()))
async def until_forked():
    os.kill(os.getpid(), signal.SIGUSR1)
    while not pids: await asyncio.sleep(0.001)
    return 'answer'
try:
    answer = portal.run(until_forked)
except MontraError as error:
    client.list_meters()
    os._exit(7 if 'forked during the call' in str(error) else 1)
print(answer, os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]))
"""
    )
    assert run_program(code, served) == "answer 7"


def test_inside_trio(served: str) -> None:
    """The facade uses its own event loop."""
    client = Montra("sk_test_sandbox", served)

    async def main() -> object:
        assert client.list_meters() == []
        return await trio.to_thread.run_sync(lambda: [entry.id for entry in client.iter_audit_logs()])

    assert isinstance(trio.run(main), list)
    client.close()
