"""The generator translates ordinary Python: each kind of method is generated from, imported and called."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from .generating import Sample, client_source, load_sample


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """Generates a facade of `Client`, and of `Charge` where the source has one, and imports it."""

    return partial(load_sample, tmp_path)


def test_every_kind_of_parameter_is_kept_and_passed_on(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            "async def call(self, a: int, /, b: int, c: int = 3, *rest: int, d: int, e: str = 'e', **more: str)"
            " -> dict[str, object]:\n"
            "    return {'a': a, 'b': b, 'c': c, 'rest': rest, 'd': d, 'e': e, 'more': more}"
        )
    )
    assert made.Client().call(1, 2, 3, 4, 5, d=6, x="y") == {
        "a": 1,
        "b": 2,
        "c": 3,
        "rest": (4, 5),
        "d": 6,
        "e": "e",
        "more": {"x": "y"},
    }
    signature = inspect.signature(made.Client.call)
    assert str(signature) == (
        "(self, a: 'int', /, b: 'int', c: 'int' = 3, *rest: 'int', d: 'int', e: 'str' = 'e', **more: 'str')"
        " -> 'dict[str, object]'"
    )
    with pytest.raises(TypeError):
        made.Client().call(a=1, b=2, d=6)


NAMES = ("alpha", "beta", "gamma", "delta", "call", "func", "args", "kwargs")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(NAMES), unique=True),
    cuts=st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8)),
    star=st.booleans(),
)
def test_any_signature_is_the_same_and_passes_everything_on(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], cuts: tuple[int, int, int], star: bool
) -> None:
    first, second, third = sorted(min(cut, len(names)) for cut in cuts)
    written = [f"{name}: int" for name in names[:first]] + (["/"] if first else [])
    written += [f"{name}: int" for name in names[first:second]]
    written += [f"{name}: int = {index}" for index, name in enumerate(names[second:third])]
    if star or third < len(names):
        written.append("*others: int" if star else "*")
    written += [f"{name}: int = 7" for name in names[third:]] + (["**rest: int"] if star else [])
    source = client_source(
        f"async def call(self, {', '.join(written)}) -> dict[str, object]:\n    return dict(sorted(locals().items()))"
    )
    sample = Sample(tmp_path_factory.mktemp("signature"), source)
    facade = sample.load()
    behind = inspect.signature(facade.AsyncClient.call)
    assert inspect.signature(facade.Client.call) == behind
    positional = list(range(100, 100 + third + (2 if star and third else 0)))
    named = {name: index for index, name in enumerate(names[third:])}
    found = facade.Client().call(*positional, **named)
    found.pop("self")
    bound = behind.bind(None, *positional, **named)
    bound.apply_defaults()
    bound.arguments.pop("self")
    assert found == dict(bound.arguments)


def test_static_and_class_methods(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
@staticmethod
def double(value: int) -> int:
    return 2 * value

@staticmethod
async def triple(value: int) -> int:
    return 3 * value

@classmethod
def kind(cls) -> str:
    return cls.__name__

@classmethod
async def connect(cls) -> Self:
    return cls()
""",
            head="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from typing_extensions import Self",
        )
    )
    assert (made.Client.double(2), made.Client.triple(2), made.Client().triple(3)) == (4, 6, 9)
    assert made.Client.kind() == "Client"

    class Mine(made.Client):  # type: ignore[misc]
        pass

    assert type(Mine.connect()) is Mine


