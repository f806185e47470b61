"""`montra_async.core.deprecation`: who is warned, at which line, and what else of a function stays as it was."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import subprocess
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from montra_async import MontraDeprecationWarning
from montra_async._lazy import lazily
from montra_async.core.deprecation import (
    deprecated,
    deprecated_names,
    deprecated_parameter,
    is_async_generator_function,
    is_coroutine_function,
    parse_deprecation,
    undeprecated,
)

TEXT = "Since 0.4.0, removed in 0.6.0: use `new`."
SENTENCE = "deprecated since 0.4.0 and will be removed in 0.6.0: use `new`."


@deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
def old(a: int, *, b: int = 2) -> int:
    """Add.

    Args:
        a: one number.
        b: another.
    """
    return a + b


class Client:
    """A client."""

    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    async def fetch(self, a: int) -> int:
        """Fetch."""
        return a

    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    async def items(self) -> AsyncIterator[int]:
        """Iterate."""
        yield 1

    @property
    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    def name(self) -> str:
        """The name."""
        return "ada"

    @classmethod
    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    def make(cls) -> type[Client]:
        """Make."""
        return cls

    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    @contextmanager
    def block(self) -> Iterator[int]:
        """A block."""
        yield 1


def line() -> int:
    """The line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_a_call_warns_at_its_own_line_and_does_what_it_did() -> None:
    with pytest.warns(MontraDeprecationWarning) as seen:
        here, result = line(), old(1, b=3)
    assert (result, seen[0].filename, seen[0].lineno) == (4, __file__, here)
    assert str(seen[0].message) == f"`old` is {SENTENCE}"
    warning = seen[0].message
    assert isinstance(warning, MontraDeprecationWarning)
    assert (warning.since, warning.removed_in, warning.advice) == ("0.4.0", "0.6.0", "use `new`")


async def test_a_coroutine_function_warns_when_it_is_called_not_when_it_is_awaited() -> None:
    with pytest.warns(MontraDeprecationWarning, match=r"`Client\.fetch`") as seen:
        here, coroutine = line(), Client().fetch(5)
    assert (seen[0].filename, seen[0].lineno) == (__file__, here)
    assert await asyncio.create_task(coroutine) == 5  # under -W error, a second warning would be raised here


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction came with Python 3.12")
def test_a_coroutine_function_still_is_one() -> None:
    assert inspect.iscoroutinefunction(Client.fetch)
    assert not inspect.iscoroutinefunction(old)


def test_what_kind_of_function_it_is_can_be_asked_on_every_python() -> None:
    """`inspect` can't tell: of coroutines before Python 3.12, of asynchronous generators never."""
    client = Client()
    parameter = deprecated_parameter("a", TEXT)(Client.fetch)
    assert all(map(is_coroutine_function, (Client.fetch, client.fetch, parameter)))
    assert not any(map(is_coroutine_function, (old, Client.items, Client.make, None)))
    assert all(map(is_async_generator_function, (Client.items, client.items)))
    assert not any(map(is_async_generator_function, (old, Client.fetch, Client.make, None)))


async def test_generators_properties_class_methods_and_blocks_warn() -> None:
    client = Client()
    with pytest.warns(MontraDeprecationWarning, match=r"`Client\.items`"):
        items = client.items()
    assert [one async for one in items] == [1]
    with pytest.warns(MontraDeprecationWarning, match=r"`Client\.name`") as seen:
        here, name = line(), client.name
    assert (name, seen[0].lineno) == ("ada", here)
    with pytest.warns(MontraDeprecationWarning, match=r"`Client\.make`"):
        assert Client.make() is Client
    with pytest.warns(MontraDeprecationWarning, match=r"`Client\.block`"), client.block() as one:
        assert one == 1


def test_the_docstring_has_a_note_behind_its_summary_and_the_signature_stays() -> None:
    doc = inspect.getdoc(old) or ""
    assert doc.startswith(f"Add.\n\nDeprecated {SENTENCE.removeprefix('deprecated ')}\n\nArgs:\n    a: one number.")
    assert str(inspect.signature(old)) == "(a: 'int', *, b: 'int' = 2) -> 'int'"
    assert vars(old)["__deprecated__"] == TEXT


def test_a_class_warns_when_it_is_called_or_inherited_from() -> None:
    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    @attrs.frozen(kw_only=True)
    class Old:
        """A model."""

        a: int

        def __init_subclass__(cls, **options: Any) -> None:
            cls.options = options

    with pytest.warns(MontraDeprecationWarning, match=r"`.*Old` is deprecated") as seen:
        here, made = line(), Old(a=1)
    assert (made.a, seen[0].filename, seen[0].lineno) == (1, __file__, here)
    with pytest.warns(MontraDeprecationWarning) as seen:

        class Sub(Old, flag=1):
            """Derived."""

    assert (seen[0].filename, seen[0].lineno) == (__file__, inspect.getsourcelines(Sub)[1])
    assert Sub.options == {"flag": 1}
    assert Sub(a=2).a == 2  # the class itself was warned of
    assert attrs.evolve(Sub(a=2), a=3).a == 3
    restored = object.__new__(Old)  # as the models of a response are made
    assert isinstance(restored, Old)


