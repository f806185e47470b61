"""What AWS hands to a Lambda function, as plain objects: HTTP requests of every kind, and batches of a queue (SQS).

An HTTP request comes from API Gateway (REST API: payload format 1.0; HTTP API: 1.0 or 2.0), from the function's own URL
(like 2.0), or from a load balancer (like 1.0). Its body is always a string: the text, or base64 when it is not text.
"""

import base64
import json
from collections.abc import Callable
from typing import Any, cast

import attrs

MAX_BODY = 1024 * 1024  # bytes; Lambda itself allows 6 MB


@attrs.frozen(kw_only=True)
class HttpRequest:
    """An HTTP request.

    Attributes:
        method: in upper case.
        headers: by their names in lower case; several values are joined with commas, as HTTP does.
        body: the bytes that were sent. These are what a signature signs.
        claims: what the authorizer of API Gateway says about the caller: claims of a verified token, or the context of
            your Lambda authorizer. Empty without an authorizer. No caller can write them.
    """

    method: str
    headers: dict[str, str]
    body: bytes
    claims: dict[str, Any]


def http_request(event: dict[str, Any]) -> HttpRequest:
    """Read an HTTP event.

    Raises:
        ValueError: it is none, or its body can't be read.
    """
    context = _object(event.get("requestContext"))
    method = event.get("httpMethod") or _object(context.get("http")).get("method")
    if not isinstance(method, str):
        raise ValueError("not an event of API Gateway, a function URL or a load balancer")
    body: str = event.get("body") or ""
    raw = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    if len(raw) > MAX_BODY:
        raise ValueError("the body is too large")
    return HttpRequest(method=method.upper(), headers=_headers(event), body=raw, claims=_claims(context))


def http_response(status: int, body: object, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """A response with JSON. Its form is the same for all kinds of requests; its body is a string, too."""
    all_headers = {"Content-Type": "application/json", **(headers or {})}
    return {"statusCode": status, "headers": all_headers, "body": json.dumps(body), "isBase64Encoded": False}


def process_batch(
    records: list[dict[str, Any]], handle: Callable[[str, str], None], time_is_left: Callable[[], bool]
) -> dict[str, Any]:
    """Handle the messages of a queue one by one, and return those that failed: SQS delivers only these again.

    The event source mapping needs `FunctionResponseTypes: [ReportBatchItemFailures]`, or AWS ignores the result and
    takes the whole batch for done. A message that can never succeed comes again until the queue moves it to its
    dead-letter queue: configure one.

    In a FIFO queue, a message must not be handled before those in front of it. So when one fails, the rest of its group
    is returned unhandled.

    Args:
        records: `event["Records"]`.
        handle: a function that takes a message's id, which stays the same when it is delivered again, and its body.
        time_is_left: returns False when the invocation is about to end; the rest is then returned unhandled.
    """
    failed: list[dict[str, str]] = []
    stopped: set[str] = set()
    for record in records:
        message_id: str = record["messageId"]
        group = _fifo_group(record)
        try:
            if group in stopped:
                raise InterruptedError("a message before it has failed")
            if not time_is_left():
                raise TimeoutError("no time left in this invocation")
            handle(message_id, record["body"])
        except Exception as error:  # a bad message must not have the others delivered again
            print(f"{message_id}: {type(error).__name__}: {error}")
            failed.append({"itemIdentifier": message_id})
            if group is not None:
                stopped.add(group)
    return {"batchItemFailures": failed}


def milliseconds_left(context: Any) -> float:
    """Milliseconds until Lambda ends the invocation. Tests and local runs have no context."""
    return float("inf") if context is None else float(context.get_remaining_time_in_millis())


def _fifo_group(record: dict[str, Any]) -> str | None:
    """The group of a message in a FIFO queue; None in other queues, which have no order."""
    if not str(record.get("eventSourceARN", "")).endswith(".fifo"):
        return None
    return str(_object(record.get("attributes")).get("MessageGroupId", ""))


def _headers(event: dict[str, Any]) -> dict[str, str]:
    """In 1.0, `headers` has only the last value of each name; `multiValueHeaders` has all. Either may be null."""
    headers = {name.lower(): str(value) for name, value in _object(event.get("headers")).items()}
    for name, values in _object(event.get("multiValueHeaders")).items():
        headers[name.lower()] = ",".join(str(value) for value in values)
    return headers


def _claims(context: dict[str, Any]) -> dict[str, Any]:
    """`requestContext.authorizer` has another form for each kind of authorizer."""
    authorizer = _object(context.get("authorizer"))
    for part in (_object(authorizer.get("jwt")).get("claims"), authorizer.get("claims"), authorizer.get("lambda")):
        if isinstance(part, dict):
            return _object(part)
    return authorizer


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
