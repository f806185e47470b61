"""Writes the package `montra`: the names of both packages, `Montra` of the synchronous one and `AsyncMontra`."""

from __future__ import annotations

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


def front(source: Source) -> dict[str, str]:
    """The text of each file of the package, not yet formatted, by its path."""
    shared = [name for name in source.exported(ASYNC) if name not in (CLIENT, "__version__")]
    names = sorted([*shared, CLIENT, ASYNC_CLIENT, "__version__"])
    lines = [
        f"from {ASYNC} import {CLIENT} as {ASYNC_CLIENT}\n",
        *(f"from {ASYNC} import {name} as {name}\n" for name in shared),
        f"from {SYNC} import {CLIENT} as {CLIENT}\n",
    ]
    package = (
        f"{MARK}{DOC}\nfrom typing import TYPE_CHECKING\n\nfrom {ASYNC} import __version__\n\n{all_of(names)}\n"
        "if TYPE_CHECKING:\n    from ._public import *\nelse:\n"
        f"    from {ASYNC}._lazy import lazily\n\n    __getattr__, __dir__ = lazily(__name__, __all__)\n"
    )
    listed = all_of(name for name in names if name != "__version__")
    public = f'{MARK}"""Where each name of `montra` comes from."""\n\n{"".join(lines)}\n{listed}'
    return {"montra/__init__.py": package, "montra/_public.py": public}
