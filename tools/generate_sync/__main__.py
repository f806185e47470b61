"""Write the synchronous facade `montra_sync` from `montra_async`, and the package `montra`, which has both.

    python tools/generate_sync            rewrite the generated files
    python tools/generate_sync --check    fail when they are not what would be written

Reads the source with `ast` and imports nothing of it; needs only ruff, which formats what is written. Every public
method of a facaded class and of its bases becomes a method of the same name, parameters, defaults and docs:

    coroutine, method that returns an awaitable     waits on the background loop
    async generator, AsyncIterator, AsyncIterable   lazy iterator
    asynccontextmanager, async with                 context manager, with
    property, cached_property                       property
    attribute with an annotation                    property, which can be set in classes that users make
    staticmethod, classmethod, overload             the same
    parameter that is a coroutine function          plain function, called in a thread
    parameter of a type that belongs to a loop      left out (`session=`)
    aclose                                          close

A facade may have a base that is written by hand (`montra_sync/facade.py`): its members are left out here.

Objects of facaded classes are exchanged for their facades, also in lists, dicts, tuples and unions. Such a container is
a copy: what the source appends to a `list[Charge]` that it was given does not reach the caller's list. An `Iterable` is
passed on as a list, an `Iterator` item by item. A parameter whose type mentions `SecretText` is deleted from the frame
of the generated method, but not a function that takes or returns secrets. Whatever else is found is refused: the
message is `file:line: what`, nothing is written, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from generate_sync.formatting import FormattingError, NoFormatter, formatted, is_same_code
from generate_sync.montra_package import montra_package
from generate_sync.source import Refusal, Source
from generate_sync.writing import Facade, FacadeWriter, lazy, public, same

ROOT = Path(__file__).resolve().parents[2]

DESCRIPTIONS = {"connector": "a function that makes an aiohttp connector, called on the background event loop."}
MONTRA = Facade(
    title="`Montra` for synchronous code: the same calls, run on one background event loop.",
    package="montra_async",
    made={"Montra": "montra_async.client"},
    descriptions=DESCRIPTIONS,
    bases={"Montra": ("facade", "MontraFacade")},
)
PAYWALL = Facade(
    title="The paywall service for synchronous code. Start with `BillingClient`.",
    package="montra_async.paywall",
    made={
        "AuthClient": "montra_async.paywall.auth",
        "BillingClient": "montra_async.paywall.billing",
        "ApiGatewayClient": "montra_async.paywall.gateway",
    },
    given={"Charge": "montra_async.paywall.tokens", "GatewayResponse": "montra_async.paywall.gateway_response"},
    descriptions=DESCRIPTIONS,
    bases={
        **dict.fromkeys(("AuthClient", "BillingClient", "ApiGatewayClient"), ("facade", "ClientFacade")),
        **dict.fromkeys(("Charge", "GatewayResponse"), ("facade", "SyncOnly")),
    },
)


class Refused(Exception):
    """There are constructs that can't be translated."""

    def __init__(self, refusals: list[Refusal]) -> None:
        super().__init__("\n".join(dict.fromkeys(str(one) for one in refusals)))


def generated(root: Path) -> dict[str, str]:
    """The text of each generated file, not yet formatted, by its path below the root.

    Raises:
        Refused: there are constructs that can't be translated.
    """
    source = Source(root)
    montra, paywall = FacadeWriter(source, MONTRA, [PAYWALL]), FacadeWriter(source, PAYWALL, [MONTRA])
    package = "Synchronous Python SDK for Montra: the calls of `montra_async` without `await`. Start with `Montra`."
    webhooks = "Receiving webhooks in synchronous code: `parse`, and `WebhookReceiver.handle_blocking`."
    try:
        texts = {
            "montra_sync/__init__.py": lazy(source, "montra_async", package),
            "montra_sync/_public.py": public(source, "montra_async", MONTRA),
            "montra_sync/client.py": montra.file(),
            "montra_sync/paywall.py": paywall.file(source.exported("montra_async.paywall")),
            "montra_sync/webhooks.py": same(source, "montra_async.webhooks", webhooks),
            **montra_package(source),
        }
    except Refusal as refusal:
        raise Refused([*montra.refusals, *paywall.refusals, refusal]) from None
    if refusals := [*montra.refusals, *paywall.refusals]:
        raise Refused(refusals)
    return texts


def _check_code(texts: dict[str, str]) -> int:
    """Compare the files with what would be written, without ruff: all but their format and comments."""
    stale = [name for name, text in texts.items() if not is_same_code(text, _current(ROOT / name))]
    if stale:
        print(f"The synchronous facade is stale ({', '.join(stale)}): run nox -s generate", file=sys.stderr)
        return 1
    print("The synchronous facade is fresh. Its format was not compared: ruff is not installed.")
    return 0


def _current(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="generate_sync", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something would change")
    check: bool = parser.parse_args().check
    try:
        unformatted = generated(ROOT)
        try:
            texts = {name: formatted(text, ROOT / name, ROOT) for name, text in unformatted.items()}
        except NoFormatter:
            if not check:
                raise
            return _check_code(unformatted)
    except (Refused, FormattingError) as error:
        print(error, file=sys.stderr)
        return 2
    stale = 0
    for name, text in texts.items():
        path = ROOT / name
        current = _current(path)
        if current == text:
            continue
        stale += 1
        if check:
            sys.stdout.writelines(difflib.unified_diff(current.splitlines(True), text.splitlines(True), name, name))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    if check and stale:
        print("The synchronous facade is stale: run nox -s generate", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
