"""Write the catalog of the command `montra` from the signatures of `montra_async`.

    python tools/generate_cli            rewrite montra_cli/calls/call_catalog.py
    python tools/generate_cli --check    fail when it is not what would be written

Reads the source with `ast` and imports nothing of it; needs only ruff, which formats what is written. A call whose
parameters can't be options, or whose name has no known noun, is refused: the exit code is 2 and nothing is written.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from generate_cli.catalog_text import catalog
from generate_cli.signatures import Refused, Signature, Sources
from generate_sync.formatting import FormattingError, NoFormatter, formatted, is_same_code

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path("montra_cli", "calls", "call_catalog.py")

LEFT_OUT = ("get_prices", "get_balances")
"""Another name of `list_prices`, and a call that needs a user's session, which a command doesn't have."""


def generated(root: Path) -> str:
    """The text of the catalog, not yet formatted.

    Args:
        root: the directory of the project.

    Raises:
        Refused: no command can be made of a call.
    """
    montra, paywall = Sources(), Sources()
    for path in sorted((root / "montra_async" / "resources").glob("*.py")):
        montra.read(path)
    montra.read(root / "montra_async" / "client.py")
    for path in sorted((root / "montra_async" / "paywall").glob("*.py")):
        paywall.read(path)
    return catalog(_calls(montra, "Montra"), _calls(paywall, "BillingClient"))


def _calls(sources: Sources, client: str) -> list[Signature]:
    """The calls of a client's base classes, in the order in which it names them."""
    bases = [ast.unparse(base) for base in sources.classes[client].bases]
    return [call for base in bases for call in sources.calls(base) if call.method not in LEFT_OUT]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="generate_cli", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something would change")
    check: bool = parser.parse_args().check
    path = ROOT / TARGET
    current = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        text = generated(ROOT)
        try:
            fresh = (text := formatted(text, path, ROOT)) == current
        except NoFormatter:
            if not check:
                raise
            fresh = is_same_code(text, current)
    except (Refused, FormattingError) as error:
        print(error, file=sys.stderr)
        return 2
    if fresh:
        return 0
    if check:
        print(f"{TARGET} is stale: run nox -s generate", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
