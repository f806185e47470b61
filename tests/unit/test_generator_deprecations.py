"""What the source deprecates is deprecated in the facade: one warning, at the caller's line, seen by type checkers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from montra_async import MontraDeprecationWarning

from .generating import Facade, Refused, Sample, Source, client_source, lazy, load_sample, public

IMPORTS = """
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from montra_async.core.deprecation import deprecated, deprecated_parameter
"""
TEXT = "Since 0.4.0, removed in 0.6.0: use `new`."
OLD = f"@deprecated({TEXT!r})\n"


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """Generates a facade of `Client` and imports it."""
    return partial(load_sample, tmp_path)


def source(*members: str) -> str:
    return client_source("\n\n".join(members), head=IMPORTS)


MEMBERS = (
    OLD + 'async def old(self, a: int) -> int:\n    """Call."""\n    return a',
    OLD + "async def items(self) -> AsyncIterator[int]:\n    yield 1",
    OLD + "def plain(self) -> int:\n    return 2",
    "@property\n" + OLD + "def name(self) -> str:\n    return 'ada'",
    "@staticmethod\n" + OLD + "def static(a: int) -> int:\n    return a",
    "@classmethod\n" + OLD + "def made(cls) -> int:\n    return 3",
    f"@deprecated_parameter('limit', {TEXT!r})\n"
    "async def listed(self, *, size: int = 5, limit: int | None = None) -> int:\n    return limit or size",
)


def test_each_kind_of_member_warns_once_at_the_line_of_its_caller(load: Callable[..., Any]) -> None:
    made = load(source(*MEMBERS))
    client = made.Client()
    calls: list[tuple[Callable[[], Any], Any]] = [
        (lambda: client.old(5), 5),
        (lambda: list(client.items()), [1]),
        (lambda: client.plain(), 2),
        (lambda: client.name, "ada"),
        (lambda: made.Client.static(7), 7),
        (lambda: made.Client.made(), 3),
        (lambda: client.listed(limit=9), 9),
    ]
    for call, expected in calls:
        with pytest.warns(MontraDeprecationWarning, match="deprecated since 0.4.0") as seen:
            assert call() == expected
        assert [(one.filename, one.lineno) for one in seen] == [(__file__, call.__code__.co_firstlineno)]
    assert client.listed(size=4) == 4  # no warning: -W error
    assert "Deprecated since 0.4.0" in (inspect.getdoc(made.Client.old) or "")
    assert vars(made.Client.old)["__deprecated__"] == TEXT


def test_the_text_is_written_where_type_checkers_see_it(tmp_path: Path) -> None:
    text = Sample(tmp_path, source(*MEMBERS)).generate()
    assert f'@deprecated("{TEXT}")' in text
    assert "reportDeprecated=false" in text.splitlines()[3]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (OLD + "@property\ndef name(self) -> int:\n    return 1", "stands below @property"),
        ("@deprecated(TEXT)\ndef name(self) -> int:\n    return 1", "one literal"),
        (
            "@asynccontextmanager\n" + OLD + "async def block(self) -> AsyncIterator[int]:\n    yield 1",
            "stands above @asynccontextmanager",
        ),
    ],
)
def test_a_deprecation_that_would_not_work_is_refused(tmp_path: Path, member: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        Sample(tmp_path, source(member)).generate()


def test_lost_names_of_the_package_are_lost_names_of_the_facade(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text(
        f"__all__ = ['Client', 'Customer']\nDEPRECATED_NAMES = {{'OldClient': ('Client', {TEXT!r})}}\n"
    )
    made = Source(tmp_path)
    text = lazy(made, "shop", "A shop.")
    assert f"DEPRECATED_NAMES = {{'OldClient': ('Client', {TEXT!r})}}" in text
    assert "lazily(__name__, __all__, DEPRECATED_NAMES)" in text
    facade = Facade(title="", package="shop", made={"Client": "shop.client"})
    assert "from .client import Client as OldClient" in public(made, "shop", facade)
