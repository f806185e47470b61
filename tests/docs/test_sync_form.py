"""Synchronous forms of snippets: what changes, what stays, what is refused."""

from __future__ import annotations

import ast
import io
import tokenize
from textwrap import dedent

import pytest
from hypothesis import given, strategies as st

from build_docs.sync_form import NoSyncFormError, has_sync_package, is_async, sync_form  # isort: skip
from build_docs.tabs import synchronous, with_tabs  # isort: skip

CHANGES = [
    ("x = await f()", "x = f()"),
    ("return await f()", "return f()"),
    ("print(await f(), await g())", "print(f(), g())"),
    ("async with a as b, c:\n    pass", "with a as b, c:\n    pass"),
    ("async with await gateway.call(1) as b:\n    pass", "with gateway.call(1) as b:\n    pass"),
    ("async for x in y:\n    pass", "for x in y:\n    pass"),
    ("z = [x async for x in y if await x]", "z = [x for x in y if x]"),
    ("async def f() -> None: ...", "def f() -> None: ..."),
    ("(await f(1)).name", "f(1).name"),
    ("if not (await montra.check(1)).has_access: ...", "if not montra.check(1).has_access: ..."),
    ("f(await g())", "f(g())"),
    ("f()(await g())", "f()(g())"),
    ("(await f(), 1)", "(f(), 1)"),
    ("(await f() or 1)", "(f() or 1)"),
    ("await montra.aclose()", "montra.close()"),
    (
        "hold = await access.hold('c', 'm', estimate=(1 + 2))",
        "hold = access.hold('c', 'm', estimate=(1 + 2)).acquire()",
    ),
    ("async with access.hold('c') as hold: ...", "with access.hold('c') as hold: ..."),
    ("await usage.hold.close()", "usage.hold.close()"),
    ("reply = await receiver.handle(body, headers)", "reply = receiver.handle_blocking(body, headers)"),
    ("asyncio.run(main())", "main()"),
    ("print(asyncio.run(main(1, x=2)))", "print(main(1, x=2))"),
    ("await asyncio.to_thread(work, job, x=1)", "work(job, x=1)"),
    ("await asyncio.to_thread(work)", "work()"),
    ("await asyncio.gather(f(1), f(2))", "[f(1), f(2)]"),
    ("await asyncio.gather(*(f(x) for x in y))", "[f(x) for x in y]"),
    ("from collections.abc import AsyncIterator", "from collections.abc import Iterator"),
    ("def f() -> AsyncGenerator[str, None]: ...", "def f() -> Generator[str, None, None]: ..."),
    ("from contextlib import asynccontextmanager", "from contextlib import contextmanager"),
    ("await stack.enter_async_context(x)", "stack.enter_context(x)"),
    ("from montra_async.usage import UsageReporter", "from montra_sync.usage import UsageReporter"),
    ("from redis.asyncio import Redis", "from redis import Redis"),
    ('print(f"{await f()} await {x}")', 'print(f"{f()} await {x}")'),
    ("x = 1  # as in montra_async, await it", "x = 1  # as in montra_sync, await it"),
    ("x = 'await montra_async'", "x = 'await montra_async'"),
    (
        "@pytest.mark.asyncio\nasync def test_it(montra):\n    await montra.f()",
        "def test_it(montra_sync):\n    montra_sync.f()",
    ),
    ("async def test_it(sandbox):\n    await montra.f()", "def test_it(sandbox):\n    montra.f()"),
]


@pytest.mark.parametrize(("given", "expected"), CHANGES)
def test_what_changes(given: str, expected: str) -> None:
    assert sync_form(f"{given}\n") == f"{expected}\n"


def test_imports_that_nothing_uses_are_gone() -> None:
    code = "import asyncio\nimport json\n\nfrom montra_async import Montra\n\n\nasyncio.run(main())\n"
    assert sync_form(code) == "import json\n\nfrom montra_sync import Montra\n\n\nmain()\n"
    alone = "import asyncio\n\nfrom montra_async import Montra\n\nasyncio.run(main())\n"
    assert sync_form(alone) == "from montra_sync import Montra\n\nmain()\n"


def test_sleeping_is_that_of_time() -> None:
    code = "import asyncio\n\nawait asyncio.sleep(1)\n"
    assert sync_form(code) == "import time\n\ntime.sleep(1)\n"


@pytest.mark.parametrize(
    "code",
    [
        "asyncio.run(main(), debug=True)",
        "await asyncio.gather(f(), return_exceptions=True)",
        "task = asyncio.create_task(f())",
        "async with asyncio.timeout(1): ...",
        "stop = asyncio.Event()",
        "await anyio.sleep(1)",
        "def f() -> Awaitable[None]: ...",
    ],
)
def test_what_has_no_synchronous_form_is_refused(code: str) -> None:
    with pytest.raises(NoSyncFormError):
        sync_form(f"{code}\n")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from montra_async import Montra\nasync def f(): ...", True),
        ("from montra_async import verify_signature", False),
        ("from montra_sync import Montra", False),
        ("async def f(): ...", False),
        ("async def test_it(montra): ...", True),
        ("async def test_it(app): ...", False),
    ],
)
def test_asynchronous_snippets_are_known(code: str, expected: bool) -> None:
    assert is_async(code) is expected


