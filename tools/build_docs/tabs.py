"""Gives asynchronous snippets a second tab with their synchronous form."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from textwrap import dedent, indent

from generate_sync.formatting import formatted

from .fences import FENCE
from .sync_form import NoSyncFormError, has_sync_package, is_async, sync_form

ROOT = Path(__file__).parents[2]
OPT_OUT = "no-sync"


def with_tabs(text: str, page: str) -> str:
    """Write each asynchronous snippet of a page as two tabs, `async` and `sync`.

    Args:
        text: Markdown.
        page: the page's path, for messages.

    Raises:
        NoSyncFormError: a snippet has no synchronous form, and does not say so (`python no-sync`).
    """

    def replaced(match: re.Match[str]) -> str:
        if match["language"] != "python":
            return match[0]
        code = dedent(match["code"]) if match["indent"] else match["code"]
        plain = f"```python\n{code}```"
        if OPT_OUT in match["words"].split():
            return indent(plain, match["indent"])
        try:
            other = synchronous(code)
        except NoSyncFormError as error:
            line = text.count("\n", 0, match.start()) + 1
            raise NoSyncFormError(f"{page}, line {line}: {error}. Say so with ```python {OPT_OUT}") from None
        if other is None:
            return indent(plain, match["indent"])
        tabs = [f'=== "{title}"\n\n{indent(fence, "    ")}' for title, fence in _titles(plain, other)]
        return indent("\n\n".join(tabs), match["indent"])

    return FENCE.sub(replaced, text)


def _titles(plain: str, other: str) -> list[tuple[str, str]]:
    return [("async", plain), ("sync", f"```python\n{other}```")]


@cache
def synchronous(code: str) -> str | None:
    """The synchronous form of a snippet, formatted as the snippet is; None for one that has none and needs none.

    Args:
        code: a snippet.

    Raises:
        NoSyncFormError: it uses something that only asynchronous code has.
    """
    if not is_async(code) or not has_sync_package(code):
        return None
    result = sync_form(code)
    return _tidy(result) if _tidy(code) == code else result


def _tidy(code: str) -> str:
    return formatted(code, ROOT / "snippet.py", ROOT)
