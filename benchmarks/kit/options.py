"""The options that every benchmark takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from .report import RESULTS

_QUICK = {"pairs": 2, "pieces": 64}


def parser(description: str | None, *, pieces: int) -> argparse.ArgumentParser:
    """`pieces`: how many calls, objects or imports one measurement is made of."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--pairs", type=_at_least_two, default=9, help="interleaved pairs per contender (default: 9)")
    made.add_argument("--pieces", type=int, default=pieces, help=f"calls per measurement (default: {pieces})")
    made.add_argument("--only", default="", help="the contenders whose name has this in it")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder for JSON, tables and chart")
    made.add_argument("--quick", action="store_true", help="does it still run? figures that mean nothing, in seconds")
    return made


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    given = parser.parse_args()
    if given.quick:
        vars(given).update(_QUICK)
        given.out = given.out / "quick"  # never in the place of real figures
    return given


def _at_least_two(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError("quartiles need at least 2 pairs")
    return number