def test_a_class_without_its_own_init_warns() -> None:
    class Base:
        """A base."""

        def __init__(self, a: int) -> None:
            self.a = a

    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    class Old(Base):
        """Inherits everything."""

    with pytest.warns(MontraDeprecationWarning):
        assert Old(4).a == 4
    with pytest.warns(MontraDeprecationWarning):

        class Sub(Old):
            """Inherits everything, too."""

    assert Sub(5).a == 5


@pytest.mark.parametrize("decorate", [attrs.frozen(slots=True), dataclass(slots=True)], ids=["attrs", "dataclass"])
def test_a_class_that_is_made_again_with_slots_warns_once_and_at_the_line_of_its_user(decorate: Any) -> None:
    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    @decorate
    class Old:
        """A model."""

        a: int

    copy: Any = attrs.evolve if attrs.has(Old) else replace
    made: Any = Old
    with pytest.warns(MontraDeprecationWarning) as seen:
        here, first = line(), made(1)
    with pytest.warns(MontraDeprecationWarning) as again:
        there, second = line(), copy(first, a=2)
    assert second.a == 2
    assert [(one.filename, one.lineno) for one in (*seen, *again)] == [(__file__, here), (__file__, there)]
    for _ in range(2):  # a second class of the same name is another one
        with pytest.warns(MontraDeprecationWarning) as inherited:

            @decorate
            class Sub(Old):
                """Derived."""

                b: int = 3

        first_line = inspect.getsourcelines(Sub)[1]
        assert len(inherited) == 1
        assert inherited[0].filename == __file__
        assert first_line <= inherited[0].lineno <= first_line + 1  # of the decorator, or of `class`
        assert (Sub(1).b, hasattr(Sub(1), "__dict__")) == (3, False)


@deprecated_parameter("limit", "Since 0.4.0, removed in 0.6.0: use `page_size`.")
@deprecated_parameter("first", "Since 0.4.0, removed in 0.6.0: leave it out.")
def listed(query: str, first: int = 0, *, page_size: int = 50, limit: int | None = None) -> tuple[str, int, int]:
    """List."""
    return query, first, limit or page_size


def test_a_parameter_warns_when_it_is_given_however() -> None:
    assert listed("a", page_size=2) == ("a", 0, 2)  # no warning: -W error
    with pytest.warns(MontraDeprecationWarning, match=r"the parameter `limit` of `listed` is deprecated") as seen:
        here, found = line(), listed("a", limit=None)
    assert (found, seen[0].filename, seen[0].lineno) == (("a", 0, 50), __file__, here)
    for positional in (True, False):
        with pytest.warns(MontraDeprecationWarning, match="`first`"):
            assert (listed("a", 3) if positional else listed("a", first=3)) == ("a", 3, 50)
    with pytest.warns(MontraDeprecationWarning) as both:
        listed("a", 3, limit=1)
    assert len(both) == 2
    assert "parameter `limit` is deprecated since" in (listed.__doc__ or "")


@given(
    names=st.lists(st.sampled_from("abcde"), unique=True, min_size=1),
    cuts=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    data=st.data(),
)
def test_a_parameter_of_any_kind_warns_exactly_when_a_call_gives_it(
    names: list[str], cuts: tuple[int, int], data: st.DataObject
) -> None:
    """Compared with what Python's own binding of the arguments says."""
    low, high = sorted(cuts)
    kinds = [
        inspect.Parameter.POSITIONAL_ONLY if index < low
        else inspect.Parameter.POSITIONAL_OR_KEYWORD if index < high
        else inspect.Parameter.KEYWORD_ONLY
        for index in range(len(names))
    ]  # fmt: skip
    parameters = [inspect.Parameter(name, kind, default=0) for name, kind in zip(names, kinds, strict=True)]
    signature = inspect.Signature(parameters)

    def function(*args: int, **kwargs: int) -> dict[str, int]:
        return dict(signature.bind(*args, **kwargs).arguments)

    function.__signature__ = signature  # type: ignore[attr-defined]
    name = data.draw(st.sampled_from(names))
    places = sum(kind is not inspect.Parameter.KEYWORD_ONLY for kind in kinds)
    args = data.draw(st.lists(st.integers(), max_size=places))
    by_name = [one.name for one in parameters[len(args) :] if one.kind is not inspect.Parameter.POSITIONAL_ONLY]
    kwargs = {one: 1 for one in by_name if data.draw(st.booleans())}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = deprecated_parameter(name, "Since 0.4.0, removed in 0.6.0: leave it out.")(function)(*args, **kwargs)
    assert len(seen) == (name in found)


