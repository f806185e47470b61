"""Deprecations: a warning at the caller's line, a note in the docstring, and a version in which the thing is removed.

The policy is in docs/policies.md. What is deprecated says so in one text, which people, type checkers (PEP 702) and the
test that watches over removals read:

    @deprecated("Since 0.4.0, removed in 0.6.0: use `create_customer`.")
    async def add_customer(self, name: str) -> Customer: ...

    @deprecated_parameter("limit", "Since 0.4.0, removed in 0.6.0: use `page_size`.")
    async def list_customers(self, *, page_size: int = 50, limit: int | None = None) -> list[Customer]: ...

An attribute becomes a property under `@deprecated`; a name of a module an entry of its `DEPRECATED_NAMES`.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import FrameType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeGuard, TypeVar, cast

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T", bound=Callable[..., Any])

_VERSION = r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}"
_TEXT = re.compile(
    rf"Since (?P<since>{_VERSION}), removed in (?P<removed_in>{_VERSION}): (?P<advice>\S.*?)\.?", re.DOTALL
)
_REMAKING = frozenset({"attr", "attrs", "dataclasses"})
"""Packages that make a class with slots by making it again, and objects from others."""
_OURS = ("montra", "montra_async", "montra_cli", "montra_pytest", "montra_sync")
_SKIPPED = frozenset({*_OURS, "abc", "contextlib", *_REMAKING})
"""Packages whose frames are not the caller's: ours, and those that call us in the name of others."""


_WARNED: ContextVar[bool] = ContextVar("montra_deprecation_warned", default=False)


class MontraDeprecationWarning(DeprecationWarning):
    """Something of the SDK that a later version removes; a test runner shows it, a program in production does not.

    Args:
        subject: what is deprecated.
        since: the version that deprecated it.
        removed_in: the version that removes it.
        advice: what to do instead.

    Attributes:
        subject: what is deprecated.
        since: the version that deprecated it.
        removed_in: the version that removes it.
        advice: what to do instead.
    """

    def __init__(self, subject: str, since: str, removed_in: str, advice: str) -> None:
        super().__init__(subject, since, removed_in, advice)  # what pickle and other processes make it from
        self.subject: str = subject
        self.since: str = since
        self.removed_in: str = removed_in
        self.advice: str = advice

    def __str__(self) -> str:
        return f"{self.subject} is deprecated {Deprecation(self.since, self.removed_in, self.advice).sentence}"


class Deprecation(NamedTuple):
    """The parts of a text.

    Attributes:
        since: the version that deprecates.
        removed_in: the version that removes.
        advice: what to do instead, without a full stop.
    """

    since: str
    removed_in: str
    advice: str

    @property
    def sentence(self) -> str:
        """The end of a sentence that begins with `... is deprecated`."""
        return f"since {self.since} and will be removed in {self.removed_in}: {self.advice}."


