"""No asynchronous object reaches a user of the facade: the generator translates types, values and functions."""

from __future__ import annotations

import ast
import inspect
import threading
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .generating import ROOT, Reader, Sample, Source, client_source, load_sample


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """Generates a facade of `Client`, and of `Charge` where the source has one, and imports it."""

    return partial(load_sample, tmp_path)


SHAPES = [
    ("Charge | None", "None", "None"),
    ("Charge | None", "Charge(1)", "<>"),
    ("Optional[Charge]", "Charge(1)", "<>"),
    ("Union[Charge, str]", "'s'", "s"),
    ("Union[Charge, str]", "Charge(1)", "<>"),
    ("Maybe", "Charge(1)", "<>"),
    ("'Charge | None'", "Charge(1)", "<>"),
    ("Annotated[Charge, 'x']", "Charge(1)", "<>"),
    ("list[Charge]", "[Charge(1), Charge(2)]", "[<>, <>]"),
    ("list[Charge | None] | None", "[Charge(1), None]", "[<>, None]"),
    ("Sequence[Charge]", "(Charge(1),)", "[<>]"),
    ("Iterator[Charge]", "iter([Charge(1)])", "[<>]"),
    ("dict[str, Charge]", "{'a': Charge(1)}", "{'a': <>}"),
    ("Mapping[str, list[Charge]]", "{'a': [Charge(1)]}", "{'a': [<>]}"),
    ("tuple[int, Charge]", "(1, Charge(1))", "(1, <>)"),
    ("tuple[Charge]", "(Charge(1),)", "(<>,)"),
    ("tuple[Charge, ...]", "(Charge(1), Charge(2))", "(<>, <>)"),
    ("list[tuple[str, Charge | None]]", "[('a', Charge(1)), ('b', None)]", "[('a', <>), ('b', None)]"),
    ("AsyncIterator[tuple[int, Charge]]", "_items(Charge(1))", "[(1, <>)]"),
]
SHAPES_HEAD = """
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Annotated, Optional, TypeAlias, Union
Maybe: TypeAlias = "Charge | None"
async def _items(charge):
    yield 1, charge
"""


@pytest.mark.parametrize("waits", ["async def", "def"])
@pytest.mark.parametrize(("returns", "value", "shown"), SHAPES)
def test_objects_of_facaded_classes_are_exchanged(
    load: Callable[..., Any], waits: str, returns: str, value: str, shown: str
) -> None:
    made = load(client_source(f"{waits} find(self) -> {returns}:\n    return {value}", head=SHAPES_HEAD, charge=True))

    def show(found: Any) -> str:
        if isinstance(found, made.Charge):
            assert found.debit() in (1, 2)
            return "<>"
        if isinstance(found, dict):
            return f"{{{', '.join(f'{key!r}: {show(one)}' for key, one in found.items())}}}"
        if isinstance(found, tuple):
            return f"({', '.join(map(show, found))}{',' if len(found) == 1 else ''})"
        if isinstance(found, list) or hasattr(found, "__next__"):
            return f"[{', '.join(map(show, found))}]"
        assert type(found).__name__ != "Charge"
        return found if found == "s" else repr(found)

    assert show(made.Client().find()) == shown
    typing.get_type_hints(made.Client.find)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Charge", "one"),
        ("Charge | None", "one"),
        ("Charge | str", "one"),
        ("list[Charge]", "[one]"),
        ("Sequence[Charge] | None", "[one]"),
        ("Mapping[str, Charge]", "{'a': one}"),
        ("tuple[int, Charge]", "(1, one)"),
        ("tuple[Charge, ...]", "(one, one)"),
        ("Iterable[Charge]", "[one]"),
    ],
)
def test_facades_are_taken_as_arguments(load: Callable[..., Any], kind: str, value: str) -> None:
    made = load(
        client_source(
            f"""
def new(self) -> Charge:
    return Charge(9)

async def take(self, given: {kind}, *more: Charge, **named: Charge) -> list[str]:
    pending, found = [given, *more, *named.values()], []
    while pending:
        one = pending.pop()
        if isinstance(one, Charge):
            found.append(type(one).__module__.rpartition('.')[2])
        elif not isinstance(one, (int, str)):
            pending += one.values() if isinstance(one, dict) else one
    return found
""",
            head="from collections.abc import Iterable, Mapping, Sequence",
            charge=True,
        )
    )
    client = made.Client()
    one = client.new()
    found = client.take(eval(value, {"one": one}), one, named=one)
    assert set(found) == {"client"}
    assert len(found) == (4 if kind == "tuple[Charge, ...]" else 3)


