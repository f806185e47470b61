"""An AWS Lambda function: it reports usage from a queue (SQS) and receives webhooks over HTTP (API Gateway, or the
function's own URL).

Environment: MONTRA_API_KEY, and MONTRA_WEBHOOK_SECRET for the webhooks. The queue's event source mapping needs
`FunctionResponseTypes: [ReportBatchItemFailures]`: without it AWS ignores which records the handler reports as failed.

The client is created once, outside the handler, and reused by the invocations of the same process. Connections that
were closed while the process was frozen are replaced.
"""

import base64
import binascii
import functools
import json
import os
from typing import Any

from montra_sync import Montra, Timeout
from montra_sync.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver

SECONDS_PER_CALL = 8

# Time out well before Lambda does, so that the batch can report what failed.
montra = Montra(timeout=Timeout(total=SECONDS_PER_CALL, connect=2), max_attempts=3)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The function that AWS calls. In your own project, use a function for each source of events if you prefer."""
    if "Records" in event:
        return count_usage(event["Records"], context)
    return receive_webhook(event)


def count_usage(records: list[dict[str, Any]], context: Any) -> dict[str, Any]:
    """Report usage, and return the records that failed: SQS delivers only those again.

    The message's id is the idempotency key: a record that is delivered again after a crash is counted once. A record
    that can never succeed (no JSON, unknown customer) is delivered until the queue moves it to the dead-letter queue.
    """
    failed: list[dict[str, str]] = []
    for record in records:
        message_id: str = record["messageId"]
        try:
            if not time_is_left(context):
                raise TimeoutError("no time left in this invocation")
            usage = json.loads(record["body"])  # always a string
            montra.report_usage(
                customer_id=usage["customer_id"],
                meter_slug=usage["meter_slug"],
                amount=usage["amount"],
                idempotency_key=message_id,
            )
        except Exception as error:  # a bad record must not have the others delivered again
            print(f"{message_id}: {type(error).__name__}: {error}")
            failed.append({"itemIdentifier": message_id})
    return {"batchItemFailures": failed}


def time_is_left(context: Any) -> bool:
    """Return whether one more call can finish before Lambda's time-out. Tests and local runs have no context."""
    return context is None or context.get_remaining_time_in_millis() > (SECONDS_PER_CALL + 1) * 1000


@functools.cache
def receiver() -> WebhookReceiver:
    # Each instance of a function has its own /tmp. Use RedisStore, which all instances share.
    store = SqliteStore(os.environ.get("EVENTS_DB", "/tmp/events.db"))
    made = WebhookReceiver(os.environ["MONTRA_WEBHOOK_SECRET"], store=store)
    made.on(CheckoutCompleted)(paid)
    return made


def paid(event: CheckoutCompleted) -> None:
    print(f"paid by {event.data.customer_email}")


def receive_webhook(event: dict[str, Any]) -> dict[str, Any]:
    """An HTTP event: of API Gateway (REST: payload format 1.0, HTTP: 2.0), or of a function URL (like 2.0)."""
    http = event.get("requestContext", {}).get("http", {})
    if event.get("httpMethod", http.get("method")) != "POST":
        return {"statusCode": 405, "headers": {"Allow": "POST"}, "body": ""}
    try:
        body = raw_body(event)
    except (binascii.Error, ValueError):
        return {"statusCode": 400, "headers": {"Content-Type": "application/json"}, "body": '{"status": "unreadable"}'}
    reply = receiver().handle_blocking(body, event.get("headers") or {})
    return {"statusCode": reply.status, "headers": dict(reply.headers), "body": reply.body.decode()}


def raw_body(event: dict[str, Any]) -> bytes:
    """Return the bytes that were sent: they are what is signed."""
    body: str = event.get("body") or ""
    return base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