def parse_deprecation(text: str) -> Deprecation:
    """Take a text apart.

    Args:
        text: `Since 0.4.0, removed in 0.6.0: use ...`.

    Raises:
        ValueError: it has another form, or is removed before it is deprecated.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"a deprecation reads 'Since 0.4.0, removed in 0.6.0: use ...', not {text!r}")
    since, removed_in = ([int(part) for part in found[name].split(".")] for name in ("since", "removed_in"))
    if since >= removed_in:
        raise ValueError(f"removed in {found['removed_in']}, before it is deprecated in {found['since']}")
    return Deprecation(found["since"], found["removed_in"], found["advice"])


@contextmanager
def already_warned() -> Generator[None]:
    """In the block, nothing of the SDK warns: for properties of the synchronous facade, which has warned."""
    token = _WARNED.set(True)
    try:
        yield
    finally:
        _WARNED.reset(token)


def warn_of(subject: str, deprecation: Deprecation) -> None:
    """Warn at the line outside of the SDK that has led here.

    Args:
        subject: what is deprecated.
        deprecation: what to say of it.
    """
    from inspect import currentframe

    if _WARNED.get():
        return
    frame, level = currentframe(), 1
    while frame is not None and _package_of(frame) in _SKIPPED:
        frame, level = frame.f_back, level + 1
    warnings.warn(MontraDeprecationWarning(subject, *deprecation), stacklevel=level)


def _package_of(frame: FrameType) -> str:
    """The top-level package of a frame's code."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _deprecated(text: str) -> Callable[[_T], _T]:
    """Deprecate a function, a method or a class.

    A call warns when it is made, also one of a coroutine function (`await` may come later, and elsewhere). A class
    warns when it is called or inherited from. This stands directly above the function, below `@property`,
    `@classmethod` and `@staticmethod`; but above `@asynccontextmanager` and `@contextmanager`, and above what makes the
    `__init__` of a class, such as `@attrs.frozen`. What is made is a plain
    function: `is_coroutine_function` and `is_async_generator_function` tell what is behind it, on every Python.

    Args:
        text: a literal, `Since 0.4.0, removed in 0.6.0: use ...`.

    Raises:
        ValueError: the text has another form.
        TypeError: this can't be deprecated.
    """
    deprecation = parse_deprecation(text)

    def decorate(thing: _T) -> _T:
        if isinstance(thing, type):
            _deprecate_class(thing, deprecation)
            made: Any = thing
        elif callable(thing) and hasattr(thing, "__code__"):
            made = _warning(thing, f"`{_name_of(thing)}`", deprecation)
        else:
            raise TypeError(f"@deprecated stands below @{type(thing).__name__}, directly above the function")
        made.__deprecated__ = text
        _add_note(made, f"Deprecated {deprecation.sentence}")
        return cast(_T, made)

    return decorate


if TYPE_CHECKING:
    # Type checkers know this one by its name, and show its text where what it decorates is used.
    from typing_extensions import deprecated as deprecated
else:
    deprecated = _deprecated