def test_overloads(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
@overload
async def find(self, value: int) -> int: ...
@overload
async def find(self, value: str) -> Charge | None: ...
async def find(self, value: int | str) -> int | Charge | None:
    return value if isinstance(value, int) else Charge(5) if value else None
""",
            head="from typing import overload",
            charge=True,
        )
    )
    client = made.Client()
    assert (client.find(3), client.find(""), type(client.find("x"))) == (3, None, made.Charge)
    if hasattr(typing, "get_overloads"):
        returns = [inspect.signature(one).return_annotation for one in typing.get_overloads(made.Client.find)]
        assert returns == ["int", "Charge | None"]


def test_properties(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
closed: bool = False
last: Charge | None = None
kind: ClassVar[str] = 'client'

@property
def size(self) -> int:
    \"\"\"How large.\"\"\"
    return self._size

@size.setter
def size(self, size: int) -> None:
    self._size = size

@size.deleter
def size(self) -> None:
    del self._size

@cached_property
def charge(self) -> Charge:
    self.last = Charge(1)
    return self.last
""",
            head="from functools import cached_property\nfrom typing import ClassVar",
            charge=True,
        )
    )
    client = made.Client()
    client.size = 3
    assert (client.size, client.closed, client.kind, made.Client.kind) == (3, False, "client", "client")
    assert made.Client.size.__doc__ == "How large."
    del client.size
    with pytest.raises(AttributeError):
        _ = client.size
    assert client.last is None
    assert type(client.charge) is type(client.last) is made.Charge
    assert client.charge._async is client.charge._async is client.last._async
    client.closed = True
    assert client.closed is client._async.closed is True


ATTRIBUTES = """
import attrs
from typing import Final
from montra_async.core.redaction import SecretText

class Charge:
    status: int

    def __init__(self) -> None:
        self.status = 200

    async def debit(self) -> int:
        return 1

class Base:
    def __init__(self) -> None:
        self.retries: int = 3
        self._private = 5

    async def seen(self) -> list[object]:
        return [self.retries, self.last, self.keys]

class Client(Base):
    \"\"\"A client.

    Attributes:
        retries: attempts of each call.
        last: the last charge.
    \"\"\"

    last: Charge | None
    limit: Final[int] = 7
    keys: list[SecretText]

    def __init__(self) -> None:
        super().__init__()
        self.last, self.keys = Charge(), []

@attrs.frozen
class Frozen:
    size: int = 1

    def __init__(self) -> None: ...
"""


def test_attributes_can_be_read_and_set(tmp_path: Path) -> None:
    made = Sample(tmp_path, ATTRIBUTES, made=("Client", "Frozen"), given=("Charge",)).load()
    client = made.Client()
    last = client.last
    assert (client.retries, type(last), last.status, client.limit) == (3, made.Charge, 200, 7)
    client.retries, client.last, client.keys = 4, None, ["k"]
    assert client.seen() == [4, None, ["k"]]
    client.last = last
    assert client.seen()[1] is last._async
    for owner, name in ((client, "limit"), (last, "status"), (made.Frozen(), "size")):
        with pytest.raises(AttributeError, match=r"no setter|can't set"):
            setattr(owner, name, 1)


