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

    AsyncOnly.__enter__ = _refuse_with
    AsyncOnly.__exit__ = None  # `with` looks for it, too; `isinstance` of contextlib's classes then says no


def missing_extra(what: str, extra: str, error: ImportError) -> ImportError:
    """The error of an extra that is not installed, or in a version that does not fit.

    Args:
        what: what needs it.
        extra: name of the extra.
        error: of the import that failed.
    """
    package = (error.name or extra).partition(".")[0]
    install = f"pip install 'montra[{extra}]', or in a clone of the SDK: pip install -e '.[{extra}]'"
    if isinstance(error, ModuleNotFoundError):
        return ModuleNotFoundError(f"{what} needs {package}: {install}", name=package)
    return ImportError(f"{what} needs another version of {package} ({error}): {install}", name=package)
