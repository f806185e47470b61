"""The file that knows how far an import is. It survives a kill at any point, and a power cut.

A line of text per fact, only ever appended:

    {"import": ..., "digest": ..., "target": ..., ...}    the first line: which file is imported where
    c 500 1764201600.0      records up to 500 may be sent from now on; on disk before the first of them is sent
    d 480                   all records up to 480 are done
    k 482 483               these are done, too
    r 481 17 "404 ..."      record 481, at line 17, was refused
    e 1764201700.0          everything is done
    x 12345 0af3...         the file has grown since, to this size and digest; lines behind the old content follow

After a crash, records that are claimed and not done may have been counted. They are sent again under the same key,
which counts them once, as long as the service remembers the key. Later they are left for a person to decide.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..failures import FAILED, USAGE, CliError
from ..json_types import is_object
from ..output.encoding import to_json

CLAIM = 500
"""How many records are claimed together."""
_IDENTITY = ("import", "digest", "target")
"""What the first line has at least."""
GOES_ON = "What was counted is noted: the same command goes on from there."


@dataclass
class Progress:
    """How far an import is.

    Attributes:
        done_up_to: all records up to this number are done.
        done: numbers of later ones that are done.
        claims: numbers up to which records may have been sent, with the time of the claim.
        refused: line and reason of each record that was refused, by its number.
        finished_at: when everything was done; None before.
        grown: size and digest of the file after it has grown; None if it has not.
    """

    done_up_to: int = 0
    done: set[int] = field(default_factory=set[int])
    claims: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    refused: dict[int, tuple[int, str]] = field(default_factory=dict[int, tuple[int, str]])
    finished_at: float | None = None
    grown: tuple[int, str] | None = None

    @property
    def claimed_up_to(self) -> int:
        """Records up to this number may have been sent."""
        return self.claims[-1][0] if self.claims else 0

    def is_done(self, number: int) -> bool:
        """Whether a record is done.

        Args:
            number: the record.
        """
        return number <= self.done_up_to or number in self.done

    def claimed_at(self, number: int) -> float | None:
        """When a record was claimed; None if it was surely never sent.

        Args:
            number: the record.
        """
        return next((at for up_to, at in self.claims if number <= up_to), None)

    def add(self, number: int) -> None:
        """A record is done.

        Args:
            number: the record.
        """
        self.done.add(number)
        while self.done_up_to + 1 in self.done:
            self.done_up_to += 1
            self.done.discard(self.done_up_to)

    @property
    def count(self) -> int:
        """How many records are done, refused ones included."""
        return self.done_up_to + len(self.done)


class ProgressFile:
    """The file, locked: one import at a time.

    Args:
        path: where it is.
        identity: what is imported where; the first line of a new file.
        import_of: the id of the import of content with a digest. Default: that of `identity`.
        digest_of_first: digest of the first bytes of the file if these are whole lines, else None. Default: None.

    Attributes:
        progress: what it says.
        import_id: identifies the import in idempotency keys; it stays when the file grows.
        has_grown: whether the file has grown since the last run.

    Raises:
        CliError: another import uses it, it belongs to another one, or it can't be used.
    """

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        *,
        import_of: Callable[[str], str] | None = None,
        digest_of_first: Callable[[int], str | None] | None = None,
    ) -> None:
        self.path = path
        self._import_of = import_of
        self._digest_of_first = digest_of_first
        self.import_id: str = identity["import"]
        self.has_grown: bool = False
        self.progress: Progress = Progress()
        self._unwritten: list[int] = []
        self._written_up_to = 0
        self._is_torn = False
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise CliError(f"{path}: {error.strerror}", FAILED) from None
        try:
            self._lock()
            self._load(identity)
        except BaseException as error:
            os.close(self._descriptor)
            if isinstance(error, OSError):
                raise CliError(f"{path}: {error.strerror}", FAILED) from None
            raise

    def close(self) -> None:
        """Write what is done, and unlock.

        Raises:
            CliError: it can't be written; it is unlocked all the same.
        """
        try:
            self.flush()
        finally:
            os.close(self._descriptor)

    def claim(self, up_to: int, now: float) -> None:
        """Records up to a number may be sent once this returns.

        Args:
            up_to: the number.
            now: seconds since the epoch.

        Raises:
            CliError: it can't be written, so none of them may be sent.
        """
        self._append(f"c {up_to} {now!r}\n", sync=True)
        self.progress.claims.append((up_to, now))

    def add(self, number: int) -> None:
        """A record is counted. Written by the next `flush`.

        Args:
            number: the record.
        """
        self.progress.add(number)
        self._unwritten.append(number)

    def refuse(self, number: int, line: int, reason: str) -> None:
        """A record is refused.

        Args:
            number: the record.
            line: its line.
            reason: why.

        Raises:
            CliError: it can't be written.
        """
        self._append(f"r {number} {line} {to_json(reason)}\n")
        self.progress.refused[number] = (line, reason)
        self.progress.add(number)

    def flush(self) -> None:
        """Write what is done. What can't be written stays for the next attempt.

        Raises:
            CliError: it can't be written, e.g. the disk is full.
        """
        up_to = self.progress.done_up_to
        text = f"d {up_to}\n" if up_to > self._written_up_to else ""
        later = [str(one) for one in self._unwritten if one > up_to]
        text += f"k {' '.join(later)}\n" if later else ""
        if text:
            self._append(text)
        self._written_up_to = up_to
        self._unwritten = []

    def finish(self, now: float) -> None:
        """Everything is done.

        Args:
            now: seconds since the epoch.

        Raises:
            CliError: it can't be written.
        """
        self.flush()
        self._append(f"e {now!r}\n", sync=True)
        self.progress.finished_at = now

    def _append(self, text: str, *, sync: bool = False) -> None:
        """Append whole lines, or nothing: `k 3 4` may be the beginning of `k 3 45`."""
        if self._is_torn:
            raise CliError(f"{self.path}: ends with a torn line", FAILED, GOES_ON)
        before = os.fstat(self._descriptor).st_size
        data = text.encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            try:
                os.ftruncate(self._descriptor, before)
            except OSError:  # nothing may follow it, so that the next run finds it at the end and removes it
                self._is_torn = True
            raise CliError(f"{self.path}: {error.strerror}", FAILED, GOES_ON) from None

    def _lock(self) -> None:
        with contextlib.suppress(ImportError):  # Windows
            import fcntl

            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CliError(f"{self.path}: another import of this file is running", FAILED) from None

    def _load(self, identity: dict[str, Any]) -> None:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", "replace").splitlines()
        first_line = to_json(identity) + "\n"
        if not lines:
            if not first_line.encode().startswith(content):
                raise _foreign(self.path)
            os.ftruncate(self._descriptor, 0)
            self._append(first_line, sync=True)
            return
        found = self._first(lines[0])
        try:
            for line in lines[1:]:
                self._read(line)
        except (ValueError, IndexError):
            raise CliError(f"{self.path}: damaged; it can't say what was counted", FAILED) from None
        self._written_up_to = self.progress.done_up_to
        is_same = self._check(found, identity)
        # Not before it is known to be ours: the file of something else stays as it is.
        if len(whole) < len(content):  # a line that a power cut has torn: it never took effect
            os.ftruncate(self._descriptor, len(whole))
        if not is_same:
            self._append(f"x {identity['size']} {identity['digest']}\n", sync=True)
            self.progress.finished_at = None
            self.has_grown = True

    def _first(self, first: str) -> dict[str, Any]:
        try:
            found: Any = json.loads(first)
        except (ValueError, RecursionError):
            raise _foreign(self.path) from None
        if not is_object(found) or not all(isinstance(found.get(name), str) for name in _IDENTITY):
            raise _foreign(self.path)
        return found

    def _check(self, found: dict[str, Any], identity: dict[str, Any]) -> bool:
        """Whether the content of the file is the same as in the last run; it may have grown, but nothing else."""
        digest = found["digest"]
        size, latest = self.progress.grown or (found.get("size"), digest)
        is_same = bool(latest == identity["digest"])
        if not is_same and not (isinstance(size, int) and self._begins_with(size, latest)):
            raise self._changed()
        import_id = identity["import"] if self._import_of is None else self._import_of(digest)
        if found["target"] != identity["target"] or found["import"] != import_id:
            raise CliError(
                f"{self.path}: belongs to an import into another service, with another key or other options",
                USAGE,
                "Give another --progress FILE, or the options it was begun with.",
            )
        self.import_id = found["import"]
        return is_same

    def _begins_with(self, size: int, digest: object) -> bool:
        return self._digest_of_first is not None and self._digest_of_first(size) == digest

    def _changed(self) -> CliError:
        is_finished = self.progress.finished_at is not None
        done = "All its lines were done. " if is_finished else ""
        other = "Import a file of only the new lines" if is_finished else "Restore the file to finish the import"
        return CliError(
            "the file has changed since its import began, so that nobody can tell which of its lines were counted",
            USAGE,
            f"{done}{other}; without {self.path}, or under another --import-id, all lines would be counted again. Lines"
            " that are appended to an unchanged file are imported by the same command.",
        )

    def _read(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "c":
            up_to, at = rest.split(" ")
            self.progress.claims.append((int(up_to), float(at)))
        elif kind == "d":
            self.progress.done_up_to = max(self.progress.done_up_to, int(rest))
            self.progress.done = {one for one in self.progress.done if one > self.progress.done_up_to}
        elif kind == "k":
            for one in rest.split(" "):
                self.progress.add(int(one))
        elif kind == "r":
            number, at_line, reason = rest.split(" ", 2)
            self.progress.refused[int(number)] = (int(at_line), json.loads(reason))
            self.progress.add(int(number))
        elif kind == "e":
            self.progress.finished_at = float(rest)
        elif kind == "x":
            size, digest = rest.split(" ")
            self.progress.grown = (int(size), digest)
            self.progress.finished_at = None
        else:
            raise ValueError(kind)


def _foreign(path: Path) -> CliError:
    return CliError(
        f"{path}: not the progress of an import of this file",
        USAGE,
        "It was left as it is. Give another --progress FILE.",
    )
