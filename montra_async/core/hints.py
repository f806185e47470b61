"""Hints where Python's own error misleads: `with` on an asynchronous object, and an extra that is not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .twins import own_name


class AsyncOnly:
    """Base of what `async with` takes. `with` raises a `TypeError` that says so.

    Type checkers see no `__enter__`, so they refuse `with` as they should.
    """

    __slots__ = ()


if not TYPE_CHECKING:

    def _refuse_with(self: object, *_: Any) -> Any:
        name = own_name("montra_async", self)
        twin = name.replace("montra_async", "montra_sync", 1)
        raise TypeError(f"{name} is asynchronous: write `async with`, or use {twin} in synchronous code")

    AsyncOnly.__enter__ = AsyncOnly.__exit__ = _refuse_with


def missing_extra(what: str, extra: str, error: ImportError) -> ModuleNotFoundError:
    """The error of an extra that is not installed.

    Args:
        what: what needs it.
        extra: name of the extra.
        error: of the import that failed.
    """
    package = (error.name or extra).partition(".")[0]
    return ModuleNotFoundError(
        f"{what} needs {package}: pip install 'montra[{extra}]', or in a clone of the SDK: pip install -e '.[{extra}]'",
        name=package,
    )
