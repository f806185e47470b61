"""An AWS Lambda function that records usage, and sends it before it is frozen.

Environment: MONTRA_API_KEY; REDIS_URL, e.g. rediss://...:6379/0, for an outbox that outlives the function's instances.

Lambda freezes a process between two invocations, and ends it at any time without notice. Where the events wait decides
what happens to those that the service has not counted by then:

- in Redis: any other instance, or `montra-usage --outbox $REDIS_URL`, sends them;
- in a file in /tmp: this instance sends them in its next invocation; if there is none, they are lost;
- in a file on EFS: not possible, because its locks don't work for SQLite.
"""

import json
import os
from typing import Any

from montra_sync import Montra
from montra_sync.usage import Outbox, RedisOutbox, SqliteOutbox, UsageReporter

SECONDS_TO_SEND = 2.0


def make_outbox() -> Outbox:
    if url := os.environ.get("REDIS_URL"):
        return RedisOutbox(url)
    return SqliteOutbox(os.environ.get("MONTRA_OUTBOX", "/tmp/usage.db"))


# Created once, outside the handler: the invocations of one process share them.
usage = UsageReporter(Montra(), make_outbox(), request_timeout=SECONDS_TO_SEND)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a question. The request's id is the idempotency key: Lambda may invoke a function twice for one event."""
    with usage.invocation(timeout=SECONDS_TO_SEND):  # sends at the end of the block, and says in the log what is left
        text = event["prompt"].upper()  # your model
        usage.record(
            event["customer_id"],
            "api-tokens",
            amount=len(text.split()),
            idempotency_key=f"lambda-{context.aws_request_id}",
        )
    return {"statusCode": 200, "body": json.dumps({"answer": text})}