def test_frameworks_without_synchronous_views_are_known() -> None:
    assert not has_sync_package("from montra_async.frameworks.fastapi import metered")
    assert has_sync_package("from montra_async.frameworks.django import metered\nfrom montra_async.usage import x")


# Rules that hold for every program


NAMES = st.sampled_from(["f", "client.get", "montra.create_customer", "access.check"])
VALUES = st.deferred(
    lambda: st.one_of(
        st.integers(0, 9).map(str),
        st.just("'await x'"),
        st.tuples(NAMES, VALUES).map(lambda two: f"await {two[0]}({two[1]})"),
        st.tuples(NAMES, VALUES).map(lambda two: f"(await {two[0]}({two[1]})).value"),
        st.tuples(VALUES, VALUES).map(lambda two: f"[{two[0]}, {two[1]}]"),
        VALUES.map(lambda one: f"({one} + 1)"),
        VALUES.map(lambda one: f"[x async for x in {one}]"),
    )
)


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


BLOCKS = st.recursive(
    st.one_of(
        VALUES.map(lambda one: f"x = {one}  # a comment\n"),
        VALUES.map(lambda one: f"print(\n    {one},\n)\n"),
        st.just('"""Text: await it."""\n'),
    ),
    lambda inner: st.one_of(
        st.tuples(VALUES, inner).map(lambda two: f"async with {two[0]} as y:\n{_indented(two[1])}"),
        st.tuples(VALUES, inner).map(lambda two: f"async for y in {two[0]}:\n{_indented(two[1])}"),
        st.tuples(inner, inner).map("".join),
        inner.map(lambda one: f"async def g() -> None:\n{_indented(one)}"),
        inner.map(lambda one: f"if await f(1):\n{_indented(one)}"),
    ),
    max_leaves=6,
)
PROGRAMS = BLOCKS.map(lambda one: f"async def main() -> None:\n{_indented(one)}")


class _Sync(ast.NodeTransformer):
    """What the rules mean, on syntax trees."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        fields = {name: getattr(node, name) for name in ast.FunctionDef._fields if hasattr(node, name)}
        return ast.FunctionDef(**fields)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        return ast.With(items=node.items, body=node.body, type_comment=None)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        self.generic_visit(node)
        return ast.For(target=node.target, iter=node.iter, body=node.body, orelse=node.orelse, type_comment=None)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        node.is_async = 0
        return node


@given(PROGRAMS)
def test_the_form_means_the_same_without_waiting(code: str) -> None:
    assert ast.dump(ast.parse(sync_form(code))) == ast.dump(_Sync().visit(ast.parse(code)))


@given(PROGRAMS)
def test_comments_and_lines_stay(code: str) -> None:
    form = sync_form(code)
    assert len(form.splitlines()) == len(code.splitlines())
    assert _comments(form) == _comments(code)


@given(PROGRAMS)
def test_a_synchronous_form_is_its_own(code: str) -> None:
    form = sync_form(code)
    assert sync_form(form) == form


def _comments(code: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return [one.string for one in tokens if one.type == tokenize.COMMENT]


# Tabs


ASYNC = (
    "import asyncio\n\nfrom montra_async import Montra\n\n\nasync def main() -> None: ...\n\n\nasyncio.run(main())\n"
)


def test_a_snippet_gets_two_tabs() -> None:
    text = with_tabs(f"Before.\n\n```python\n{ASYNC}```\n\nAfter.\n", "page.md")
    assert text.startswith('Before.\n\n=== "async"\n\n    ```python\n    import asyncio\n')
    assert '\n\n=== "sync"\n\n    ```python\n    from montra_sync import Montra\n' in text
    assert text.endswith("    main()\n    ```\n\nAfter.\n")


def test_a_snippet_in_a_list_keeps_its_place() -> None:
    text = with_tabs(
        "- one:\n\n" + "".join(f"  {line}\n" if line else "\n" for line in f"```python\n{ASYNC}```".split("\n")), "p"
    )
    assert '\n  === "sync"\n\n      ```python\n      from montra_sync import Montra\n' in text


@pytest.mark.parametrize("code", ["from montra_sync import Montra\n", "print(1)\n"])
def test_other_snippets_stay_as_they_are(code: str) -> None:
    page = f"```python\n{code}```\n\n```console\n$ montra\n```\n"
    assert with_tabs(page, "page.md") == page


def test_a_snippet_may_opt_out() -> None:
    assert with_tabs(f"```python no-sync\n{ASYNC}```\n", "page.md") == f"```python\n{ASYNC}```\n"


def test_a_snippet_without_a_form_must_say_so() -> None:
    code = ASYNC.replace("...", "asyncio.create_task(f())")
    with pytest.raises(NoSyncFormError, match=r"page\.md, line 3: asyncio\.create_task .* no-sync"):
        with_tabs(f"# Title\n\n```python\n{code}```\n", "page.md")


def test_forms_are_formatted_if_the_snippet_is() -> None:
    long = dedent(
        """\
        from montra_async import Montra


        async def main(montra: Montra) -> None:
            customer_of_this_shop = await montra.create_customer(
                name="Ada Lovelace", email="ada.lovelace@example.com", phone="+358 40 1234"
            )
        """
    )
    form = synchronous(long)
    assert form is not None
    assert 'montra.create_customer(\n        name="Ada' in form
    untidy = long.replace("    customer_of", "    x   = 1\n    customer_of")
    assert "    x   = 1\n" in (synchronous(untidy) or "")
