"""The facade is the async client without `await`: same names, parameters, types, docs, models and errors."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import montra_async
import montra_sync
import montra_sync.paywall as sync_paywall
from montra_async import paywall
from montra_sync import Montra

ROOT = Path(__file__).parents[2]
RENAMED = {"aclose": "close"}
GIVEN = ("Charge", "GatewayResponse")
"""Classes whose objects a client gives; nobody makes them."""

FACADES = ("BillingClient", "AuthClient", "ApiGatewayClient", *GIVEN)


PAIRS = [
    (montra_async.Montra, montra_sync.Montra),
    *((getattr(paywall, name), getattr(sync_paywall, name)) for name in FACADES),
]


def _public(cls: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(cls) if not name.startswith("_")}


def _declared(cls: type) -> set[str]:
    """Attributes that a class declares for its objects."""
    return {name for name in vars(cls).get("__annotations__", {}) if not name.startswith("_")}


METHODS = [
    pytest.param(theirs, ours, name, id=f"{theirs.__name__}.{name}")
    for theirs, ours in PAIRS
    for name, value in _public(theirs).items()
    if inspect.isfunction(value)
]


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_the_same_names(theirs: type, ours: type) -> None:
    names = {RENAMED.get(name, name) for name in _public(theirs)} | _declared(theirs)
    assert names == set(_public(ours))
    for name, value in _public(theirs).items():
        if isinstance(value, property):
            mine = getattr(ours, name)
            assert (value.fset is None, value.__doc__) == (mine.fset is None, mine.__doc__)


def test_the_same_webhooks() -> None:
    assert Montra.webhooks is montra_async.Montra.webhooks


INITS = [pytest.param(*pair, "__init__", id=pair[0].__name__) for pair in PAIRS if pair[0].__name__ not in GIVEN]


@pytest.mark.parametrize(("theirs", "ours", "name"), [*METHODS, *INITS])
def test_the_same_parameters_types_and_docs(theirs: type, ours: type, name: str) -> None:
    source, facade = getattr(theirs, name), getattr(ours, RENAMED.get(name, name))
    expected, actual = inspect.signature(source), inspect.signature(facade)
    parameters = {key: one for key, one in expected.parameters.items() if key != "session"}
    if "connector" in parameters:  # a connector belongs to one event loop; a function that makes one does not
        annotation = "Callable[[], aiohttp.BaseConnector] | None"
        parameters["connector"] = parameters["connector"].replace(annotation=annotation)
    if name == "with_raw_response":  # it takes a method of the facade, which returns what the other's coroutine does
        parameters["call"] = parameters["call"].replace(annotation="Callable[P, T]")
    if "items" in parameters:
        parameters["items"] = parameters["items"].replace(annotation="Iterable[Mapping[str, Any]]")
    assert list(actual.parameters.values()) == list(parameters.values())
    returns = re.sub(r"AsyncGenerator\[(.*), None\]", r"Generator[\1, None, None]", str(expected.return_annotation))
    assert actual.return_annotation == returns.replace("Self", ours.__name__)
    assert not inspect.iscoroutinefunction(facade)
    if source.__doc__ and "await" not in source.__doc__ and "async " not in source.__doc__:
        assert inspect.cleandoc(facade.__doc__ or "") == inspect.cleandoc(source.__doc__)
    assert bool(source.__doc__) == bool(facade.__doc__)


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_no_doc_of_the_facade_speaks_of_await(theirs: type, ours: type) -> None:
    for value in [ours, *_public(ours).values()]:
        text = inspect.getdoc(value) or ""
        assert "await" not in text
        assert "async with" not in text
        assert "async for" not in text
        assert "aclose" not in text


def test_the_same_models_and_errors() -> None:
    assert set(montra_sync.__all__) == set(montra_async.__all__)
    for name in set(montra_async.__all__) - {"Montra"}:
        assert getattr(montra_sync, name) is getattr(montra_async, name)
    assert set(sync_paywall.__all__) == set(paywall.__all__)
    for name in set(paywall.__all__) - set(FACADES):
        assert getattr(sync_paywall, name) is getattr(paywall, name)


def test_the_generated_files_are_fresh(tmp_path: Path) -> None:
    """The generator imports nothing of what it reads, so a bare interpreter is enough; it finds ruff beside it."""
    command = [sys.executable, "-I", "-S", str(ROOT / "tools" / "generate_sync"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_new_method_needs_no_other_edit(tmp_path: Path) -> None:
    """In a copy of the tree: a call is added to a resource, the generator is run, and the facade has it."""
    for source in [*ROOT.glob("montra*/**/*.py"), *ROOT.glob("tools/generate_sync/*.py"), ROOT / "pyproject.toml"]:
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    meters = tmp_path / "montra_async" / "resources" / "meters.py"
    meters.write_text(
        meters.read_text(encoding="utf-8")
        + '''
    async def rename_meter(self, meter_id: str, *, name: str = "x", force: bool = False) -> Meter | None:
        """Rename, as in `await montra.rename_meter("m")`."""
        return await self._patch(f"/meters/{meter_id}", {"name": name}, Meter)
''',
        encoding="utf-8",
    )
    generator = str(tmp_path / "tools" / "generate_sync")
    check = subprocess.run([sys.executable, generator, "--check"], capture_output=True, text=True, timeout=60)
    assert check.returncode == 1
    assert "nox -s generate" in check.stderr
    subprocess.run([sys.executable, generator], check=True, timeout=60, capture_output=True)
    written = (tmp_path / "montra_sync" / "client.py").read_text(encoding="utf-8")
    assert (
        '''    def rename_meter(self, meter_id: str, *, name: str = "x", force: bool = False) -> Meter | None:
        """Rename, as in `montra.rename_meter("m")`."""
        return run(self._async.rename_meter, meter_id, name=name, force=force)
'''
        in written
    )


def test_importing_and_building_start_no_thread_and_no_loop() -> None:
    code = (
        "import threading, asyncio, montra_sync\n"
        "montra_sync.Montra('sk_test_x').with_options(timeout=5)\n"
        "print(threading.active_count(), montra_sync.portal._background.thread)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "1 None", run.stderr


def test_one_thread_for_all_clients(served: str) -> None:
    for _ in range(5):
        Montra("sk_test_sandbox", served).list_meters()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("montra-sync") == 1
