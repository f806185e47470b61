"""Writes the package `montra`: the names of both packages, `Montra` of the synchronous one and `AsyncMontra`."""

from __future__ import annotations

from .deprecations import deprecated_names
from .source import Source
from .writing import MARK, all_of

ASYNC, SYNC = "montra_async", "montra_sync"
CLIENT = "Montra"
ASYNC_CLIENT = f"Async{CLIENT}"

DOC = '''"""The Python SDK for Montra under one name: `Montra` for synchronous code, `AsyncMontra` for asynchronous.

    from montra import Montra, AsyncMontra

Models and errors are the same for both. `Montra` is `montra_sync.Montra`, and `AsyncMontra` is `montra_async.Montra`:
everything else (webhooks, the paywall service, usage, access, frameworks) is in `montra_sync` and `montra_async`.
"""
'''


def montra_package(source: Source) -> dict[str, str]:
    """The text of each file of the package, not yet formatted, by its path."""
    shared = [name for name in source.exported(ASYNC) if name not in (CLIENT, "__version__")]
    names = sorted([*shared, CLIENT, ASYNC_CLIENT, "__version__"])
    lost = _lost_names(source)
    lines = [
        f"from {ASYNC} import {CLIENT} as {ASYNC_CLIENT}\n",
        *(f"from {ASYNC} import {name} as {name}\n" for name in shared),
        f"from {SYNC} import {CLIENT} as {CLIENT}\n",
    ]
    for name, (target, _) in lost.items():  # for type checkers
        package = SYNC if target == CLIENT else ASYNC
        lines.append(f"from {package} import {CLIENT if target == ASYNC_CLIENT else target} as {name}\n")
    declared = f"DEPRECATED_NAMES = {lost!r}\n" if lost else ""
    package = (
        f"{MARK}{DOC}\nfrom typing import TYPE_CHECKING\n\nfrom {ASYNC} import __version__\n\n"
        f"{all_of(names)}{declared}\nif TYPE_CHECKING:\n    from ._public import *\nelse:\n"
        f"    from {ASYNC}._lazy import lazily\n\n"
        f"    __getattr__, __dir__ = lazily(__name__, __all__{', DEPRECATED_NAMES' if lost else ''})\n"
    )
    listed = all_of(name for name in [*names, *lost] if name != "__version__")
    public = f'{MARK}"""Where each name of `montra` comes from."""\n\n{"".join(lines)}\n{listed}'
    return {"montra/__init__.py": package, "montra/_public.py": public}


def _lost_names(source: Source) -> dict[str, tuple[str, str]]:
    """The names that the asynchronous package has lost; a former name of the client is one of each client."""
    lost = dict(deprecated_names(source, ASYNC))
    for name, (target, text) in deprecated_names(source, ASYNC).items():
        if target == CLIENT:
            lost[f"Async{name}"] = (ASYNC_CLIENT, text.replace(f"`{CLIENT}`", f"`{ASYNC_CLIENT}`"))
    return lost
