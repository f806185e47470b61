"""Writes the pages of the reference: headings, and for each object the directive that mkdocstrings replaces."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from montra_async.core.deprecation import is_async_generator_function, is_coroutine_function

from .public_names import PublicName, public_names
from .reference_plan import EXTRA_MEMBERS, Subject, is_facade, subjects_of

CLIENT = "montra_async.Montra"
SECTIONS = ("Classes", "Functions", "Models", "Errors", "Types and constants")


def reference_pages() -> dict[str, str]:
    """The generated pages, by their path below `docs/`."""
    names = public_names()
    pages = {f"reference/{subject.slug}.md": _page(subject, own) for subject, own in subjects_of(names).items()}
    pages["reference/synchronous.md"] = _synchronous_page(names)
    pages["reference/pytest.md"] = _pytest_page()
    return pages


def resolve(path: str) -> Any:
    """The object that is imported from a path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def client_calls(module: str) -> list[str]:
    """The calls of the client that a module of `montra_async.resources` defines, in their order there."""
    found = [
        (inspect.getsourcelines(call)[1], name)
        for name, call in inspect.getmembers(resolve(CLIENT), inspect.isfunction)
        if not name.startswith("_") and call.__module__ == module
    ]
    return [name for _, name in sorted(found)]


def _page(subject: Subject, names: list[PublicName]) -> str:
    parts = [f"# {subject.title}", subject.intro]
    calls = [call for module in subject.modules for call in _calls_of(module)]
    if calls:
        parts += ["## Calls", *(_directive(f"{CLIENT}.{call}", level=3) for call in calls)]
    primary, others = _split(names)
    sections = _sections(primary)
    for title, members in sections.items():
        level = 3 if len(sections) > 1 or calls else 2
        parts += [f"## {title}"] * (level == 3)
        parts += [_directive(one.path, level=level, options=_options_of(one)) for one in members]
    if subject.slug in EXTRA_MEMBERS:
        title, paths = EXTRA_MEMBERS[subject.slug]
        parts += [f"## {title}", *(_directive(path, level=3) for path in paths)]
    if others:
        rows = ["| also as | described as |", "|---|---|", *_same(others, primary)]
        parts += ["## Other names for the same", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _calls_of(module: str) -> list[str]:
    return client_calls(module) if module.startswith("montra_async.resources.") else []


def _split(names: list[PublicName]) -> tuple[list[PublicName], list[PublicName]]:
    """The names to describe, and further ones of the same objects."""
    primary: dict[tuple[str, str], PublicName] = {}
    others: list[PublicName] = []
    for one in sorted(names, key=lambda one: (one.module != one.source, one.module.count("."))):
        if (one.source, one.name) in primary:
            others.append(one)
        else:
            primary[one.source, one.name] = one
    return [one for one in names if one in primary.values()], others


def _same(others: list[PublicName], primary: list[PublicName]) -> Iterator[str]:
    described = {(one.source, one.name): one.path for one in primary}
    for one in others:
        path = described[one.source, one.name]
        yield f"| {anchor(one.path)}`{one.path}` | [`{path}`][{path}] |"


def anchor(path: str) -> str:
    """An invisible place in a page that links may lead to."""
    return f'<span id="{path}"></span>'


def _sections(names: list[PublicName]) -> dict[str, list[PublicName]]:
    """Names by what they are: the classes one works with first, constants and types last."""
    found: dict[str, list[PublicName]] = {title: [] for title in SECTIONS}
    for one in sorted(names, key=lambda one: -len(_own_members(one))):
        found[_kind(resolve(one.path))].append(one)
    return {title: members for title, members in found.items() if members}


def _kind(value: Any) -> str:
    from montra_async import Model

    if isinstance(value, type):
        if issubclass(value, BaseException):
            return "Errors"
        is_model = value is not Model and (issubclass(value, Model) or (attrs.has(value) and not public_members(value)))
        return "Models" if is_model else "Classes"
    return "Functions" if inspect.isfunction(value) else "Types and constants"


def _options_of(one: PublicName) -> dict[str, str]:
    """What of a class is shown."""
    if not isinstance(resolve(one.path), type):
        return {}
    return {"inherited_members": "true", "members": json.dumps(shown_members(one) or False)}


def shown_members(one: PublicName) -> list[str]:
    """The members of a class that are described with it; the calls of the client have pages of their own.

    Args:
        one: the name of a class.
    """
    value = resolve(one.path)
    if issubclass(value, BaseException):
        return [name for name, member in vars(value).items() if _is_shown(name, member)]
    if one.path == CLIENT:
        return [name for name in public_members(value) if not _is_resource(getattr(value, name))]
    return [name for name in public_members(value) if name not in _model_members() or one.name == "Model"]


def _own_members(one: PublicName) -> list[str]:
    value = resolve(one.path)
    return public_members(value) if isinstance(value, type) and not issubclass(value, BaseException) else []


def _is_resource(call: Any) -> bool:
    return (getattr(call, "__module__", None) or "").startswith("montra_async.resources.")


def public_members(cls: type[Any]) -> list[str]:
    """The methods and properties of a class, its bases' included; first its own, in their order.

    Args:
        cls: the class.
    """
    found: dict[str, None] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("montra"):
            found.update({name: None for name, value in vars(base).items() if _is_shown(name, value)})
    return list(found)


def _is_shown(name: str, value: Any) -> bool:
    if name.startswith("_"):
        return False
    wrapped = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    return isinstance(wrapped, property) or (inspect.isroutine(wrapped) and not inspect.ismemberdescriptor(wrapped))


def _model_members() -> frozenset[str]:
    from montra_async import Model

    return frozenset(public_members(Model))


def _directive(path: str, *, level: int, options: dict[str, str] | None = None) -> str:
    lines = [f"::: {path}", "    options:", f"      heading_level: {level}"]
    lines += [f"      {name}: {value}" for name, value in (options or {}).items()]
    return "\n".join(lines)


def _pytest_page() -> str:
    found = find_spec("montra_pytest.plugin")  # read, not imported: pytest need not be there
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).read_text(encoding="utf-8")
    fixtures = re.findall(r"^@pytest\.fixture.*\ndef (\w+)", source, re.MULTILINE)
    parts = ["# pytest fixtures", "What the plugin of pytest offers to tests. [Guide](../guides/testing.md)."]
    return "\n\n".join([*parts, *(_directive(f"montra_pytest.plugin.{name}", level=2) for name in fixtures)]) + "\n"


