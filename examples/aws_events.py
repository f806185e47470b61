"""What AWS hands to a Lambda function, as plain objects: HTTP requests of every kind, and batches of a queue (SQS).

An HTTP request comes from API Gateway (REST API: payload format 1.0; HTTP API: 1.0 or 2.0), from the function's own URL
(like 2.0), or from a load balancer (like 1.0). Its body is always a string: the text, or base64 when it is not text.

Give the function a time-out of 15 s or more. Lambda's default, 3 s, is too short for a message: see `process_batch`.
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


class BodyTooLarge(ValueError):
    """A body of more than `MAX_BODY` bytes."""


def http_request(event: dict[str, Any]) -> HttpRequest:
    """Read an HTTP event.

    Raises:
        BodyTooLarge: answer with 413.
        ValueError: it is none, or its body can't be read.
    """
    context = _object(event.get("requestContext"))
    method = event.get("httpMethod") or _object(context.get("http")).get("method")
    if not isinstance(method, str):
        raise ValueError("not an event of API Gateway, a function URL or a load balancer")
    body = "" if event.get("body") is None else event["body"]
    if not isinstance(body, str):
        raise ValueError("the body is not a string")
    raw = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    if len(raw) > MAX_BODY:
        raise BodyTooLarge(f"the body has more than {MAX_BODY} bytes")
    return HttpRequest(method=method.upper(), headers=_headers(event), body=raw, claims=_claims(context))


def http_response(
    event: dict[str, Any], status: int, body: object, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """A response with JSON, in the form that suits its request.

    A load balancer that sends lists of values ("multi value headers") reads only such lists; a REST API reads both
    forms. An HTTP API (2.0) and a function URL read only single values, and don't send lists.

    Args:
        event: the request.
        status: 200, for example.
        body: what becomes JSON; bytes are JSON already.
        headers: more than the type of the content.
    """
    all_headers = {"Content-Type": "application/json", **(headers or {})}
    text = body.decode() if isinstance(body, bytes) else json.dumps(body)
    response = {"statusCode": status, "body": text, "isBase64Encoded": False}
    if "multiValueHeaders" in event:
        return {**response, "multiValueHeaders": {name: [value] for name, value in all_headers.items()}}
    return {**response, "headers": all_headers}


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

    Raises:
        RuntimeError: there is no time for even the first message, so the function's time-out is too short. Returned as
            failed, every message would end in the dead-letter queue, and no metric would count an error.
    """
    if records and not time_is_left():
        raise RuntimeError("no time for a single message: the function needs a longer time-out")
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
            print(f"{message_id}: {type(error).__name__}: {str(error)[:500]!r}")  # repr: one line, whatever it says
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
    headers = {name.lower(): value for name, value in _object(event.get("headers")).items() if isinstance(value, str)}
    for name, values in _object(event.get("multiValueHeaders")).items():
        if texts := _texts(values):
            headers[name.lower()] = ",".join(texts)
    return headers


def _texts(values: Any) -> list[str]:
    return [one for one in cast("list[object]", values) if isinstance(one, str)] if isinstance(values, list) else []


def _claims(context: dict[str, Any]) -> dict[str, Any]:
    """`requestContext.authorizer` has another form for each kind of authorizer."""
    authorizer = _object(context.get("authorizer"))
    for part in (_object(authorizer.get("jwt")).get("claims"), authorizer.get("claims"), authorizer.get("lambda")):
        if isinstance(part, dict):
            return _object(part)
    return authorizer


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
