"""Exit codes, and what an expected failure says. No failure of these prints a traceback."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import NoReturn

OK = 0
FAILED = 1
USAGE = 2
DIFFERENT = 3
DENIED = 4
NOT_FOUND = 5
NETWORK = 6
NOT_CONFIRMED = 7
INTERRUPTED = 130
BROKEN_PIPE = 141
_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))

EXIT_CODES: dict[int, str] = {
    OK: "done",
    FAILED: "the service refused the call, or something else failed",
    USAGE: "wrong usage: an unknown option, a missing or invalid value, invalid settings",
    DIFFERENT: "`plans diff`: there are changes; `plans apply`: some can't be made; `usage import`: lines were refused"
    " or left; `usage status`: requests are parked; `usage retry`, `usage dead --drop`: not all of these were parked;"
    " `sandbox scenario`: a delivery was not accepted",
    DENIED: "the key is missing, wrong or not allowed to do this (401, 403)",
    NOT_FOUND: "no such object, path or outbox (404)",
    NETWORK: "no answer: the service or the sandbox can't be reached, or a time-out expired",
    NOT_CONFIRMED: "a question was answered with no, or can't be asked (not a terminal) and --yes is missing",
    INTERRUPTED: "Ctrl-C",
    BROKEN_PIPE: "the program that reads the output has ended, e.g. `| head`",
}


class CliError(Exception):
    """An expected failure.

    Args:
        message: what happened.
        code: the exit code. Default: 1.
        hint: what to do next; empty for nothing.
    """

    def __init__(self, message: str, code: int = FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


class Debug:
    """Whether failures show their traceback. Set by `--debug` and `MONTRA_DEBUG`."""

    enabled = False


def guarded(job: Callable[[], object]) -> object:
    """Run a command; end the process with the code of what fails.

    Args:
        job: the command.

    Raises:
        SystemExit: the command has failed as expected.
    """
    try:
        result = job()
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("Stopped.")
        _exit(INTERRUPTED)
    except BrokenPipeError:
        _exit(BROKEN_PIPE)
    except Exception as error:
        code = _describe(error)
        if code is None and _is_of_typer(error):  # a usage error, or the end of `--help`
            raise
        if Debug.enabled or code is None:
            _print_traceback(error)
        _exit(FAILED if code is None else code)
    return result


def end_by(error: OSError) -> NoReturn:
    """End the process with the code of a failure outside of any command.

    Args:
        error: the failure.

    Raises:
        SystemExit: it is an expected one.
        OSError: it is not.
    """
    if isinstance(error, BrokenPipeError):
        _exit(BROKEN_PIPE)
    code = _describe(error)
    if code is None:
        raise error
    _exit(code)


def _describe(error: Exception) -> int | None:
    """Say what has happened; the exit code. None for what nobody expects."""
    if isinstance(error, CliError):
        _say(f"Error: {error.message}", error.hint)
        return error.code
    if type(error).__name__ == "Abort" and _is_of_typer(error):
        _say("\nStopped.")
        return INTERRUPTED
    described = _of_sdk(error)
    if described is not None:
        return described
    if isinstance(error, OSError) and error.filename is not None:
        _say(f"Error: {error.filename}: {error.strerror}")
        return FAILED
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        _say(f"Error: what the command writes has no room: {error.strerror}")
        return FAILED
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        _say("Error: there is no stdout to write to: it was closed")
        return FAILED
    return None


def _is_of_typer(error: Exception) -> bool:
    """Whether it is typer's, which has moved its classes between packages."""
    return type(error).__module__.split(".")[0] in ("typer", "click")


def _of_sdk(error: Exception) -> int | None:
    """The exit code of an error of the SDK; None for another one. The SDK is not imported for this."""
    errors = sys.modules.get("montra_async.core.errors")
    if errors is None or not isinstance(error, errors.MontraError):
        return None
    codes: list[tuple[str, int, str]] = [
        ("ConfigError", USAGE, "`montra config login` stores a key; `montra sandbox` starts a service to try."),
        ("InvalidArgumentError", USAGE, ""),
        ("AuthenticationError", DENIED, "`montra config list` shows which key is used."),
        ("PermissionDeniedError", DENIED, ""),
        ("NotFoundError", NOT_FOUND, ""),
        ("NetworkError", NETWORK, ""),
        ("MontraError", FAILED, ""),
    ]
    for name, code, hint in codes:
        if isinstance(error, getattr(errors, name)):
            message = _flag_named(error)
            key = getattr(error, "idempotency_key", None)
            if code == NETWORK and key:
                hint = f"It may have been carried out. Repeat it with --idempotency-key {key} to be sure."
                hint = hint if getattr(error, "sent", True) else ""
            _say(f"Error: {message}", hint)
            return code
    return None


def _flag_named(error: Exception) -> str:
    """The message; an invalid argument by the name of its option."""
    parameter = getattr(error, "parameter", None)
    if isinstance(parameter, str) and parameter:
        return f"{parameter.replace('_', '-')}: {getattr(error, 'problem', error)}"
    return str(error)


def _say(message: str, hint: str = "") -> None:
    from .cleaning import clean_lines

    try:
        print(clean_lines(message), file=sys.stderr)
        if hint:
            print(clean_lines(hint), file=sys.stderr)
    except (OSError, ValueError):
        pass


def _print_traceback(error: Exception) -> None:
    """The traceback without anything that is known to be secret."""
    import traceback

    from .cleaning import clean_lines
    from .secrets import redact

    print(clean_lines(redact("".join(traceback.format_exception(error)))), file=sys.stderr)


def _exit(code: int) -> NoReturn:
    """End with a code. What stdout still holds may have no reader any more."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        import os

        # The interpreter flushes stdout once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
