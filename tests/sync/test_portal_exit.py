"""The end of a process: it is prompt, logs nothing, and exit handlers can make calls."""

from __future__ import annotations

import pytest

from ..processes import run_program

RESOLVER = """
import atexit, os, socket, sys, threading, time
from montra_sync import Montra, MontraError, Timeout
looking_up = threading.Event()
def getaddrinfo(*_, **__):
    looking_up.set()
    time.sleep(50)  # `run_program` waits for 60
socket.getaddrinfo = getaddrinfo
client = Montra('sk_test_x', 'https://api.example.com/v1')
began = time.monotonic()
atexit.register(lambda: print('ended', time.monotonic() - began < 20, flush=True))
"""

LOOK_UPS = {
    "in a daemon thread": """
threading.Thread(target=client.list_meters, daemon=True).start()
looking_up.wait(30)""",
    "of a call that timed out": """
try:
    client.with_options(timeout=0.3).list_meters()
except MontraError: pass""",
    "of a call that was interrupted": """
def interrupt():
    looking_up.wait(30)
    import _thread; _thread.interrupt_main()
threading.Thread(target=interrupt).start()
try:
    client.list_meters()
except KeyboardInterrupt: pass""",
    "of forty calls": """
def call():
    try: client.with_options(timeout=0.5).list_meters()
    except MontraError: pass
threads = [threading.Thread(target=call) for _ in range(40)]
for thread in threads: thread.start()""",
}


@pytest.mark.parametrize("ending", LOOK_UPS.values(), ids=LOOK_UPS)
def test_a_name_that_is_being_looked_up_holds_up_nothing(ending: str) -> None:
    assert run_program(f"{RESOLVER}\n{ending}", "http://127.0.0.1:9") == "ended True"


EXITS = {
    "the thread is there": """
client.list_meters()
atexit.register(handler)""",
    "the thread is not there yet": """
atexit.register(handler)""",
    "the sdk has ended": """
client.list_meters()""",
    "the sdk has ended without a call": "",
}


@pytest.mark.parametrize("order", EXITS.values(), ids=EXITS)
def test_a_call_from_an_exit_handler_works(served: str, order: str) -> None:
    """Python 3.12 and newer start no threads in exit handlers."""
    first = "atexit.register(handler)" if "atexit.register" not in order else ""
    host = served.replace("127.0.0.1", "localhost")  # a name, which a helper thread looks up
    code = f"""
import atexit
def handler():
    print(client.list_meters(), len(list(client.iter_audit_logs(page_size=1))) >= 2, client.list_meters())
{first}
from montra_sync import Montra
client = Montra(base_url={host!r})
for n in range(2): Montra().create_pricing_model(name=f'P{{n}}')
{order}
"""
    if "list_meters" not in order:  # no call before the end
        code = code.replace("for n in range(2)", "for n in ()").replace(">= 2", ">= 0")
    assert run_program(code, served) == "[] True []"


def test_closing_in_an_exit_handler(served: str) -> None:
    code = """
import atexit
def handler():
    client.list_meters()
    client.close()
    with Montra() as other: other.list_meters()
    print('closed')
atexit.register(handler)
from montra_sync import Montra
client = Montra()
client.list_meters()
atexit.register(handler)
"""
    assert run_program(code, served) == "closed\nclosed"


def test_an_iterator_that_is_read_on_after_the_end_is_not_cut_short(served: str) -> None:
    code = """
import atexit
def handler():
    try:
        print('rest', len(list(entries)))
    except MontraError as error:
        print(error)
atexit.register(handler)
from montra_sync import Montra, MontraError
client = Montra()
for n in range(3): client.create_pricing_model(name=f'P{n}')
entries = client.iter_audit_logs(page_size=1)
next(entries)
"""
    assert run_program(code, served) == "the interpreter is shutting down: the rest can't be read any more"


def test_an_event_loop_that_runs_in_an_exit_handler(served: str) -> None:
    code = """
import atexit, asyncio
def handler():
    async def inside():
        try:
            client.list_meters()
        except MontraError as error:
            print(error)
    asyncio.run(inside())
atexit.register(handler)
from montra_sync import Montra, MontraError
client = Montra()
"""
    said = run_program(code, served)
    assert said == "the interpreter is shutting down, and an event loop is running in this thread: no more calls"


QUIET = {
    "a hook that hangs": """
import time
client = Montra(on_request=lambda _: time.sleep(40))
threading.Thread(target=client.list_meters, daemon=True).start()
time.sleep(0.2)""",
    "a hook that exits": """
client = Montra(on_request=lambda _: sys.exit(0))
client.list_meters()""",
    "a hook that exits, in a thread": """
client = Montra(on_request=lambda _: sys.exit(3))
t = threading.Thread(target=client.list_meters); t.start(); t.join()""",
    "an iterator in a daemon thread": """
def read():
    while True:
        for _ in client.iter_audit_logs(page_size=1): pass
for n in range(3): client.create_pricing_model(name=f'P{n}')
for _ in range(4): threading.Thread(target=read, daemon=True).start()
import time; time.sleep(0.2)""",
    "an iterator that is kept": """
import builtins
for n in range(3): client.create_pricing_model(name=f'P{n}')
builtins.kept = client.iter_audit_logs(page_size=1)
next(builtins.kept)""",
    "an iterator in a cycle": """
for n in range(3): client.create_pricing_model(name=f'P{n}')
cycle = [client.iter_audit_logs(page_size=1)]
cycle.append(cycle)
next(cycle[0])""",
    "an exit handler and daemon threads": """
import atexit
def busy():
    while True: client.list_meters()
for _ in range(4): threading.Thread(target=busy, daemon=True).start()
import time; time.sleep(0.2)
for _ in range(3): atexit.register(client.list_meters)""",
    "closed while it is used": """
def busy():
    while True:
        try: client.list_meters()
        except MontraError: pass
for _ in range(4): threading.Thread(target=busy, daemon=True).start()
import time
for _ in range(20): client.close(); time.sleep(0.005)""",
    "a consumer that raises": """
for n in range(3): client.create_pricing_model(name=f'P{n}')
try:
    for _ in client.iter_audit_logs(page_size=1): raise LookupError
except LookupError: pass""",
    "many clients": """
for _ in range(200): Montra().list_meters()""",
    "threads in an exit handler": """
import atexit
def handler():
    t = threading.Thread(target=client.list_meters)
    try: t.start()
    except RuntimeError: return  # Python 3.12 on
    t.join()
atexit.register(handler)""",
}


@pytest.mark.parametrize("ending", QUIET.values(), ids=QUIET)
def test_every_other_end_of_a_process_is_quiet(served: str, ending: str) -> None:
    code = f"import sys, threading\nfrom montra_sync import Montra, MontraError\nclient = Montra()\n{ending}"
    assert run_program(code, served) == ""
