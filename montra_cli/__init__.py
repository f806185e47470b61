"""The command `montra`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line, without the program's name. Default: those of the process.

    Returns:
        The exit code. Most commands end with SystemExit instead.

    Raises:
        SystemExit: with the exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    try:
        code = _main(given)
        sys.stdout.flush()
    except OSError as error:  # what `guarded` does not run: a full disk ends `--help`, too
        from .failures import end_by

        end_by(error)
    return code


def _open_closed_streams() -> None:
    """Replace the streams that a shell has closed (`>&-`), which are None, by ones that files can't take the place of.

    Nothing can be read from stdin, and writing results to stdout fails as on a full disk. Messages are lost.
    """
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _main(given: list[str]) -> int:
    if given in (["--version"], ["-V"]):
        print_version()
        return 0
    missing = [name for name in ("typer", "rich", "tomlkit") if find_spec(name) is None]  # imports nothing
    if missing:
        run = "Run: pip install 'montra[cli]', or in a clone of the SDK: pip install -e '.[cli]'"
        sys.stderr.write(f"montra: {', '.join(missing)} is not installed. {run}\n")
        return 2
    return _run(given)


def _run(arguments: list[str]) -> int:
    try:
        from typer.main import get_command

        from .app import COMMANDS, make_command, root_app

        if arguments and arguments[0] in COMMANDS and "_MONTRA_COMPLETE" not in os.environ:
            # Not by way of the root: to look at the root's options, typer imports what takes a tenth of a second.
            made = make_command(arguments[0])
            made.name = arguments[0]
            made.main(arguments[1:], prog_name=f"montra {arguments[0]}")
        else:
            get_command(root_app()).main(arguments, prog_name="montra")
    except KeyboardInterrupt:  # before or after what `guarded` runs
        return 130
    return 0


def print_version() -> None:
    """Print the version."""
    from montra_async import __version__

    sys.stdout.write(f"montra {__version__}\n")
