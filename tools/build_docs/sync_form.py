"""The synchronous form of an asynchronous snippet, by the rules of the facade: what `montra_sync` calls the same.

It works on tokens, so that comments and layout stay as they are. A snippet that has no synchronous form is refused,
with what stands in the way.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

NAMES = {
    "montra_async": "montra_sync",
    "aclose": "close",
    "aiter": "iter",
    "anext": "next",
    "AsyncExitStack": "ExitStack",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "AsyncOpenAI": "OpenAI",
    "StopAsyncIteration": "StopIteration",
    "asynccontextmanager": "contextmanager",
    "enter_async_context": "enter_context",
    "push_async_callback": "callback",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
"""Names that mean the same thing in synchronous code."""
AWAITED_METHODS = {"handle": "handle_blocking"}
"""Methods of objects that both packages share, and which have another name where nothing is awaited."""
ACQUIRED_METHODS = frozenset({"hold"})
"""Methods whose result is awaited in asynchronous code, and acquired in synchronous code."""
FIXTURES = {"montra": "montra_sync"}
"""Fixtures of the pytest plugin that give a client."""
REFUSED_NAMES = frozenset({"anyio", "trio", "Awaitable", "Coroutine", "AsyncStoreAdapter"})


class NoSyncFormError(Exception):
    """A snippet has no synchronous form; the message says why."""


@dataclass
class Token:
    """A token, and the white space and line breaks before it.

    Attributes:
        type: as `tokenize` says.
        text: what is written.
        before: what stands between the token before and this one.
    """

    type: int
    text: str
    before: str


def is_async(code: str) -> bool:
    """Whether a snippet uses `montra_async` and waits for something, so that a synchronous form says something else."""
    if "montra_async" not in code and not re.search(r"\bdef test_\w+\([^)]*\bmontra\b", code):
        return False
    waiting = (ast.AsyncFunctionDef, ast.AsyncWith, ast.AsyncFor, ast.Await)
    return any(isinstance(node, waiting) for node in ast.walk(ast.parse(code)))


def has_sync_package(code: str) -> bool:
    """Whether all that a snippet imports of `montra_async` is in `montra_sync`, too: not for FastAPI, for example."""
    modules = re.findall(r"\bmontra_async((?:\.\w+)*)", code)
    return not any(_is_missing(f"montra_sync{one}") for one in modules)


def _is_missing(module: str) -> bool:
    try:
        return find_spec(module) is None
    except ModuleNotFoundError:
        return True


def sync_form(code: str) -> str:
    """Write a snippet for `montra_sync`.

    Args:
        code: a whole module for `montra_async`.

    Returns:
        The same for `montra_sync`. Imports that nothing uses any more are gone.

    Raises:
        NoSyncFormError: it uses something that only asynchronous code has.
    """
    tokens = _read(code)
    tokens = _without_async_words(tokens)
    tokens = _without_calls(tokens)
    _rename(tokens)
    if _has_test_with(tokens, "montra"):
        _rename_fixtures(tokens)
    _refuse_what_is_left(tokens)
    text = _without_marks("".join(token.before + token.text for token in tokens))
    text = _with_time(text)
    text = _without_unused_asyncio(text)
    ast.parse(text)  # what is wrong is told here, not by who runs it
    return text


def _read(code: str) -> list[Token]:
    """The tokens of a text. Put together again, they are the text."""
    lines = code.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    tokens: list[Token] = []
    end = 0
    for one in tokenize.generate_tokens(io.StringIO(code).readline):
        if one.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        start = offsets[one.start[0] - 1] + one.start[1] if one.start[0] <= len(lines) else len(code)
        stop = offsets[one.end[0] - 1] + one.end[1] if one.end[0] <= len(lines) else len(code)
        tokens.append(Token(one.type, code[start:stop], code[end:start]))
        end = stop
    tokens.append(Token(tokenize.ENDMARKER, "", code[end:]))
    return tokens


def _without_async_words(tokens: list[Token]) -> list[Token]:
    """Remove `await` and `async`, and what is called differently because it was awaited."""
    kept: list[Token] = []
    for index, token in enumerate(tokens):
        if token.type == tokenize.NAME and token.text in ("await", "async"):
            tokens[index + 1].before = token.before
            if token.text == "await":
                _await_of(tokens, index)
            continue
        if _is_formatted_string(token):
            token.text = _without_await_in_string(token.text)
        kept.append(token)
    return kept


def _await_of(tokens: list[Token], index: int) -> None:
    """Change the call that is awaited here, if it has another name or another result in synchronous code."""
    end = index + 1
    method: Token | None = None
    while tokens[end].type == tokenize.NAME or tokens[end].text in (".", "(", "["):
        if tokens[end].text in ("(", "["):
            closing = _closing(tokens, end)
            is_last = tokens[closing + 1].text not in (".", "(", "[")
            if method is not None and tokens[end].text == "(" and is_last:
                method.text = AWAITED_METHODS.get(method.text, method.text)
                tokens[closing].text += ".acquire()" * (method.text in ACQUIRED_METHODS)
            end = closing
        elif tokens[end].type == tokenize.NAME:
            method = tokens[end] if tokens[end - 1].text == "." else None
        end += 1
    _remove_parentheses(tokens, index, end)


def _remove_parentheses(tokens: list[Token], index: int, end: int) -> None:
    """`(await montra.get_customer(id)).name` needs none without `await`."""
    before, opening = tokens[index - 2], tokens[index - 1]
    calls = before.text in (")", "]") or (before.type == tokenize.NAME and not keyword.iskeyword(before.text))
    if index and opening.text == "(" and tokens[end].text == ")" and not (calls and index > 1):
        tokens[index + 1].before = opening.before
        opening.text = opening.before = tokens[end].text = ""


def _closing(tokens: list[Token], opening: int) -> int:
    """The index of the bracket that closes another one."""
    depth = 0
    for index in range(opening, len(tokens)):
        if tokens[index].type == tokenize.OP:
            depth += (tokens[index].text in "([{") - (tokens[index].text in ")]}")
            if depth == 0:
                return index
    raise NoSyncFormError("a bracket is not closed")


def _is_formatted_string(token: Token) -> bool:
    """Whether this is an f-string, which Python before 3.12 reads as one token."""
    return token.type == tokenize.STRING and "f" in token.text[: token.text.index(token.text[-1])].lower()


def _without_await_in_string(text: str) -> str:
    return re.sub(r"\{[^{}]*\}", lambda match: re.sub(r"\bawait ", "", match[0]), text)


def _without_calls(tokens: list[Token]) -> list[Token]:
    """What `asyncio` does with others' functions: `asyncio.run(main())` is `main()`, for example."""
    index = 0
    while index < len(tokens) - 3:
        words = [token.text for token in tokens[index : index + 4]]
        if words[:2] == ["asyncio", "."] and words[3] == "(":
            if words[2] == "run":
                _unwrap_run(tokens, index)
                continue
            if words[2] == "to_thread":
                _unwrap_to_thread(tokens, index)
                continue
            if words[2] == "gather":
                _unwrap_gather(tokens, index)
                continue
            if words[2] == "sleep":
                tokens[index].text = "time"
        index += 1
    return tokens