def deprecated_parameter(name: str, text: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Deprecate a parameter: a call that gives it warns, with whatever value.

    Type checkers are told by an overload that has the parameter, under `@deprecated`.

    Args:
        name: of the parameter.
        text: `Since 0.4.0, removed in 0.6.0: use ...`.

    Raises:
        ValueError: the text has another form.
        TypeError: there is no such parameter.
    """
    deprecation = parse_deprecation(text)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        from inspect import Parameter, signature

        parameters = signature(function).parameters
        if name not in parameters or parameters[name].kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            raise TypeError(f"{_name_of(function)} has no parameter {name!r} that a call can name")
        place = list(parameters).index(name)
        by_position = parameters[name].kind is not Parameter.KEYWORD_ONLY
        by_name = parameters[name].kind is not Parameter.POSITIONAL_ONLY

        def applies(number: int, names: Collection[str]) -> bool:
            return (by_name and name in names) or (by_position and number > place)

        made = _warning(function, f"the parameter `{name}` of `{_name_of(function)}`", deprecation, applies)
        _add_note(made, f"The parameter `{name}` is deprecated {deprecation.sentence}")
        return made

    return decorate


def undeprecated(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """What a deprecated function does, without a warning: the synchronous facade has warned already.

    Args:
        function: a function or a bound method, deprecated or not.
    """
    method: Any = getattr(function, "__func__", None)
    plain: Any = function if method is None else method
    while getattr(plain, "__warns__", None) is plain:
        plain = getattr(plain, "__wrapped__")  # noqa: B009 - unknown to type checkers
    return cast("Callable[_P, _R]", plain if method is None else MethodType(plain, getattr(function, "__self__", None)))


def is_coroutine_function(function: object) -> TypeGuard[Callable[..., Any]]:
    """Whether a function or method, deprecated or not, is a coroutine function: before 3.12 `inspect` can't tell.

    Args:
        function: any object.
    """
    from inspect import iscoroutinefunction

    return callable(function) and iscoroutinefunction(undeprecated(function))


def is_async_generator_function(function: object) -> TypeGuard[Callable[..., Any]]:
    """Whether a function or method, deprecated or not, is an asynchronous generator function: `inspect` can't tell.

    Args:
        function: any object.
    """
    from inspect import isasyncgenfunction

    return callable(function) and isasyncgenfunction(undeprecated(function))


def warn_of_name(module: str, name: str, text: str) -> None:
    """Warn of a name of a module; for its `__getattr__`.

    Args:
        module: its name.
        name: the name that is deprecated.
        text: `Since 0.4.0, removed in 0.6.0: use ...`.
    """
    warn_of(f"`{module}.{name}`", parse_deprecation(text))


def deprecated_names(module: str, names: Mapping[str, tuple[str, str]]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a module that has lost some names.

    Args:
        module: its name.
        names: for each lost name, the one in the module that it stands for, and the text. Call it `DEPRECATED_NAMES`.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        target, text = names[name]
        warn_of_name(module, name, text)
        return getattr(sys.modules[module], target)

    return get


def _name_of(function: Callable[..., Any]) -> str:
    """`Montra.create_customer`: without the functions around it."""
    return str(getattr(function, "__qualname__", function)).rpartition("<locals>.")[2]


def _warning(
    function: Callable[_P, _R],
    subject: str,
    deprecation: Deprecation,
    applies: Callable[[int, Collection[str]], bool] = lambda _number, _names: True,
) -> Callable[_P, _R]:
    """A function that warns first. The one of a coroutine function returns the coroutine.

    Args:
        function: what it does then.
        subject: what is deprecated.
        deprecation: what to say of it.
        applies: whether a call is concerned, by the number of its positional arguments and the names of the others.
    """
    from inspect import iscoroutinefunction

    @wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            if applies(len(args), frozenset(kwargs)):
                warn_of(subject, deprecation)
            return function(*args, **kwargs)
        finally:  # error reporters print the local variables of frames
            del args, kwargs

    if sys.version_info >= (3, 12) and iscoroutinefunction(function):
        from inspect import markcoroutinefunction

        markcoroutinefunction(wrapper)
    wrapper.__dict__["__warns__"] = wrapper  # `wraps` of other decorators copies it: only its own counts
    return wrapper


def _deprecate_class(cls: type[Any], deprecation: Deprecation) -> None:
    """Make a class warn. Objects that come without `__init__`, those of a response or of a pickle, don't warn."""
    from inspect import currentframe

    inherited: Any = cls.__init__
    made_by_new: Any = cls.__new__
    if inherited is object.__init__ and made_by_new is not object.__new__:
        raise TypeError(f"{cls.__qualname__} has no __init__: deprecate its name, in its module's DEPRECATED_NAMES")
    subject = f"`{cls.__qualname__}`"
    own_init, own_subclass = vars(cls).get("__init__"), vars(cls).get("__init_subclass__")

    @wraps(inherited)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            if type(self) is cls:
                warn_of(subject, deprecation)
            if own_init is not None:
                own_init(self, *args, **kwargs)
            else:
                super(cls, self).__init__(*args, **kwargs)
        finally:
            del args, kwargs

    last: list[str] = []

    def init_subclass(sub: type[Any], /, **kwargs: Any) -> None:
        name, frame = f"{sub.__module__}.{sub.__name__}", currentframe()
        caller = _package_of(frame.f_back) if frame is not None and frame.f_back is not None else ""
        if last != [name] or caller not in _REMAKING:  # else it is the class of before, made again with slots
            warn_of(subject, deprecation)
        last[:] = [name]
        if own_subclass is not None:
            own_subclass.__func__(sub, **kwargs)
        else:
            super(cls, sub).__init_subclass__(**kwargs)

    setattr(cls, "__init__", init)  # noqa: B010 - type checkers forbid the assignment
    setattr(cls, "__init_subclass__", classmethod(init_subclass))  # noqa: B010


def _add_note(thing: Any, note: str) -> None:
    """Put a note behind the summary line of a docstring."""
    from inspect import cleandoc

    if thing.__doc__:  # there is none under `python -OO`
        summary, _, rest = cleandoc(thing.__doc__).partition("\n\n")
        thing.__doc__ = "\n\n".join(part for part in (summary, note, rest) if part)
