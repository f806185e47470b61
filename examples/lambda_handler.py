"""An AWS Lambda function: it reports usage from a queue (SQS) and receives webhooks over HTTP (API Gateway, or the
function's own URL).

Time-out of the function: 15 s or more (`Timeout: 30`, say). Lambda's default, 3 s, is too short for a single message.
Environment: MONTRA_API_KEY; for the webhooks MONTRA_WEBHOOK_SECRET, and REDIS_URL, where handled events are remembered.
The function is this file and aws_events.py.

The client is created once, outside the handler, and reused by the invocations of the same process. Connections that
were closed while the process was frozen are replaced.
"""

import functools
import json
import os
from typing import Any

from aws_events import BodyTooLarge, http_request, http_response, milliseconds_left, process_batch

from montra_sync import Montra, Timeout
from montra_sync.webhooks import CheckoutCompleted, RedisStore, SqliteStore, WebhookReceiver

SECONDS_PER_CALL = 8

# Time out well before Lambda does, so that the batch can report what failed.
montra = Montra(timeout=Timeout(total=SECONDS_PER_CALL, connect=2), max_attempts=3)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The function that AWS calls. In your own project, use a function for each source of events if you prefer."""
    if "Records" in event:
        # One more call must be able to end before Lambda's time-out.
        return process_batch(
            event["Records"], count_usage, lambda: milliseconds_left(context) > (SECONDS_PER_CALL + 1) * 1000
        )
    return receive_webhook(event)


def count_usage(message_id: str, body: str) -> None:
    """Report what a message says. Its id is the idempotency key: a message that is delivered again counts once."""
    usage = json.loads(body)
    montra.report_usage(
        customer_id=usage["customer_id"],
        meter_slug=usage["meter_slug"],
        amount=usage["amount"],
        idempotency_key=message_id,
    )


@functools.cache
def receiver() -> WebhookReceiver:
    # Instances of a function share nothing but what is outside of them. /tmp belongs to one instance: an event that is
    # delivered twice to different instances would be handled twice.
    url = os.environ.get("REDIS_URL")
    store = RedisStore(url) if url else SqliteStore(os.environ.get("EVENTS_DB", "/tmp/events.db"))
    made = WebhookReceiver(secrets_of(os.environ["MONTRA_WEBHOOK_SECRET"]), store=store)
    made.on(CheckoutCompleted)(paid)
    return made


def secrets_of(setting: str) -> list[str]:
    """The secret; or two, separated by a comma, while one replaces the other."""
    return [secret.strip() for secret in setting.split(",")]


def paid(event: CheckoutCompleted) -> None:
    print(f"paid: {event.data.session_id}")


def receive_webhook(event: dict[str, Any]) -> dict[str, Any]:
    """A delivery: its signature belongs to the bytes that were sent, so nothing is parsed before."""
    try:
        request = http_request(event)
    except BodyTooLarge:
        return http_response(event, 413, {"status": "too_large"})
    except ValueError:
        return http_response(event, 400, {"status": "unreadable"})
    if request.method != "POST":
        return http_response(event, 405, {"status": "not_allowed"}, {"Allow": "POST"})
    reply = receiver().handle_blocking(request.body, request.headers)
    return http_response(event, reply.status, reply.body, dict(reply.headers))