def _unwrap_run(tokens: list[Token], index: int) -> None:
    closing = _closing(tokens, index + 3)
    if any(text == "=" for _, text in _top_level(tokens, index + 4, closing)):
        raise NoSyncFormError("asyncio.run with options")
    tokens[index + 4].before = tokens[index].before
    del tokens[closing]
    del tokens[index : index + 4]


def _unwrap_gather(tokens: list[Token], index: int) -> None:
    """A list of results, one after the other."""
    closing = _closing(tokens, index + 3)
    if any(text == "=" for _, text in _top_level(tokens, index + 4, closing)):
        raise NoSyncFormError("asyncio.gather with options")
    tokens[index + 3].text, tokens[closing].text = "[", "]"
    tokens[index + 3].before = tokens[index].before
    if [one.text for one in tokens[index + 4 : index + 6]] == ["*", "("] and _closing(tokens, index + 5) == closing - 1:
        del tokens[closing - 1]
        tokens[index + 6].before = ""
        del tokens[index + 4 : index + 6]
    del tokens[index : index + 3]


def _unwrap_to_thread(tokens: list[Token], index: int) -> None:
    """The first argument is called with the others."""
    closing = _closing(tokens, index + 3)
    comma = next(
        (at for at, text in _top_level(tokens, index + 4, closing) if text == ","),
        None,
    )
    tokens[index + 4].before = tokens[index].before
    if comma is None:
        tokens[closing] = Token(tokenize.OP, "()", "")
    else:
        tokens[comma] = Token(tokenize.OP, "(", "")
        tokens[comma + 1].before = tokens[comma + 1].before.lstrip(" ")
    del tokens[index : index + 4]