def test_parameters_may_have_names_that_their_method_does_not_use(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
def plain(self, run: int, tuple: int, cast: int) -> int:
    return run + tuple + cast

async def item(self, item: list[Charge], key: int) -> str:
    return type(item[0]).__module__.rpartition('.')[2]

@staticmethod
async def new(self: int) -> Charge:
    return Charge(self)
""",
            charge=True,
        )
    )
    client = made.Client()
    assert client.plain(1, 2, cast=3) == 6
    assert client.item([client.new(1)], 2) == "client"


def test_a_second_name_of_a_method(load: Callable[..., Any]) -> None:
    made = load(client_source("async def list_prices(self) -> list[int]:\n    return [1]\n\nget_prices = list_prices"))
    assert made.Client().get_prices() == made.Client().list_prices() == [1]


@pytest.mark.parametrize(
    ("returns", "kind"),
    [
        ("AsyncGenerator[int, None]", Generator[int, None, None]),
        ("AsyncIterator[int]", Iterator[int]),
        ("AsyncIterable[int]", Iterator[int]),
    ],
)
def test_asynchronous_iterators_become_lazy(load: Callable[..., Any], returns: str, kind: Any) -> None:
    made = load(
        client_source(
            f"""
async def own(self) -> {returns}:
    for number in range(3):
        seen.append(number)
        yield number

def handed(self) -> {returns}:
    return self.own()

async def asked(self) -> {returns}:
    return self.own()

@property
def shown(self) -> {returns}:
    return self.own()
""",
            head="from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator\nseen = []",
        )
    )
    client = made.Client()
    seen = __import__(made.__name__.replace("facade", "client"), fromlist=["seen"]).seen
    for start in (client.own, client.handed, client.asked, lambda: client.shown):
        seen.clear()
        items = start()
        assert (next(items), seen) == (0, [0]), "one item at a time"
        assert list(items) == [1, 2]
        assert iter(items) is items
    assert typing.get_type_hints(made.Client.asked)["return"] == kind


def test_an_asynchronous_iterable_without_generators(load: Callable[..., Any]) -> None:
    made = load(
        """
from collections.abc import AsyncIterable, AsyncIterator

class _Countdown:
    def __init__(self) -> None:
        self.left = 3

    def __aiter__(self) -> _Countdown:
        return self

    async def __anext__(self) -> int:
        self.left -= 1
        if not self.left:
            raise StopAsyncIteration
        return self.left

class _Again:
    def __aiter__(self) -> _Countdown:
        return _Countdown()

class Client:
    def __init__(self) -> None: ...

    def once(self) -> AsyncIterator[int]:
        return _Countdown()

    def again(self) -> AsyncIterable[int]:
        return _Again()
"""
    )
    assert (list(made.Client().once()), list(made.Client().again())) == ([2, 1], [2, 1])


def test_a_generator_inside_of_a_coroutine(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
async def total(self) -> int:
    def numbers():
        yield 1
        yield from (2, 3)
    return sum(numbers())

def plain(self) -> Generator[int, None, None]:
    yield 1
""",
            head="from collections.abc import Generator",
        )
    )
    assert (made.Client().total(), list(made.Client().plain())) == (6, [1])


def test_methods_that_return_an_awaitable_wait(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            "def ask(self) -> Coroutine[Any, Any, int]:\n    return self._ask()\n\n"
            "async def _ask(self) -> int:\n    return 4",
            head="from collections.abc import Coroutine\nfrom typing import Any",
        )
    )
    assert made.Client().ask() == 4


def test_views_keep_a_subclass_and_its_attributes(load: Callable[..., Any]) -> None:
    made = load(
        client_source(
            """
def view(self: C, *, size: int = 0) -> C:
    return copy.copy(self)

def __copy__(self) -> Client:
    view = object.__new__(type(self))
    view.__dict__.update(self.__dict__)
    return view

async def aclose(self) -> None:
    \"\"\"End, as in `await client.aclose()`.\"\"\"

async def __aenter__(self: C) -> C:
    return self

async def __aexit__(self, *_: object) -> None:
    await self.aclose()
""",
            head="import copy\nfrom typing import TypeVar\nC = TypeVar('C')",
        )
    )

    class Mine(made.Client):  # type: ignore[misc]
        pass

    import copy

    with Mine() as mine:
        mine.note = "kept"
        for view in (mine.view(), copy.copy(mine)):
            assert (type(view), view.note) == (Mine, "kept")
            assert view._async is not mine._async
    assert made.Client.close.__doc__ == "End, as in `client.close()`."
    assert not hasattr(made.Client, "aclose")


def test_inherited_members_are_those_that_python_finds(load: Callable[..., Any]) -> None:
    """The first base wins, in the order of Python's own method resolution."""
    made = load(
        """
class Base:
    async def which(self) -> str:
        return "base"

class Left(Base):
    async def which(self) -> str:
        return "left"

class Right(Base):
    async def which(self, extra: int = 0) -> str:
        return "right"

class Client(Left, Right):
    def __init__(self) -> None: ...
"""
    )
    assert made.Client().which() == "left"
    assert list(inspect.signature(made.Client.which).parameters) == ["self"]
