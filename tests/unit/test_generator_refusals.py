"""The generator refuses what it can't translate, and says where it stands: `file:line: what`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from .generating import ROOT, Facade, Refused, Sample

HEAD = """
import asyncio
import functools
import aiohttp
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, Unpack, overload
from .other import Page, Stream, Outer
T = TypeVar("T")

class Charge:
    async def debit(self) -> int: ...

class Settings(TypedDict):
    session: aiohttp.ClientSession | None

def traced(function): ...
"""
OTHER = """
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar
T = TypeVar("T")

class Page(Generic[T]):
    items: list[T]

class Stream:
    async def read(self) -> bytes: ...

class Outer:
    inner: list[Inner]

class Inner:
    def lines(self) -> AsyncIterator[str]: ...
"""
START = (HEAD + "\n\nclass Client:\n    def __init__(self) -> None: ...\n").count("\n") + 2


MEMBERS = [
    # decorators
    ("@traced\ndef a(self) -> int: ...", 0, "`a`: unknown decorator `@traced`"),
    ("@functools.lru_cache(5)\ndef a(self) -> int: ...", 0, "`a`: unknown decorator `@functools.lru_cache(5)`"),
    ("@abstractmethod\nasync def a(self) -> int: ...", 0, "`a`: unknown decorator `@abstractmethod`"),
    ("@property\n@traced\ndef a(self) -> int: ...", 1, "`a`: unknown decorator `@traced`"),
    ("@staticmethod\n@property\ndef a() -> int: ...", 0, "`a`: several decorators"),
    ("@property\nasync def a(self) -> int: ...", 1, "`a`: a property that is a coroutine"),
    ("@overload\nasync def a(self) -> int: ...", 1, "`a`: @overload without an implementation"),
    (
        "@overload\nasync def a(self) -> Charge: ...\nasync def a(self) -> Any: ...",
        1,
        "`a`: the implementation's return type does not name Charge",
    ),
    (
        "@overload\ndef a(self) -> int: ...\nasync def a(self) -> int: ...",
        1,
        "`a`: only one of overload and implementation is a coroutine",
    ),
    ("@contextmanager\ndef a(self) -> Stream: ...", 1, "`a`: a context manager of `Stream`"),
    ("@asynccontextmanager\nasync def a(self) -> int:\n    yield 1", 1, "`a`: an async generator that returns `int`"),
    ("async def a(self) -> int:\n    yield 1", 0, "`a`: an async generator that returns `int`"),
    # members
    ("limit = 5", 0, "class attribute `limit` without an annotation"),
    ("a, b = 1, 2", 0, "assignment to `(a, b)` in a class body"),
    ("class Inner: ...", 0, "class `Inner` inside of a class"),
    ("if True:\n    def a(self) -> int: ...", 0, "`if` statement in a class body"),
    ("def __len__(self) -> int: ...", 0, "special method `__len__`"),
    (
        "async def aclose(self) -> None: ...\ndef close(self) -> None: ...",
        1,
        "`aclose` and `close` would both be called `close`",
    ),
    ("def property(self) -> int: ...", 0, "`property`: the facade uses the name itself"),
    ("def a(self) -> int: ...\nb = a\ndef a(self) -> str: ...", 2, "`a`: defined several times in its class"),
    ("def _a(self) -> None:\n    self.b = 1", 1, "attribute `b` without an annotation"),
    ("def _a(self) -> None:\n    with open('x') as self.b: ...", 1, "attribute `b` without an annotation"),
    (
        "def _a(self) -> None:\n    self.b: Stream = 1",
        1,
        "returns an asynchronous object: `Stream.read` is a coroutine",
    ),
    ("b: Final = 1", 0, "attribute `b` without a type"),
    # parameters
    ("def a(self, b) -> int: ...", 0, "`a`: parameter `b` has no annotation"),
    ("def a(self, *b) -> int: ...", 0, "`a`: parameter `b` has no annotation"),
    ("async def a(self, run: int) -> int: ...", 0, "`a`: the facade uses the name `run` itself"),
    (
        "async def a(self, b: tuple[Charge, ...], tuple: int) -> int: ...",
        0,
        "`a`: the facade uses the name `tuple` itself",
    ),
    ("async def a(self, unwrap: Charge) -> int: ...", 0, "`a`: the facade uses the name `unwrap` itself"),
    (
        "@overload\nasync def a(self, cast: int) -> int: ...\nasync def a(self, cast: int) -> int: ...",
        2,
        "`a`: the facade uses the name `cast` itself",
    ),
    (
        "def a(self, argument0: Callable[[Charge], int]) -> int: ...",
        0,
        "`a`: the facade uses the name `argument0` itself",
    ),
    ("async def a(this, self: int) -> int: ...", 0, "`a`: the facade uses the name `self` itself"),
    ("@classmethod\ndef a(this, cls: int) -> int: ...", 1, "`a`: the facade uses the name `cls` itself"),
    ("_b = 60\ndef a(self, b: int = _b) -> int: ...", 1, "`a`: default `_b` is a name of the class body"),
    ("_b = 60\ndef a(self, *, b: int = -_b) -> int: ...", 1, "`a`: default `-_b` is a name of the class body"),
    ("def a(self, b: list[int] = []) -> int: ...", 0, "`a`: default `[]`"),
    ("def a(self, b: Any = object()) -> int: ...", 0, "`a`: default `object()`"),
    ("def a(self, b: int = LIMIT) -> int: ...", 0, "name `LIMIT`: not defined in this module"),
    (
        "def a(self, b: aiohttp.ClientSession) -> int: ...",
        0,
        "`a`: parameter `b` takes `aiohttp.ClientSession`, which is asynchronous",
    ),
    (
        "def a(self, b: aiohttp.ClientSession | int) -> int: ...",
        0,
        "`a`: parameter `b` takes `aiohttp.ClientSession`, which is asynchronous; the facade takes only the rest, "
        "and has no description of it",
    ),
    (
        "def a(self, b: asyncio.Lock | None = None, /, c: int = 1) -> int: ...",
        0,
        "`a`: a positional parameter that the facade can't offer",
    ),
    ("def a(self, b: list[asyncio.Lock]) -> int: ...", 0, "type `list[asyncio.Lock]` can't be translated here"),
    ("def a(self, b: Awaitable[int]) -> int: ...", 0, "type `Awaitable[int]` can't be translated here"),
    (
        "def a(self, **b: Unpack[Settings]) -> int: ...",
        0,
        "`a`: `Unpack[Settings]` has fields of type `aiohttp.ClientSession`",
    ),
    *(
        (f"def a(self, b: {kind}) -> int: ...", 0, f"type `{inner}` can't be translated here")
        for kind, inner in {
            "Callable[[], Awaitable[Charge] | Charge]": "Callable[[], Awaitable[Charge] | Charge]",
            "Callable[[], Awaitable[int] | int | Charge]": "Callable[[], Awaitable[int] | int | Charge]",
            "list[Callable[[Charge], int]]": "Callable[[Charge], int]",
            "Callable[..., Charge]": "Callable[..., Charge]",
        }.items()
    ),
    # types
    ("async def a(self): ...", 0, "`a` has no return annotation"),
    ("async def a(self) -> Nothing: ...", 0, "name `Nothing`: not defined in this module"),
    ("async def a(self) -> [int]: ...", 0, "type `[int]`"),
    ("async def a(self) -> AsyncIterator: ...", 0, "`AsyncIterator` without the type of its items or result"),
    ("def a(self) -> AsyncGenerator[int, str]: ...", 0, "an async generator to which values are sent"),
    ("async def a(self) -> Stream: ...", 0, "returns an asynchronous object: `Stream.read` is a coroutine"),
    (
        "async def a(self) -> list[Outer] | None: ...",
        0,
        "returns an asynchronous object: `Outer.inner`: `Inner.lines`: `AsyncIterator` is asynchronous",
    ),
    ("stream: Stream", 0, "returns an asynchronous object: `Stream.read` is a coroutine"),
    (
        "async def a(self) -> aiohttp.ClientResponse: ...",
        0,
        "type `aiohttp.ClientResponse` can't be translated here",
    ),
    ("async def a(self) -> asyncio.Task[int]: ...", 0, "type `asyncio.Task[int]` can't be translated here"),
    (
        "async def a(self) -> aiohttp.FormData: ...",
        0,
        "returns an asynchronous object: `aiohttp.FormData` is asynchronous",
    ),
    ("async def a(self) -> Page[Charge]: ...", 0, "type `Page[Charge]`: `Charge` in it"),
    ("async def a(self) -> dict[Charge, int]: ...", 0, "type `dict[Charge, int]` can't be translated here"),
    ("async def a(self) -> Callable[[], Charge]: ...", 0, "type `Callable[[], Charge]` can't be translated here"),
    (
        "def a(self) -> Callable[[], Awaitable[int]]: ...",
        0,
        "type `Callable[[], Awaitable[int]]` can't be translated here",
    ),
    ("async def a(self) -> AsyncIterator[int] | None: ...", 0, "type `AsyncIterator[int]` can't be translated here"),
    ("async def a(self) -> list[Charge] | str: ...", 0, "type `list[Charge] | str`: containers beside other types"),
]


@pytest.mark.parametrize(("member", "line", "what"), MEMBERS, ids=[f"{what[:50]}" for _, _, what in MEMBERS])
def test_a_member_is_refused(tmp_path: Path, member: str, line: int, what: str) -> None:
    text = f"{HEAD}\n\nclass Client:\n    def __init__(self) -> None: ...\n\n{indent(member, '    ')}\n"
    with pytest.raises(Refused) as caught:
        Sample(tmp_path, text, given=("Charge",), other=OTHER).generate()
    assert str(caught.value) == f"client.py:{START + 1 + line}: {what}"


CLASSES = [
    ("class Client: ...", 0, "class Client: no `__init__`"),
    ("class Client(dict): ...", 0, "base class `dict`: its source is not read"),
    ("class Client(metaclass=type): ...", 0, "class Client: `metaclass=type`"),
    ("@traced\nclass Client: ...", 0, "class Client: unknown decorator `@traced`"),
    ("class Client:\n    @traced\n    def __init__(self) -> None: ...", 1, "decorator of __init__"),
    (
        "class Client(Generic[T]):\n    def __init__(self) -> None: ...\n    def a(self) -> T: ...",
        2,
        "`T`: a type variable of the class",
    ),
    (
        "class A: ...\nclass B(A): ...\nclass Client(A, B): ...",
        2,
        "class Client: its bases have no consistent order",
    ),
    (
        "class Client:\n    def __init__(self) -> None: ...\n    async def __aenter__(self) -> int: ...\n"
        "    async def __aexit__(self, *_: object) -> None: ...",
        2,
        "class Client: `__aenter__` does not return the object itself",
    ),
    (
        "class Client:\n    def __init__(self) -> None: ...\n    async def __aenter__(self) -> Client:\n"
        "        return Client()\n    async def __aexit__(self, *_: object) -> None: ...",
        2,
        "class Client: `__aenter__` does not return the object itself",
    ),
    (
        "class Client:\n    def __init__(self) -> None: ...\n    async def __aenter__(self) -> Client:\n"
        "        return self\n    async def __aexit__(self, *_: object): ...",
        4,
        "class Client: `__aexit__` has no return annotation",
    ),
    (
        "class Client:\n    def __init__(self) -> None: ...\n    async def __aenter__(self) -> Client: ...",
        2,
        "class Client: `__aenter__` without `__aexit__`",
    ),
    (
        "class Client:\n    def __init__(self) -> None: ...\n    async def __aexit__(self, *_: object) -> None: ...",
        2,
        "class Client: `__aexit__` without `__aenter__`",
    ),
    (
        "class Client:\n    def __init__(self, a: int = a) -> None: ...\n    def a(self) -> int: ...",
        1,
        "`__init__`: default `a` is a name of the class body",
    ),
    *(
        (
            f"class Client:\n    def __init__(self) -> None: ...\n{change}",
            2,
            "class Client is changed after its definition",
        )
        for change in ("Client.go = traced", "setattr(Client, 'go', traced)", "del Client.go")
    ),
    (
        "class Client:\n    def __init__(self) -> None: ...\nClient = traced(Client)",
        0,
        "class Client: its name is defined several times",
    ),
    (
        "class Client:\n    def __init__(self) -> None: ...\n    def __init__(self, a: int) -> None: ...",
        2,
        "`__init__`: defined several times in its class",
    ),
    ("class Other: ...", None, "no class `Client` here"),
]


@pytest.mark.parametrize(("text", "line", "what"), CLASSES, ids=[what for _, _, what in CLASSES])
def test_a_class_is_refused(tmp_path: Path, text: str, line: int | None, what: str) -> None:
    with pytest.raises(Refused) as caught:
        Sample(tmp_path, f"{HEAD}\n{text}\n", given=("Charge",), other=OTHER).generate()
    start = HEAD.count("\n") + 3
    assert str(caught.value) == f"client.py:{1 if line is None else start + line}: {what}"


def test_an_object_with_a_facade_in_another_file_is_refused(tmp_path: Path) -> None:
    text = f"{HEAD}\n\nclass Client:\n    def __init__(self) -> None: ...\n    async def a(self) -> Charge: ...\n"
    sample = Sample(tmp_path, text, other=OTHER)
    others = [Facade(title="Another.", package=sample.name, made={"Charge": f"{sample.name}.client"})]
    with pytest.raises(Refused) as caught:
        sample.generate(others=others)
    assert str(caught.value) == f"client.py:{START}: returns an asynchronous object: `Charge` has a facade"


def test_names_that_can_not_be_told_apart_are_refused(tmp_path: Path) -> None:
    text = """