def _top_level(tokens: list[Token], start: int, stop: int) -> Iterator[tuple[int, str]]:
    depth = 0
    for index in range(start, stop):
        if tokens[index].type == tokenize.OP:
            depth += (tokens[index].text in "([{") - (tokens[index].text in ")]}")
        if depth == 0:
            yield index, tokens[index].text


def _rename(tokens: list[Token]) -> None:
    for index, token in enumerate(tokens):
        if token.type == tokenize.NAME:
            if token.text == "AsyncGenerator":
                token.text = "Generator"
                if tokens[index + 1].text == "[":
                    tokens[_closing(tokens, index + 1)].text = ", None]"
            if token.text == "redis" and [one.text for one in tokens[index + 1 : index + 3]] == [".", "asyncio"]:
                tokens[index + 1].text = tokens[index + 2].text = ""
            token.text = NAMES.get(token.text, token.text)
        elif token.type == tokenize.COMMENT:
            token.text = token.text.replace("montra_async", "montra_sync")


def _has_test_with(tokens: list[Token], fixture: str) -> bool:
    """Whether there is a test function that takes a fixture."""
    for index, token in enumerate(tokens):
        if token.text == "def" and tokens[index + 1].text.startswith("test_"):
            closing = _closing(tokens, index + 2)
            if fixture in [one.text for one in tokens[index + 3 : closing]]:
                return True
    return False


def _rename_fixtures(tokens: list[Token]) -> None:
    for index, token in enumerate(tokens):
        if token.type == tokenize.NAME and token.text in FIXTURES and tokens[index - 1].text != ".":
            token.text = FIXTURES[token.text]


def _refuse_what_is_left(tokens: list[Token]) -> None:
    for index, token in enumerate(tokens):
        if token.type != tokenize.NAME or keyword.iskeyword(token.text):
            continue
        if token.text in REFUSED_NAMES:
            raise NoSyncFormError(f"{token.text} is only for asynchronous code")
        if token.text == "asyncio" and tokens[index + 1].text == ".":
            raise NoSyncFormError(f"asyncio.{tokens[index + 2].text} is only for asynchronous code")


def _without_marks(text: str) -> str:
    return re.sub(r"^[ \t]*@pytest\.mark\.(?:asyncio|anyio)(?:\(.*\))?\n", "", text, flags=re.MULTILINE)


def _with_time(text: str) -> str:
    """Import `time` for `time.sleep`, in the place of `asyncio`."""
    if re.search(r"\btime\.sleep\(", text) and not re.search(r"^import time$", text, re.MULTILINE):
        return re.sub(r"^import asyncio$", "import asyncio\nimport time", text, count=1, flags=re.MULTILINE)
    return text


def _without_unused_asyncio(text: str) -> str:
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    for module in ("asyncio", "pytest"):
        if module not in names:
            text = re.sub(rf"^import {module}\n(\n(?=\n|\S))?", "", text, count=1, flags=re.MULTILINE)
    return text.lstrip("\n")
