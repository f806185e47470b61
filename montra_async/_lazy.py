"""Packages that import a public name when it is first used.

Importing `montra_async.webhooks`, e.g. to check a signature, also imports `montra_async`. Without the client and
aiohttp, that takes a fraction of the time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, names: Collection[str], deprecated: Mapping[str, tuple[str, str]] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package whose names are in its module `_public`.

    Args:
        package: name of the package.
        names: its public names.
        deprecated: for each name that it has lost, the one that it stands for, and the text of the deprecation.
    """

    def get(name: str) -> Any:
        if deprecated and name in deprecated:
            from .core.deprecation import warn_of_name

            name, text = deprecated[old := name]
            warn_of_name(package, old, text)
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        public = import_module("._public", package)
        value = getattr(public, name)
        setattr(sys.modules[package], name, value)  # the next access does not call this function
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *names})
