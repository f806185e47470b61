"""An AWS Lambda function that answers questions, over HTTP and from a queue, and records what they have used.

Time-out of the function: 15 s or more (`Timeout: 30`, say). Lambda's default, 3 s, is too short for a single message.
Environment: MONTRA_API_KEY; REDIS_URL, e.g. rediss://...:6379/0, for an outbox that outlives the function's instances.
The function is this file and aws_events.py.

Lambda freezes a process between two invocations, and ends it at any time without notice. Where the events wait decides
what happens to those that the service has not counted by then:

- in Redis: any other instance, or `montra-usage --outbox $REDIS_URL`, sends them;
- in a file in /tmp: this instance sends them in its next invocation; if there is none, they are lost;
- in a file on EFS: not possible, because its locks don't work for SQLite.
"""

import json
import os
from typing import Any

from aws_events import BodyTooLarge, http_request, http_response, milliseconds_left, process_batch

from montra_sync import Montra
from montra_sync.usage import Outbox, RedisOutbox, SqliteOutbox, UsageReporter

SECONDS_PER_ANSWER = 8.0
SECONDS_TO_SEND = 2.0
CLAIM = "montra_customer_id"


def make_outbox() -> Outbox:
    if url := os.environ.get("REDIS_URL"):
        return RedisOutbox(url)
    return SqliteOutbox(os.environ.get("MONTRA_OUTBOX", "/tmp/usage.db"))


# Created once, outside the handler: the invocations of one process share them.
usage = UsageReporter(Montra(), make_outbox(), request_timeout=SECONDS_TO_SEND)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The function that AWS calls: with a batch of a queue, or with an HTTP request."""
    with usage.invocation(timeout=SECONDS_TO_SEND):  # sends at the end of the block, and says in the log what is left
        if "Records" in event:
            # One more answer must end before Lambda's time-out, and what was used must be sent.
            needed = (SECONDS_PER_ANSWER + SECONDS_TO_SEND) * 1000
            return process_batch(event["Records"], do_job, lambda: milliseconds_left(context) > needed)
        return answer_request(event, request_id=context.aws_request_id)


def do_job(message_id: str, body: str) -> None:
    """A job that your own service has queued. One that is delivered again is done again, and counts once."""
    job = json.loads(body)
    answer(job["customer_id"], job["prompt"], key=f"sqs-{message_id}")


def answer_request(event: dict[str, Any], request_id: str) -> dict[str, Any]:
    """A question over HTTP. Who asks is what the authorizer of API Gateway has verified, never a header or the body.

    The idempotency key is the id of the invocation, which is the same if Lambda repeats it. A key that the caller
    chooses would let them use one for all of their requests, and pay once.
    """
    try:
        request = http_request(event)
        prompt = json.loads(request.body)["prompt"]
    except BodyTooLarge:
        return http_response(event, 413, {"error": "too large"})
    except (ValueError, KeyError, TypeError, RecursionError):
        return http_response(event, 400, {"error": 'send {"prompt": "..."}'})
    customer_id = request.claims.get(CLAIM)  # put into the token by your identity provider, or by your authorizer
    if not customer_id or not isinstance(prompt, str):
        return http_response(event, 400 if customer_id else 401, {"error": "who asks what?"})
    return http_response(event, 200, {"answer": answer(str(customer_id), prompt, key=f"lambda-{request_id}")})


def answer(customer_id: str, prompt: str, *, key: str) -> str:
    text = prompt.upper()  # your model
    usage.record(customer_id, "api-tokens", amount=len(text.split()), idempotency_key=key)
    return text
