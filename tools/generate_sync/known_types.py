"""Types of other libraries that have a meaning for the generator, by where they are defined."""

from __future__ import annotations

from .source import Definition

SECRET = Definition("montra_async.core.redaction", "SecretText")
"""The type that marks a parameter which holds a secret."""


def _named(names: str, *modules: str) -> dict[Definition, str]:
    return {Definition(module, name): name for module in modules for name in names.split()}


_ABC, _TYPING = ("collections.abc", "typing"), ("typing", "typing_extensions")
ITEMS = _named("AsyncIterator AsyncIterable AsyncGenerator", *_ABC)
AWAITABLE = _named("Awaitable Coroutine", *_ABC)
MANAGERS = {
    **_named("AbstractAsyncContextManager", "contextlib"),
    **_named("AsyncContextManager", *_TYPING),
}
CONTAINERS = {
    **_named("list tuple dict", "builtins"),
    **{one: one.name.lower() for one in _named("List Tuple Dict", *_TYPING)},
    **_named("Sequence Collection Iterable Iterator Mapping", *_ABC),
}
CALLABLE = _named("Callable", *_ABC)
OPTIONAL, UNION, ANNOTATED = (_named(name, *_TYPING) for name in ("Optional", "Union", "Annotated"))
LITERAL, SELF, UNPACK = (_named(name, *_TYPING) for name in ("Literal", "Self", "Unpack"))
ASYNC_LIBRARIES = ("asyncio", "aiohttp", "anyio")
LOOP_BOUND = {
    **_named("ClientSession BaseConnector TCPConnector UnixConnector ClientResponse StreamReader", "aiohttp"),
    **_named("AbstractEventLoop Future Task Event Lock Queue Semaphore StreamReader StreamWriter", "asyncio"),
}
"""Objects that belong to one event loop: a user of the facade has none to make them on."""
ARGUMENTS = frozenset(
    {
        Definition("montra_async.paywall.storage", "SessionStorage"),
        Definition("aiohttp", "Fingerprint"),
        Definition("aiohttp", "TraceConfig"),
    }
)
"""Asynchronous types that users of the facade give as they are: the SDK calls them on the event loop."""
CONSTRUCTION = frozenset(
    f"__{name}__" for name in ("init", "new", "init_subclass", "class_getitem", "post_init", "attrs_post_init")
)
"""Methods whose result no user sees."""
ASYNC_METHODS = frozenset(f"__{name}__" for name in ("await", "aiter", "anext", "aenter", "aexit"))
ANNOTATED_METHODS = frozenset(f"__{name}__" for name in ("call", "enter", "getitem", "getattr", "iter", "next"))
"""Special methods whose results users see, so that they need an annotation."""
