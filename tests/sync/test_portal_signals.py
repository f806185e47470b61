"""Signal handlers that interrupt a call between two instructions, and make a call themselves or raise."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

import montra_sync

from ..processes import run_program

FILES = str([str(Path(montra_sync.__file__).parent / name) for name in ("portal.py", "loop_thread.py")])

HARNESS = f"""
import asyncio, signal, sys, threading, faulthandler
from montra_sync import portal
faulthandler.dump_traceback_later(50, exit=True)  # where it hangs, when it does

FILES = (*{FILES}, threading.__file__, asyncio.base_events.__file__)

async def answer(n):
    await asyncio.sleep(0)
    return n

async def others_have_ended():
    while len(asyncio.all_tasks()) > 1: await asyncio.sleep(0)

class Interrupt:
    '''Do something in this thread before its nth instruction, as signal handlers are run.'''
    def __init__(self, nth, act):
        self.left, self.act = nth, act
    def __call__(self, frame, event, _):
        if frame.f_code.co_filename not in FILES: return None
        frame.f_trace_opcodes = True
        if event == 'opcode':
            self.left -= 1
            if self.left == 0: self.act()
        return self

def interrupted(nth, act, call):
    '''Was there an nth instruction?'''
    interrupt = Interrupt(nth, act)
    sys._getframe().f_trace_opcodes = True  # Python 3.12 heeds it when tracing begins
    sys.settrace(interrupt)
    try:
        call()
    finally:
        sys.settrace(None)
    return interrupt.left <= 0

def step_through(act, call, before=lambda: None, after=lambda: None):
    nth = 1
    while True:
        before()
        reached = interrupted(nth, act, call)
        after()
        if not reached: return nth > 100
        nth += 1
"""

FIRST_CALL = """
def handler(): nested.append(portal.run(answer, 2))
def call(): assert portal.run(answer, 1) == 1
def fresh():
    portal._background.end()
    portal._background = portal._Background()
    nested.clear()
def after():
    assert nested in ([2], [])
    assert threading.active_count() <= 2 + len(waiting_to_end()), threading.enumerate()
def waiting_to_end(): return [t for t in threading.enumerate() if t.name == 'montra-sync'][1:]
nested = []
print(step_through(handler, call, fresh, after))
"""

LATER_CALL = """
def handler(): nested.append(portal.run(answer, 2))
def call(): assert portal.run(answer, 1) == 1
nested = []
call()
print(step_through(handler, call))
"""

INTERRUPTED = """
def raising(): raise KeyboardInterrupt
async def never(): await asyncio.Event().wait()
def call():
    try:
        portal.run(answer, 1)
    except KeyboardInterrupt:
        pass
def check():
    portal.run(others_have_ended)
    assert portal.run(answer, 1) == 1
    assert not portal._background.thread.jobs
def fresh():
    if FIRST:
        portal._background.end()
        portal._background = portal._Background()
call()
print(step_through(raising, call, fresh, check))
"""


@pytest.mark.parametrize("program", [FIRST_CALL, LATER_CALL], ids=["first call", "later call"])
def test_a_call_from_a_signal_handler_at_every_instruction(program: str) -> None:
    assert run_program(f"{HARNESS}\n{program}", "http://127.0.0.1:9") == "True"


@pytest.mark.parametrize("first", [True, False], ids=["first call", "later call"])
def test_ctrl_c_at_every_instruction(first: bool) -> None:
    """No call remains, and the next one succeeds."""
    assert run_program(f"{HARNESS}\nFIRST = {first}\n{INTERRUPTED}", "http://127.0.0.1:9") == "True"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_real_signals_during_first_calls(served: str) -> None:
    """A timer sends signals while a process makes its first calls."""
    code = """
import signal, threading, faulthandler
from montra_sync import Montra, portal
faulthandler.dump_traceback_later(50, exit=True)
client = Montra()
nested, depth = [], 0
def handler(*_):
    global depth
    if depth: return
    depth += 1
    try:
        nested.append(client.list_meters())
    finally:
        depth -= 1
signal.signal(signal.SIGALRM, handler)
for n in range(40):
    portal._background.end()
    portal._background = portal._Background()
    signal.setitimer(signal.ITIMER_REAL, 0.00002 * (n + 1), 0.003)
    for _ in range(3): assert client.list_meters() == []
    signal.setitimer(signal.ITIMER_REAL, 0)
print(len(nested) > 0, set(map(str, nested)))
"""
    assert run_program(code, served) == "True {'[]'}"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_handler_that_calls_while_a_call_waits(served: str) -> None:
    code = """
import asyncio, os, signal
from montra_sync import Montra, portal
client = Montra()
nested = []
signal.signal(signal.SIGUSR1, lambda *_: nested.append(client.list_meters()))
async def until_the_handler_has_run():
    os.kill(os.getpid(), signal.SIGUSR1)
    while not nested: await asyncio.sleep(0.001)
    return 'done'
print(portal.run(until_the_handler_has_run), nested)
"""
    assert run_program(code, served) == "done [[]]"
