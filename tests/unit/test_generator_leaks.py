"""The generator refuses types through which asynchronous objects would reach users, or facades the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from .generating import Refused, Sample

HEAD = """
import aiohttp
import attrs
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NewType, Protocol, TypedDict, TypeVar, Unpack
from montra_async.paywall.storage import SessionStorage

class Charge:
    async def debit(self) -> int: ...

class Stream:
    async def read(self) -> bytes: ...

Bound = TypeVar("Bound", bound="Charge")
Either = TypeVar("Either", Stream, int)
Mine = NewType("Mine", Charge)

class Options(TypedDict):
    charge: Charge

@attrs.frozen
class Fields:
    charge: list[Charge] | None

class Handler(Protocol):
    async def __call__(self, amount: int) -> int: ...

class Attribute:
    def __init__(self) -> None:
        self.charge: Charge | None = None

class Parameter:
    def __init__(self, charge: Charge) -> None:
        self.charge = charge

class Value:
    def __init__(self) -> None:
        self.charges = [Charge()]

class Unannotated:
    def get(self):
        return Charge()

class Lines:
    def __aiter__(self): ...

class Factory:
    def __call__(self):
        return Charge()

class Shared:
    charges = [Charge()]

class First:
    def __init__(self, second: Second) -> None: ...
    second: Second

class Second:
    first: First
    stream: Stream

Twice = int
Twice = Charge
if TYPE_CHECKING:
    Chosen = int
else:
    Chosen = float
"""
LEAKS = {
    "Bound": "`Bound`: `Charge` has a facade",
    "type[Bound]": "`Bound`: `Charge` has a facade",
    "Either": "`Either`: `Stream.read` is a coroutine",
    "Mine": "`Mine`: `Charge` has a facade",
    "Options": "`Options.charge`: `Charge` has a facade",
    "Fields": "`Fields.charge`: `Charge` has a facade",
    "Handler": "`Handler.__call__` is a coroutine",
    "Attribute": "`Attribute.charge`: `Charge` has a facade",
    "Parameter": "`Parameter.charge`: `Charge` has a facade",
    "Value": "`Value.charges`: `Charge` has a facade",
    "Unannotated": "`Unannotated.get` has no return annotation",
    "Lines": "`Lines.__aiter__` is asynchronous",
    "Factory": "`Factory.__call__` has no return annotation",
    "Shared": "`Shared.charges`: `Charge` has a facade",
    "First": "`First.second`: `Second.stream`: `Stream.read` is a coroutine",
    "Second": "`Second.stream`: `Stream.read` is a coroutine",
}


def _given(root: Path, member: str) -> Sample:
    text = f"{HEAD}\nclass Client:\n    def __init__(self) -> None: ...\n    {member}\n"
    return Sample(root, text, given=("Charge",))


@pytest.mark.parametrize("kind", LEAKS)
def test_asynchronous_objects_inside_of_other_types_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Refused) as caught:
        _given(tmp_path, f"async def a(self, b: list[{kind}]) -> {kind}: ...").generate()
    what = f"`a`: parameter `b` takes what is asynchronous: {LEAKS[kind]}"
    line = HEAD.count("\n") + 5
    assert str(caught.value) == f"client.py:{line}: {what}"
    (tmp_path / "returned").mkdir()
    with pytest.raises(Refused) as caught:
        _given(tmp_path / "returned", f"async def a(self) -> {kind}: ...").generate()
    assert str(caught.value) == f"client.py:{line}: returns an asynchronous object: {LEAKS[kind]}"


@pytest.mark.parametrize(
    ("member", "what"),
    {
        "async def a(self, *b: Unpack[tuple[Charge, Charge]]) -> int: ...": "`a`: parameter `b` takes what is "
        "asynchronous: `Charge` has a facade",
        "async def a(self, **b: Unpack[Options]) -> int: ...": "`a`: parameter `b` takes what is asynchronous: "
        "`Options.charge`: `Charge` has a facade",
        "async def a(self) -> Twice: ...": "name `Twice`: defined several times in client.py",
        "async def a(self, b: Twice) -> int: ...": "name `Twice`: defined several times in client.py",
        "async def a(self, b: int = Twice) -> int: ...": "name `Twice`: defined several times in client.py",
    }.items(),
)
def test_names_with_several_meanings_and_unpacked_types_are_refused(tmp_path: Path, member: str, what: str) -> None:
    with pytest.raises(Refused) as caught:
        _given(tmp_path, member).generate()
    assert str(caught.value) == f"client.py:{HEAD.count(chr(10)) + 5}: {what}"


def test_types_without_asynchronous_objects_are_not_refused(tmp_path: Path) -> None:
    """Alternatives of `if TYPE_CHECKING:`, text of a `Literal`, and what the SDK itself calls on the event loop."""
    kinds = "Chosen, c: Literal['Charge'], d: SessionStorage, e: Sequence[aiohttp.TraceConfig]"
    text = _given(tmp_path, f"async def a(self, b: {kinds}) -> Chosen: ...").generate()
    assert f"def a(self, b: {kinds})".replace("'", '"') in " ".join(text.split()).replace("( self", "(self")
