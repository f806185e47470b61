"""Fixtures and settings of the pytest plugin. Nothing of the SDK is imported before a test asks for it."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pluggy

    from montra_async import Montra
    from montra_async.paywall import BillingClient
    from montra_sandbox import Sandbox
    from montra_sync import Montra as SyncMontra

_MARKER = "montra_sandbox"
_SETTINGS = ("now", "frozen", "id_seed", "seed_file", "faults")
_TEXT_OPTIONS: Mapping[str, str] = {
    "montra_sandbox_now": "where the clock of the sandbox starts in each test: an ISO 8601 datetime",
    "montra_sandbox_id_seed": "a whole number that makes the ids of the sandbox reproducible in each test",
    "montra_sandbox_seed_file": "a file with plans, customers, ... that the sandbox has in each test",
    "montra_sandbox_webhook_secret": "the secret with which the sandbox signs webhooks",
}
_SWITCHES: Mapping[str, str] = {
    "montra_sandbox_frozen": "whether the clock of the sandbox stands still in each test",
    "montra_sandbox_env": "start the sandbox before anything is imported, and set MONTRA_BASE_URL, MONTRA_API_KEY, ..."
    " for the whole run: for applications that make their client when they are imported",
}
_A_LIST = 'a list, such as [{"kind": "rate_limit"}]'
_VARIABLES = (
    *("MONTRA_API_KEY", "MONTRA_BASE_URL", "MONTRA_WEBHOOK_SECRET"),
    *("PAYWALL_ORIGIN", "PAYWALL_ID", "MONETIZE_API_KEY"),
)
_EARLY: pytest.StashKey[Sandbox] = pytest.StashKey()
_ENVIRONMENT = pytest.StashKey[pytest.MonkeyPatch]()
_OUTBOX_FOLDER = pytest.StashKey[str]()
_OUTBOX_NUMBERS = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini options."""
    for name, text in _TEXT_OPTIONS.items():
        parser.addini(name, text, type="string", default="")
    for name, text in _SWITCHES.items():
        parser.addini(name, text, type="bool", default=False)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """With `montra_sandbox_env`, start the sandbox before the first conftest imports an application."""
    if _switch(early_config, "montra_sandbox_env"):
        early_config.stash[_EARLY] = sandbox = _start(early_config)
        early_config.stash[_ENVIRONMENT] = patch = pytest.MonkeyPatch()
        _set_environment(patch, sandbox, early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(now, frozen, id_seed, seed_file, faults): settings of the sandbox for a test"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pluggy.Result[pytest.CollectReport], None]:
    """Say what helps, when an application misses its settings because it was imported before the sandbox runs."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and not _switch(collector.config, "montra_sandbox_env"):
        errors = [line for line in str(report.longrepr).splitlines() if line.startswith("E ")]
        if any(name in line for line in errors for name in _VARIABLES):
            report.sections.append(
                (
                    "montra",
                    "The environment leads to the sandbox only while a test uses it. For an application that makes its"
                    " client when it is imported, set in pytest.ini, below [pytest]:\n\n"
                    "    montra_sandbox_env = true\n",
                )
            )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop a sandbox that was started early."""
    if _EARLY in config.stash:
        config.stash[_ENVIRONMENT].undo()
        config.stash[_EARLY].stop()
        del config.stash[_EARLY]


@pytest.fixture(scope="session")
def montra_sandbox_server(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """The sandbox's server, one for the run, or for each worker of pytest-xdist. Tests take `montra_sandbox`."""
    early = request.config.stash.get(_EARLY, None)
    if early is not None:
        yield early
        return
    sandbox = _start(request.config)
    try:
        yield sandbox
    finally:
        sandbox.stop()


@pytest.fixture
def montra_sandbox(montra_sandbox_server: Sandbox, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """An empty sandbox for the test, as its marker `montra_sandbox` and the ini options say.

    `MONTRA_BASE_URL`, `MONTRA_API_KEY`, `MONTRA_WEBHOOK_SECRET`, `PAYWALL_ORIGIN`, `PAYWALL_ID` and `MONETIZE_API_KEY`
    lead to it, so that the application under test runs unchanged. `MONTRA_OUTBOX` is a new file: usage that a test
    leaves unsent is neither sent by the next test nor by the application itself.
    """
    sandbox = montra_sandbox_server
    _empty(sandbox)
    settings = _settings(request)
    with pytest.MonkeyPatch.context() as patch:
        _set_environment(patch, sandbox, request.config)
        _apply(sandbox, settings, request)
        yield sandbox
    _empty(sandbox)


@pytest.fixture
def montra(montra_sandbox: Sandbox) -> Iterator[Montra]:
    """An asynchronous client of the sandbox, for tests under pytest-asyncio (strict or auto) or the plugin of anyio."""
    from montra_async import Montra

    with _closing(Montra(montra_sandbox.api_key, montra_sandbox.base_url)) as client:
        yield client


@pytest.fixture
def montra_sync(montra_sandbox: Sandbox) -> Iterator[SyncMontra]:
    """A synchronous client of the sandbox."""
    from montra_sync import Montra as SyncMontra

    with SyncMontra(montra_sandbox.api_key, montra_sandbox.base_url) as client:
        yield client


@pytest.fixture
def paywall(montra_sandbox: Sandbox) -> Iterator[BillingClient]:
    """An asynchronous client of the sandbox's paywall, with the owner's key."""
    from montra_async.paywall import BillingClient

    with _closing(BillingClient(montra_sandbox.paywall_id, montra_sandbox.url, montra_sandbox.api_key)) as client:
        yield client


@contextmanager
def _closing(client: Any) -> Generator[Any]:
    """Close an asynchronous client after the test, whose event loop is not running any more."""
    try:
        yield client
    finally:
        # In a thread, because `asyncio.run` leaves a thread without a current event loop, and refuses to run where one
        # runs already, e.g. beneath the synchronous API of Playwright.
        closing = threading.Thread(target=lambda: asyncio.run(client.aclose()))
        closing.start()
        closing.join()


def _start(config: pytest.Config) -> Sandbox:
    from montra_sandbox import Sandbox

    secret: str = config.getini("montra_sandbox_webhook_secret")
    sandbox = Sandbox(webhook_secret=secret) if secret else Sandbox()
    sandbox.start()
    return sandbox


def _empty(sandbox: Sandbox) -> None:
    for name in sandbox.snapshots():
        sandbox.delete_snapshot(name)
    sandbox.reset()
    sandbox.seed_ids(None)
    sandbox.requests.clear()


def _set_environment(patch: pytest.MonkeyPatch, sandbox: Sandbox, config: pytest.Config) -> None:
    for name, value in sandbox.environment.items():
        patch.setenv(name, value)
    patch.setenv("MONTRA_OUTBOX", _new_outbox(config))


def _new_outbox(config: pytest.Config) -> str:
    if _OUTBOX_FOLDER not in config.stash:
        config.stash[_OUTBOX_FOLDER] = folder = tempfile.mkdtemp(prefix="montra-outbox-")
        # Not at the end of the run: a reporter of the application is closed when the interpreter exits, before this.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return os.path.join(config.stash[_OUTBOX_FOLDER], f"{next(_OUTBOX_NUMBERS)}.db")


def _switch(config: pytest.Config, name: str) -> bool:
    try:
        return bool(config.getini(name))
    except (ValueError, pytest.UsageError):  # pytest's own message does not say which option
        raise pytest.UsageError(f"{name}: true or false") from None


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of the test: of its closest marker first, then of the ini file."""
    config = request.config
    id_seed: str = config.getini("montra_sandbox_id_seed")
    settings: dict[str, Any] = {
        "now": config.getini("montra_sandbox_now") or None,
        "frozen": _switch(config, "montra_sandbox_frozen"),
        "id_seed": _parse_seed(id_seed),
        "seed_file": config.getini("montra_sandbox_seed_file") or None,
        "faults": (),
    }
    for marker in reversed(list(request.node.iter_markers(_MARKER))):
        unknown = sorted(marker.kwargs.keys() - set(_SETTINGS))
        if marker.args or unknown:
            wrong = f"unknown: {', '.join(unknown)}" if unknown else "give them by name"
            raise pytest.UsageError(f"the marker {_MARKER} has the settings {', '.join(_SETTINGS)}; {wrong}")
        settings.update(marker.kwargs)
    return settings


def _apply(sandbox: Sandbox, settings: Mapping[str, Any], request: pytest.FixtureRequest) -> None:
    now = _parse_now(settings["now"])
    faults = _check_faults(settings["faults"])
    frozen, seed_file = settings["frozen"], _check_path(settings["seed_file"])
    id_seed = settings["id_seed"]
    if id_seed is not None and (isinstance(id_seed, bool) or not isinstance(id_seed, int)):
        raise _mistake("id_seed", f"a whole number, not {id_seed!r}")
    if not isinstance(frozen, bool):
        raise _mistake("frozen", f"True or False, not {frozen!r}")
    if id_seed is not None:
        sandbox.seed_ids(id_seed)
    if frozen:
        sandbox.freeze(now)
    elif now is not None:
        sandbox.start_at(now)
    if seed_file is not None:
        from montra_sandbox import parse_seed_file

        sandbox.load_seed(parse_seed_file(_find(seed_file, request)))
    for fault in faults:
        sandbox.add_fault(**fault)


def _mistake(name: str, what: str) -> pytest.UsageError:
    return pytest.UsageError(f"the sandbox's {name}: {what}")


def _check_path(seed_file: Any) -> Path | None:
    try:
        return None if seed_file is None else Path(seed_file)
    except TypeError:
        raise _mistake("seed_file", f"a path, not {seed_file!r}") from None


def _check_faults(faults: Any) -> list[dict[str, Any]]:
    """The faults of a marker; what is in their fields, the sandbox checks."""
    if not isinstance(faults, (list, tuple)):
        raise _mistake("faults", f"{_A_LIST}, not {faults!r}")
    from montra_sandbox import Sandbox

    fields = [name for name in inspect.signature(Sandbox.add_fault).parameters if name != "self"]
    checked: list[dict[str, Any]] = []
    given: list[Any] = list(faults)  # pyright: ignore[reportUnknownArgumentType] - checked below
    for fault in given:
        if not isinstance(fault, Mapping):
            raise _mistake("faults", f"{_A_LIST}, not one with {fault!r} in it")
        made: dict[str, Any] = dict(fault)  # pyright: ignore[reportUnknownArgumentType]
        if not made.keys() <= set(fields):
            raise _mistake("faults", f"the fields are {', '.join(fields)}; not those of {made!r}")
        if "kind" not in made:
            raise _mistake("faults", f"each has a kind; not {made!r}")
        checked.append(made)
    return checked


def _parse_seed(text: str) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        raise pytest.UsageError(f"montra_sandbox_id_seed: not a whole number: {text!r}") from None


def _parse_now(now: Any) -> datetime | None:
    if isinstance(now, datetime) and now.tzinfo is None:
        raise _mistake("now", f"a datetime with a time zone, not {now!r}")
    if now is None or isinstance(now, datetime):
        return now
    if not isinstance(now, str):
        raise _mistake("now", f"a datetime or a text such as 2030-01-31, not {now!r}")
    try:
        parsed = datetime.fromisoformat(now.replace("Z", "+00:00"))
    except ValueError:
        raise _mistake("now", f"not an ISO 8601 datetime: {now!r}") from None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=timezone.utc)


def _find(name: Path, request: pytest.FixtureRequest) -> Path:
    """A seed file beside the test, or else in the root folder."""
    beside = request.path.parent / name
    return beside if beside.exists() else request.config.rootpath / name