def test_what_is_behind_can_be_called_without_a_warning() -> None:
    client = Client()
    assert undeprecated(old)(1) == 3
    assert asyncio.run(undeprecated(client.fetch)(2)) == 2
    assert undeprecated(listed)("a", 1, limit=2) == ("a", 1, 2)
    assert undeprecated(Client.make)() is Client
    assert undeprecated(len)([1]) == 1
    assert undeprecated(client.__repr__)() == repr(client)


versions = st.tuples(*[st.integers(0, 9999)] * 3)


@given(since=versions, removed_in=versions, advice=st.text(min_size=1).filter(lambda one: one == one.strip(" .\t\r\n")))
def test_a_text_is_taken_apart_or_refused(since: tuple[int, ...], removed_in: tuple[int, ...], advice: str) -> None:
    words = [".".join(map(str, one)) for one in (since, removed_in)]
    text = f"Since {words[0]}, removed in {words[1]}: {advice}."
    if since < removed_in and not advice[0].isspace():
        assert tuple(parse_deprecation(text)) == (*words, advice)
    else:
        with pytest.raises(ValueError, match="removed in"):
            parse_deprecation(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "use `new`",
        "Since 0.4, removed in 0.6: use `new`.",
        "Since 0.6.0, removed in 0.6.0: x.",
        "Since 0.4.0: use it.",
    ],
)
def test_other_texts_are_refused_when_the_module_is_imported(text: str) -> None:
    for decorate in (deprecated, lambda one: deprecated_parameter("a", one)):
        with pytest.raises(ValueError, match="removed in"):
            decorate(text)


def test_what_can_not_be_deprecated_says_so() -> None:
    with pytest.raises(TypeError, match="stands below @property"):
        deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")(property(lambda _: 1))  # type: ignore[type-var]
    with pytest.raises(TypeError, match="no parameter 'c'"):
        deprecated_parameter("c", TEXT)(old)
    with pytest.raises(TypeError, match="no parameter 'rest'"):
        deprecated_parameter("rest", TEXT)(lambda *rest: rest)

    class Text(str):
        """Made by `__new__`."""

    with pytest.raises(TypeError, match="DEPRECATED_NAMES"):
        deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")(Text)


def test_names_of_a_module_warn_and_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop")
    names = {"OldCustomer": ("Customer", TEXT)}
    vars(module).update(Customer=int, __getattr__=deprecated_names("shop", names))
    monkeypatch.setitem(sys.modules, "shop", module)
    with pytest.warns(MontraDeprecationWarning, match=r"`shop\.OldCustomer` is deprecated") as seen:
        here, found = line(), module.OldCustomer
    assert (found, seen[0].filename, seen[0].lineno) == (int, __file__, here)
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = module.Other


def test_names_of_a_lazy_package_warn_and_still_work() -> None:
    get, listing = lazily("montra_async", ["Customer"], {"OldCustomer": ("Customer", TEXT)})
    with pytest.warns(MontraDeprecationWarning, match=r"`montra_async\.OldCustomer`"):
        found = get("OldCustomer")
    assert found is get("Customer")
    assert "OldCustomer" not in listing()


def test_no_argument_is_left_in_a_frame_when_it_fails() -> None:
    """Error trackers record the local variables of frames: a secret that was given must not be in ours."""

    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    def fails(key: str) -> None:
        """Fail."""
        del key
        raise LookupError("failed")

    @deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
    class Fails:
        """Fail."""

        def __init__(self, key: str) -> None:
            del key
            raise LookupError("failed")

    def recorded(function: Any) -> str:
        try:
            function("".join(["sk_live_", "secret"]))
        except (LookupError, MontraDeprecationWarning) as error:
            return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        raise AssertionError

    for action in ("ignore", "error"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)  # type: ignore[arg-type]
            for function in (fails, Fails):
                assert "sk_live_secret" not in recorded(function)


def test_a_warning_can_be_sent_to_another_process() -> None:
    warning = MontraDeprecationWarning("`old`", "0.4.0", "0.6.0", "use `new`")
    assert str(pickle.loads(pickle.dumps(warning))) == str(warning) == str(type(warning)(*warning.args))


@pytest.mark.parametrize(
    ("options", "shown"), [([], False), (["-W", "default::DeprecationWarning"], True), (["-X", "dev"], True)]
)
def test_a_program_shows_it_when_asked_to_or_at_its_own_top_level(
    tmp_path: Path, options: list[str], shown: bool
) -> None:
    """The default of Python for a DeprecationWarning: users of an application don't see it, its developers do."""
    (tmp_path / "library.py").write_text(
        "from montra_async.core.deprecation import deprecated\n"
        f"@deprecated({TEXT!r})\n"
        "def old(): ...\n"
        "def use(): old()\n"
    )
    for statement, expected in (("library.use()", shown), ("library.old()", True)):
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import library; {statement}"
        run = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60)
        assert (run.returncode, "MontraDeprecationWarning: `old`" in run.stderr) == (0, expected)
