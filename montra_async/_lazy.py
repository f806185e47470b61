"""Packages that import their names when somebody asks for one.

Whoever imports `montra_async.webhooks` to check a signature imports `montra_async` with it, but needs no client and no
aiohttp: most of a cold start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any


def lazily(package: str, names: Collection[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose `names` are in its module `_public`."""

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        public = import_module("._public", package)
        value = getattr(public, name)
        setattr(sys.modules[package], name, value)  # the next time it is simply there
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *names})
