"""Answers on disk, for a start without a burst of questions. What is read is checked: the file may be anything."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError, MontraError
from ..core.models.json import dumps, loads
from ..core.type_guards import is_object
from .decision import FEATURE, INVALID, METER, AccessDecision, Key
from .ledger import Ledger
from .numbers import parsed_amount

log: logging.Logger = logging.getLogger("montra")

_FORMAT = "montra-access-1"
_BYTES_PER_ENTRY = 4096
"""Maximum size of a file, per entry that memory may have."""


def save(ledger: Ledger, base_url: str, path: str | os.PathLike[str]) -> int:
    """Write the answers to a file, which is replaced in one step and readable by its owner only.

    Returns:
        The number of answers.

    Raises:
        ConfigError: the file can't be written.
    """
    now, wall = ledger.clock(), time.time()
    entries: list[list[Any]] = []
    for key, answer in ledger.known():
        age = now - (answer.asked_at or 0.0)
        numbers = [None if one is None else str(one) for one in (answer.usage, answer.limit)]
        entries.append([*key, answer.allowed, answer.reason, *numbers, round(max(0.0, age), 3)])
    text = dumps({"format": _FORMAT, "service": _fingerprint(base_url), "saved_at": wall, "entries": entries})
    target = Path(path)
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
            part.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise ConfigError(f"path: the answers can't be saved there: {error}") from None
    return len(entries)


def load(ledger: Ledger, base_url: str, path: str | os.PathLike[str]) -> int:
    """Read answers that `save` wrote. They count as stale.

    Returns:
        The number of answers; 0 for a file that is missing, damaged, foreign or too old, which is logged.
    """
    try:
        content = _read(ledger, base_url, Path(path))
        elapsed = time.time() - float(content["saved_at"])
        if elapsed < 0:
            raise ValueError("it is from the future")
        found = list(_answers(ledger, content["entries"], elapsed))
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MontraError) as error:
        log.warning("saved answers of access are not used: %s: %.200s", type(error).__name__, error)
        return 0
    for key, answer in found[: ledger.settings.max_entries]:
        ledger.store(key, answer)
    return len(found[: ledger.settings.max_entries])


def _read(ledger: Ledger, base_url: str, path: Path) -> dict[str, Any]:
    maximum = ledger.settings.max_entries * _BYTES_PER_ENTRY
    with path.open("rb") as file:
        if os.name == "posix" and os.fstat(file.fileno()).st_uid != os.geteuid():
            raise ValueError("it belongs to another user")
        raw = file.read(maximum + 1)
    if len(raw) > maximum:
        raise ValueError(f"it has more than {maximum} bytes")
    content: Any = loads(raw)
    if not is_object(content) or content.get("format") != _FORMAT:
        raise ValueError("it is no file of ours")
    if content["service"] != _fingerprint(base_url):
        raise ValueError("it is of another service")
    return content


def _answers(ledger: Ledger, entries: Any, elapsed: float) -> Iterator[tuple[Key, AccessDecision]]:
    now, settings = ledger.clock(), ledger.settings
    for customer_id, kind, slug, allowed, reason, usage, limit, written_age in entries:
        age = float(written_age)
        texts = all(isinstance(one, str) for one in (customer_id, kind, slug))
        if not texts or kind not in (METER, FEATURE) or not isinstance(allowed, bool) or not age >= 0:
            raise ValueError("an entry is not valid")
        if reason is not None and not isinstance(reason, str):
            raise ValueError("a reason is not valid")
        if age + elapsed > settings.max_stale:
            continue
        used, maximum = parsed_amount(usage), parsed_amount(limit)
        asked_at = now - age - elapsed
        # A meter's usage may have grown unseen, so it is asked for before units are held.
        fresh_until = INVALID if kind == METER else min(now, asked_at + settings.ttl)
        yield (
            (customer_id, kind, slug),
            AccessDecision(
                allowed,
                "cached",
                reason=reason,
                usage=used,
                limit=maximum,
                remaining=None if used is None or maximum is None else max(0, maximum - used),
                asked_at=asked_at,
                fresh_until=fresh_until,
                clock=ledger.clock,
            ),
        )


def _fingerprint(base_url: str) -> str:
    return hashlib.sha256(base_url.encode()).hexdigest()[:32]