def _synchronous_page(names: list[PublicName]) -> str:
    """How the names of `montra_sync` correspond to those of `montra_async`."""
    facades = [one for one in names if is_facade(one) and one.module != "montra"]
    shared = [one for one in facades if not one.source.startswith("montra_sync")]
    parts = [SYNCHRONOUS]
    for one in facades:
        if one not in shared:
            parts += [f"### {one.path}", anchor(one.path), _call_table(one.path)]
    parts += ["## The same in both packages", "Models, errors, events, stores and constants are the same objects."]
    for module in dict.fromkeys(one.module for one in shared):
        parts.append(f"**{module}**")
        parts.append("\n".join(f"- {_shared_link(one)}" for one in shared if one.module == module))
    both = [f"- {anchor(one.path)}`{one.name}`: {_meant_by(one)}" for one in names if one.module == "montra"]
    if both:
        parts += ["## Both in one", "`import montra` has these names, of both packages:", "\n".join(both)]
    return "\n\n".join(parts) + "\n"


def _meant_by(one: PublicName) -> str:
    """What a name of the package `montra` is elsewhere."""
    if one.source.startswith("montra_sync"):
        return f"`montra_sync.{one.name}`, the synchronous [`montra_async.{one.name}`][montra_async.{one.name}]"
    name = one.name.removeprefix("Async")
    return f"[`montra_async.{name}`][montra_async.{name}]"


def _shared_link(one: PublicName) -> str:
    path = one.path.replace("montra_sync", "montra_async", 1)
    return f"{anchor(one.path)}[`{one.name}`][{path}]"


def _call_table(path: str) -> str:
    """The methods of a facade beside those that they call."""
    twin = path.replace("montra_sync", "montra_async", 1)
    facade, source = resolve(path), resolve(twin)
    rows = []
    for name in public_members(facade):
        other = {"close": "aclose"}.get(name, name)
        described = f"[`{other}`][{twin}.{other}]" if other in public_members(source) else f"`{name}`"
        rows.append(f"| {anchor(f'{path}.{name}')}`{name}` | {described} | {_how(facade, source, name, other)} |")
    head = f"The synchronous [`{twin}`][{twin}].\n\n| here | described at | |\n|---|---|---|\n"
    return head + "\n".join(rows)


def _how(facade: Any, source: Any, name: str, other: str) -> str:
    """What differs in the use of a method."""
    twin = getattr(source, other, None)
    if twin is None:
        summary = (inspect.getdoc(getattr(facade, name)) or "").partition("\n")[0]
        return summary.replace("|", "\\|")
    if isinstance(getattr(facade, name), property) or isinstance(twin, property):
        return "property"
    if is_async_generator_function(twin):
        return "`for` instead of `async for`"
    return "without `await`" if is_coroutine_function(twin) else ""


SYNCHRONOUS = """# Synchronous packages

`montra_sync` has the calls of `montra_async` with the same names, arguments, results and errors, without `await`. It is
generated from it, and a test compares both, so this page only says what corresponds to what.

| `montra_async` | `montra_sync` |
|---|---|
| `await montra.create_customer(...)` | `montra.create_customer(...)` |
| `async with Montra() as montra:` | `with Montra() as montra:` |
| `async for entry in montra.iter_audit_logs():` | `for entry in montra.iter_audit_logs():` |
| `await montra.aclose()` | `montra.close()` |
| `hold = await access.hold(...)` | `hold = access.hold(...).acquire()` |
| `await receiver.handle(body, headers)` | `receiver.handle_blocking(body, headers)` |
| `montra_async.frameworks.django` | `montra_sync.frameworks.django`; [Flask](flask.md) is only here |

## Clients and other classes with calls"""
