"""`python -m montra_sandbox` and `montra-sandbox`: starts the command line, or says what is not installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line until the sandbox is stopped.

    Args:
        arguments: the arguments without the program's name; those of the process by default.

    Returns:
        The exit code: 0 after a stop, 2 when the sandbox can't start.

    Raises:
        SystemExit: after `--help`, or for arguments that can't be parsed.
    """
    try:
        from .command_line import run
    except ModuleNotFoundError as error:
        from .missing_extra import missing_extra

        explained = missing_extra(error)
        if explained is error:
            raise
        print(f"The sandbox can't start: {explained}", file=sys.stderr)
        return 2
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