def test_functions_of_the_user_are_plain_and_get_facades(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
async def each(self, act: Callable[[Charge], Awaitable[int]], tell: Callable[[Charge], None] | None = None) -> int:
    charge = Charge(3)
    if tell is not None:
        tell(charge)
    return await act(charge)

async def later(self, act: Callable[..., Coroutine[Any, Any, None]] | None = None) -> bool:
    if act is not None:
        await act(1, two=2)
    return act is None

async def either(self, act: Callable[[int], Awaitable[None] | None]) -> None:
    act(5)
""",
            head="from collections.abc import Awaitable, Callable, Coroutine\nfrom typing import Any",
            charge=True,
        )
    )
    client = made.Client()
    seen: list[Any] = []

    def act(charge: Any) -> int:
        seen.append(threading.current_thread().name)
        return int(charge.debit())  # a call inside of a function that the loop waits for

    assert client.each(act, lambda charge: seen.append(type(charge))) == 3
    assert seen[0] is made.Charge
    assert seen[1] != "montra-sync"
    assert client.later()
    client.later(lambda one, two: seen.append((one, two)))
    client.either(seen.append)
    assert seen[2:] == [(1, 2), 5]
    annotations = made.Client.each.__annotations__
    assert annotations["act"] == "Callable[[Charge], int]"
    assert annotations["tell"] == "Callable[[Charge], None] | None"
    assert made.Client.either.__annotations__["act"] == "Callable[[int], None]"


@pytest.mark.parametrize("order", ["Charge | Special", "Special | Charge", "Charge | Special | None"])
def test_derived_classes_keep_theirs_in_a_union(tmp_path: Path, order: str) -> None:
    special = "class Special(Charge):\n    async def more(self) -> int:\n        return 2\n"
    body = f"""
async def get(self, special: bool) -> {order}:
    return Special(1) if special else Charge(1)
"""
    text = client_source(body, charge=True).replace("class Client", f"{special}\nclass Client")
    made = Sample(tmp_path, text, given=("Charge", "Special")).load()
    client = made.Client()
    assert (type(client.get(True)), type(client.get(False))) == (made.Special, made.Charge)


@pytest.mark.parametrize(("kind", "counts"), [("Iterable", [2, 2]), ("Sequence", [2, 2]), ("Iterator", [2, 0])])
def test_an_iterable_argument_can_be_read_again(load: Callable[..., Any], kind: str, counts: list[int]) -> None:
    made = load(
        client_source(
            f"""
async def count(self, charges: {kind}[Charge]) -> list[int]:
    return [sum(type(one) is Charge for one in charges) for _ in range(2)]

async def new(self) -> Charge:
    return Charge(1)
""",
            head=f"from collections.abc import {kind}",
            charge=True,
        )
    )
    client = made.Client()
    assert client.count([client.new(), client.new()]) == counts


def test_a_function_of_the_user_is_called_once_for_each_call(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
async def pair(self, make: Callable[[], Awaitable[tuple[Charge, Charge]]]) -> str:
    return str([type(one).__module__.rpartition('.')[2] for one in await make()])

async def many(self, make: Callable[[], list[Charge] | None]) -> str:
    return str([type(one).__module__.rpartition('.')[2] for one in make() or ()])

async def maybe(self, make: Callable[[], Awaitable[Charge | None]]) -> str:
    return type(await make()).__module__.rpartition('.')[2]

async def new(self) -> Charge:
    return Charge(1)
""",
            head="from collections.abc import Awaitable, Callable",
            charge=True,
        )
    )
    client, calls = made.Client(), []
    charge = client.new()

    def give(result: Any) -> Any:
        calls.append(result)
        return result

    assert client.pair(lambda: give((charge, charge))) == "['client', 'client']"
    assert client.many(lambda: give([charge])) == "['client']"
    assert client.many(lambda: give(None)) == "[]"
    assert client.maybe(lambda: give(charge)) == "client"
    assert client.maybe(lambda: give(None)) == "builtins"
    assert calls == [(charge, charge), [charge], None, charge, None]
    assert made.Client.many.__annotations__["make"] == "Callable[[], list[Charge] | None]"


