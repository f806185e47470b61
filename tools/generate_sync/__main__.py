"""Write the synchronous facade `montra_sync` from `montra_async`.

    python tools/generate_sync            rewrite the generated files
    python tools/generate_sync --check    fail when they are not what would be written

Reads the source with `ast` and imports nothing of it, so that it works without anything installed. Every public method
of a facaded class and of its bases becomes a method of the same name, parameters, defaults and docs: coroutines wait on
the background loop, async generators become lazy iterators, `async with` becomes `with`, `aclose` becomes `close`.
Where a parameter or result is an object of a facaded class, the facade takes or gives its own. Properties and
attributes that a class declares become properties.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from reading import ROOT, exported
from writing import Facade, facade_file, lazy, public, same

TARGET = ROOT / "montra_sync"

MONTRA = Facade(
    title="`Montra` for synchronous code: the same calls, run on one background event loop.",
    package="montra_async",
    made={"Montra": "montra_async.client"},
    given={},
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
)


def generated() -> dict[Path, str]:
    package = "Synchronous Python SDK for Montra: the calls of `montra_async` without `await`. Start with `Montra`."
    webhooks = "Receiving webhooks in synchronous code: `parse`, and `WebhookReceiver.handle_blocking`."
    return {
        TARGET / "__init__.py": lazy("montra_async", package),
        TARGET / "_public.py": public("montra_async", MONTRA),
        TARGET / "client.py": facade_file(MONTRA),
        TARGET / "paywall.py": facade_file(PAYWALL, exports=exported("montra_async.paywall")),
        TARGET / "webhooks.py": same("montra_async.webhooks", webhooks),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something would change")
    check: bool = parser.parse_args().check
    stale = 0
    for path, text in generated().items():
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        if current == text:
            continue
        stale += 1
        if check:
            name = str(path.relative_to(ROOT))
            sys.stdout.writelines(difflib.unified_diff(current.splitlines(True), text.splitlines(True), name, name))
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    if check and stale:
        print("The synchronous facade is stale: run nox -s generate", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