from . import days, weeks, years

class Client:
    def __init__(self) -> None: ...
    def a(self) -> days.Unit: ...
    def b(self) -> years.WeeksUnit: ...
    def c(self) -> weeks.Unit: ...
"""
    with pytest.raises(Refused) as caught:
        Sample(tmp_path, text, days="class Unit: ...", weeks="class Unit: ...", years="class WeeksUnit: ...").generate()
    name = caught.value.args[0].rpartition("for `")[2].partition(".")[0]
    assert str(caught.value) == f"client.py:9: neither `Unit` nor `WeeksUnit` is free for `{name}.weeks.Unit`"


def test_everything_that_is_refused_is_told_at_once(tmp_path: Path) -> None:
    text = "class Client:\n    def __init__(self, a) -> None: ...\n    x = 1\n"
    both = "class Client:\n    def __init__(self) -> None: ...\n    def a(self, b) -> int: ...\n    def c(self): ...\n"
    with pytest.raises(Refused, match=r"client.py:4: .*\nclient.py:5: "):
        Sample(tmp_path, both).generate()
    with pytest.raises(Refused, match=r"client\.py:4: class attribute `x`"):
        Sample(tmp_path, text).generate()


def _copy_of_the_tree(root: Path) -> Path:
    """A copy of what the generator reads and writes."""
    for source in [*ROOT.glob("montra_*/**/*.py"), *ROOT.glob("tools/generate_sync/*.py"), ROOT / "pyproject.toml"]:
        copy = root / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    return root


def _generate(root: Path, *options: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(root / "tools" / "generate_sync"), *options]
    environment = None if path is None else {"PATH": path}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def test_the_command_writes_nothing_when_something_is_refused(tmp_path: Path) -> None:
    root = _copy_of_the_tree(tmp_path)
    meters = root / "montra_async" / "resources" / "meters.py"
    text = meters.read_text(encoding="utf-8")
    line = text.count("\n") + 2
    meters.write_text(f"{text}\n    @functools.cache\n    def twice(self) -> int: ...\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in (root / "montra_sync").glob("*.py")}
    for options in ((), ("--check",)):
        run = _generate(root, *options)
        what = "`twice`: unknown decorator `@functools.cache`"
        assert (run.returncode, run.stderr) == (2, f"montra_async/resources/meters.py:{line}: {what}\n")
    assert {path: path.read_bytes() for path in (root / "montra_sync").glob("*.py")} == before


def test_the_command_makes_the_folders_and_lost_names_warn_in_each_package(tmp_path: Path) -> None:
    root = _copy_of_the_tree(tmp_path)
    package = root / "montra_async" / "__init__.py"
    text = "Since 0.1.0, removed in 0.3.0: use `{}`."
    lost = {"Client": ("Montra", text.format("Montra")), "Buyer": ("Customer", text.format("Customer"))}
    head, _, tail = package.read_text(encoding="utf-8").partition("\nif TYPE_CHECKING:")
    tail = tail.replace("lazily(__name__, __all__)", "lazily(__name__, __all__, DEPRECATED_NAMES)")
    package.write_text(f"{head}DEPRECATED_NAMES = {lost!r}\n\nif TYPE_CHECKING:{tail}", encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = _generate(root, path=path)
    assert (run.returncode, run.stderr) == (0, "")
    assert "wrote montra/__init__.py" in run.stdout
    code = (
        "import sys, warnings; sys.path.insert(0, sys.argv[1])\n"
        "import montra, montra_async, montra_sync\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    assert montra.__file__.startswith(sys.argv[1])\n"
        "    assert montra.Client is montra_sync.Client is montra_sync.Montra\n"
        "    assert montra.AsyncClient is montra_async.Montra\n"
        "    assert montra.Buyer is montra_async.Customer\n"
        "print(*(one.message for one in seen), sep='\\n')\n"
    )
    used = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, timeout=120)
    assert used.returncode == 0, used.stderr
    assert [line.partition(" will be")[0] for line in used.stdout.splitlines()] == [
        f"`{name}` is deprecated since 0.1.0 and"
        for name in ("montra.Client", "montra_sync.Client", "montra.AsyncClient", "montra.Buyer")
    ]
    assert "use `AsyncMontra`." in used.stdout
    public = (root / "montra" / "_public.py").read_text(encoding="utf-8")
    assert all(f'    "{name}",\n' in public for name in ("Buyer", "Client", "AsyncClient"))
    assert _generate(root, "--check", path=path).returncode == 0


def test_a_missing_formatter_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from generate_sync import formatting

    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(formatting.FormattingError, match="ruff is not installed: run `nox -s generate`"):
        formatting.formatted("x = 1\n", tmp_path / "x.py", tmp_path)


@pytest.mark.parametrize("name", ["client.py", "paywall.py", "webhooks.py", "__init__.py", "_public.py"])
def test_without_a_formatter_the_code_is_compared(name: str) -> None:
    from generate_sync import __main__ as main, formatting

    text, current = main.generated(main.ROOT)[f"montra_sync/{name}"], (main.ROOT / "montra_sync" / name).read_text()
    assert formatting.is_same_code(text, current)
    for changed in (f"{current}\nimport os\n", f"{current}\nx = 1\n"):
        assert not formatting.is_same_code(text, changed)


def test_source_that_is_not_python_is_told(tmp_path: Path) -> None:
    from generate_sync import formatting

    with pytest.raises(formatting.FormattingError, match=r"ruff check of .*x\.py: "):
        formatting.formatted("def", tmp_path / "x.py", tmp_path)


def test_the_help_names_what_is_translated() -> None:
    run = _generate(ROOT, "--help")
    assert run.returncode == 0
    assert "--check" in run.stdout
    assert "asynccontextmanager" in run.stdout