def test_a_function_that_takes_a_secret_is_not_a_secret(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
async def go(self, sign: Callable[[SecretText, Charge], int], key: SecretText) -> AsyncIterator[int]:
    yield sign(key, Charge(3))
""",
            head="from collections.abc import AsyncIterator, Callable\n"
            "from montra_async.core.redaction import SecretText",
            charge=True,
        )
    )
    found: list[Any] = []
    assert list(made.Client().go(lambda key, charge: found.append((key, type(charge))) or 5, "k")) == [5]
    assert found == [("k", made.Charge)]


def test_secrets_are_found_by_their_type(load: Callable[..., Any], tmp_path: Path) -> None:
    made = load(
        """
from typing import TypeAlias
from montra_async.core.redaction import SecretText

Keys: TypeAlias = "list[SecretText] | None"

class Client:
    def __init__(self, door: SecretText, *, window: str = "") -> None: ...

    async def enter(self, door: str, word: SecretText | None = None, *, keys: Keys = None, **rest: SecretText) -> None:
        raise OSError
"""
    )
    client = made.Client("open sesame")
    with pytest.raises(OSError) as caught:
        client.enter("front", "xyzzy", keys=["k"], more="m")
    trace = caught.value.__traceback__
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    ours = [frame for frame in frames if frame.f_code.co_filename == made.__file__]
    assert [sorted(frame.f_locals) for frame in ours] == [["door", "self"]]


def test_what_belongs_to_an_event_loop_is_left_out(load: Callable[..., Any]) -> None:
    made = load(
        '''
import asyncio
import aiohttp
from collections.abc import AsyncIterable, Callable, Iterable

class Client:
    """A client.

    Args:
        size: how many.
        session: an aiohttp session,
            used as it is.
        connector: a connector or a function
            that makes one.
        session, body: both.
    """

    def __init__(
        self,
        size: int = 1,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | Callable[[], aiohttp.BaseConnector] | None = None,
        *,
        body: Iterable[bytes] | AsyncIterable[bytes] = (),
        task: asyncio.Task[int] | None = None,
    ) -> None:
        self._given = size, session, connector, body
''',
        descriptions={"connector": "a function.", "body": "bytes."},
    )
    parameters = inspect.signature(made.Client).parameters
    assert {name: one.annotation for name, one in parameters.items()} == {
        "size": "int",
        "connector": "Callable[[], aiohttp.BaseConnector] | None",
        "body": "Iterable[bytes]",
    }
    assert made.Client(2, int, body=[b""])._async._given == (2, None, int, [b""])
    assert (inspect.getdoc(made.Client) or "").splitlines()[2:] == [
        *("Args:", "    size: how many.", "    connector: a function.", "    body: bytes.")
    ]


def test_equal_names_of_two_modules_are_told_apart(tmp_path: Path) -> None:
    sample = Sample(
        tmp_path,
        """
from .days import Interval
from .other import Other

class Client(Other):
    def __init__(self) -> None: ...

    async def days(self, interval: Interval) -> Interval:
        return interval
""",
        days="from typing import Literal\nInterval = Literal['day']",
        other="from .months import Interval\n\nclass Other:\n"
        "    async def months(self, interval: Interval) -> list[Interval]:\n        return [interval]",
        months="from typing import Literal\nInterval = Literal['month']",
    )
    made = sample.load()
    assert typing.get_type_hints(made.Client.days)["return"] == typing.Literal["day"]
    assert typing.get_type_hints(made.Client.months)["return"] == list[typing.Literal["month"]]


def test_exported_names_keep_theirs(tmp_path: Path) -> None:
    """A name that the package exports is imported as it is; one of another module gets its module's before it."""
    sample = Sample(
        tmp_path,
        "from .days import Interval\n\nclass Client:\n    def __init__(self) -> None: ...\n\n"
        "    def get(self) -> Interval:\n        return 'day'",
        days="from typing import Literal\nInterval = Literal['day']",
        months="from typing import Literal\nInterval = Literal['month']",
    )
    (sample.package / "__init__.py").write_text("from .months import Interval\n", encoding="utf-8")
    made = sample.load(exports=["Interval"])
    assert made.Interval == typing.Literal["month"]
    assert typing.get_type_hints(made.Client.get)["return"] == typing.Literal["day"]


def _wrapped_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """The parameters that a function puts into a `Secret`."""
    names = {
        name.id
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("Secret", "signing_secrets")
        for name in ast.walk(call)
        if isinstance(name, ast.Name)
    }
    return [one for one in [*node.args.args, *node.args.kwonlyargs] if one.arg in names - {"self"}]


def test_every_parameter_that_the_sdk_hides_is_marked_as_a_secret() -> None:
    source = Source(ROOT)
    reader = Reader(source, {})
    public = {*source.exported("montra_async"), *source.exported("montra_async.webhooks")}
    checked: list[str] = []
    for path in [ROOT / "montra_async" / "client.py", *(ROOT / "montra_async").glob("[pruwf]*/**/*.py")]:
        module = source.module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        bodies = [("", module.tree.body), *((f"{name}.", node.body) for name, node in module.classes.items())]
        for owner, node in ((owner, node) for owner, body in bodies for node in body):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if node.name not in public if not owner else node.name.startswith("_") and node.name != "__init__":
                continue
            for parameter in _wrapped_parameters(node):
                assert parameter.annotation is not None
                where = f"{module.name}.{owner}{node.name}({parameter.arg})"
                assert reader.leaks.is_secret(parameter.annotation, module), where
                checked.append(where)
    assert {"montra_async.paywall.auth.AuthClient.sign_up(password)", "montra_async.webhooks.parsing.parse(secret)"} < {
        *checked
    }
    assert len(checked) >= 10
