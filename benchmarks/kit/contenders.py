"""Who takes part."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def taking_part(contenders: Mapping[str, tuple[T, str | None]], only: str) -> dict[str, T]:
    """Those with `only` in their name, and their package installed. Says so when one is left out.

    Raises:
        SystemExit: nobody is left, which is no failure: another benchmark may have whom you want.
    """
    found = {
        name: one for name, (one, package) in contenders.items() if only in name and _installed(package, contender=name)
    }
    if not found:
        print(f"nobody here who can be measured has {only!r} in the name: {', '.join(contenders)}", file=sys.stderr)
        raise SystemExit(0)
    return found


def is_installed(package: str) -> bool:
    """Whether a package or module can be imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


def _installed(package: str | None, *, contender: str) -> bool:
    if package is None or is_installed(package):
        return True
    print(f"{contender}: {package} is not installed, left out", file=sys.stderr)
    return False
