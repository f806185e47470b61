"""A webhook of 2 KB: is it ours, and what does it say?

    python benchmarks/webhooks.py

The baseline is the least that any receiver must do: one HMAC-SHA256 of the body, compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable

from kit import options, report
from kit.contenders import taking_part
from kit.pairs import Measure, Table, compare

from montra_async.webhooks import parse, verify_signature

SECRET = "whsec_of_the_benchmark"
BODY = json.dumps(
    {
        "id": "evt_0123456789",
        "type": "customer.created",
        "created_at": "2026-01-01T00:00:00Z",
        "data": {
            "id": "cust_0123456789",
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "metadata": {f"field_{i:02}": "x" * 40 for i in range(32)},
        },
    }
).encode()
SIGNATURE = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


def least() -> object:
    wanted = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, SIGNATURE)


def least_and_json() -> object:
    return least() and json.loads(BODY)


def verified() -> object:
    return verify_signature(BODY, SIGNATURE, SECRET)


def typed() -> object:
    return parse(BODY, SIGNATURE, SECRET)


def stripe() -> Callable[[], object]:
    from stripe import Webhook

    moment = int(time.time())
    signed = hmac.new(SECRET.encode(), f"{moment}.".encode() + BODY, hashlib.sha256).hexdigest()
    text, header = BODY.decode(), f"t={moment},v1={signed}"
    return lambda: Webhook.construct_event(text, header, SECRET, tolerance=10**6)  # type: ignore[no-untyped-call]


CONTENDERS: dict[str, tuple[Callable[[], Callable[[], object]], str | None]] = {
    "montra, verify_signature": (lambda: verified, None),
    "montra, parse (typed event)": (lambda: typed, None),
    "hmac, then json.loads": (lambda: least_and_json, None),
    "stripe, Webhook.construct_event": (stripe, "stripe"),
}


def cost(check: Callable[[], object], times: int) -> float:
    """Microseconds of CPU per webhook."""
    began = time.process_time()
    for _ in range(times):
        if not check():
            raise SystemExit("a good signature was refused")
    return (time.process_time() - began) / times * 1e6


def main() -> None:
    given = options.parse(options.parser(__doc__, pieces=5000))
    others: dict[str, Measure] = {}
    for name, make in taking_part(CONTENDERS, given.only).items():
        check = make()
        others[name] = lambda check=check: cost(check, given.pieces)
    rows = compare(("hmac alone", lambda: cost(least, given.pieces)), others, pairs=given.pairs)
    report.write("webhooks", [Table(f"A webhook of {len(BODY):,} bytes", "CPU us", rows)], given.out)


if __name__ == "__main__":
    main()
