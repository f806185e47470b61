"""Events as AWS hands them to a Lambda function, with all their fields: of queues, gateways, URLs, load balancers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

ACCOUNT = "123456789012"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


def sqs_record(message_id: str, body: object, *, group: str | None = None, attempt: int = 1) -> dict[str, Any]:
    """A message of a queue; with a group, of a FIFO queue. The body is always text."""
    attributes = {
        "ApproximateReceiveCount": str(attempt),
        "SentTimestamp": "1764208800183",
        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        "ApproximateFirstReceiveTimestamp": "1764208800185",
    }
    if group is not None:
        attributes |= {
            "SequenceNumber": "18849496460467696128",
            "MessageGroupId": group,
            "MessageDeduplicationId": f"dedupe-{message_id}",
        }
    return {
        "messageId": message_id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-2:{ACCOUNT}:usage" + ("" if group is None else ".fifo"),
        "awsRegion": "us-east-2",
    }


def sqs_event(*records: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


def rest_event(
    body: str | None,
    headers: dict[str, str],
    *,
    method: str = "POST",
    claims: dict[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """API Gateway, REST API (payload format 1.0): names in any case, single and multiple values, much that is null."""
    sent = {"Host": "abcdef1234.execute-api.us-east-2.amazonaws.com", "User-Agent": BROWSER, **headers}
    context: dict[str, Any] = {
        "accountId": ACCOUNT,
        "apiId": "abcdef1234",
        "domainName": "abcdef1234.execute-api.us-east-2.amazonaws.com",
        "domainPrefix": "abcdef1234",
        "extendedRequestId": "VKTjZG2tCYcFU5g=",
        "httpMethod": method,
        "identity": {"accessKey": None, "caller": None, "sourceIp": "192.0.2.1", "user": None, "userAgent": BROWSER},
        "path": "/prod/hook",
        "protocol": "HTTP/1.1",
        "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
        "requestTime": "27/Nov/2026:05:40:00 +0000",
        "requestTimeEpoch": 1795758000000,
        "resourceId": "123456",
        "resourcePath": "/hook",
        "stage": "prod",
    }
    if claims is not None:  # a Cognito authorizer
        context["authorizer"] = {"claims": {"sub": "4f1e", "iss": "https://cognito-idp.example", **claims}}
    return {
        "resource": "/hook",
        "path": "/hook",
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": context,
        "body": body,
        "isBase64Encoded": False,
        **more,
    }


def rest_test_event(body: str | None, headers: dict[str, str], **more: Any) -> dict[str, Any]:
    """The same from the button "Test" of the console: without single values."""
    return {**rest_event(body, headers, **more), "headers": None}


def http_event(
    body: str | None,
    headers: dict[str, str],
    *,
    method: str = "POST",
    claims: dict[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """API Gateway, HTTP API (payload format 2.0): names in lower case, no body when there is none."""
    context: dict[str, Any] = {
        "accountId": ACCOUNT,
        "apiId": "abcdef1234",
        "domainName": "abcdef1234.execute-api.us-east-2.amazonaws.com",
        "domainPrefix": "abcdef1234",
        "http": {
            "method": method,
            "path": "/hook",
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
            "userAgent": BROWSER,
        },
        "requestId": "JKJaXmPLvHcESHA=",
        "routeKey": f"{method} /hook",
        "stage": "$default",
        "time": "27/Nov/2026:05:40:00 +0000",
        "timeEpoch": 1795758000000,
    }
    if claims is not None:  # a JWT authorizer
        context["authorizer"] = {"jwt": {"claims": {"sub": "4f1e", **claims}, "scopes": None}}
    event = {
        "version": "2.0",
        "routeKey": f"{method} /hook",
        "rawPath": "/hook",
        "rawQueryString": "",
        "cookies": ["theme=dark"],
        "headers": {"user-agent": BROWSER, **{name.lower(): value for name, value in headers.items()}},
        "requestContext": context,
        "isBase64Encoded": False,
        **more,
    }
    return event if body is None else {**event, "body": body}


def url_event(
    body: str | None,
    headers: dict[str, str],
    *,
    method: str = "POST",
    claims: dict[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A function URL: format 2.0, and a body of an unknown type is base64. Callers are anonymous, or known by IAM."""
    event = http_event(body, headers, method=method, **more)
    context = event["requestContext"]
    context |= {"accountId": "anonymous", "apiId": "urlid", "domainName": "urlid.lambda-url.us-east-2.on.aws"}
    context |= {"domainPrefix": "urlid", "routeKey": "$default"}
    if claims is not None:  # a Lambda authorizer of an HTTP API in front of it
        context["authorizer"] = {"lambda": claims}
    return {**event, "routeKey": "$default"}


def balancer_event(body: str | None, headers: dict[str, str], *, method: str = "POST", **more: Any) -> dict[str, Any]:
    """An Application Load Balancer: like 1.0, with names in lower case, and text for a missing body. No authorizer."""
    more.pop("claims", None)
    group = f"arn:aws:elasticloadbalancing:us-east-2:{ACCOUNT}:targetgroup/billing/49e9d65c45c6791a"
    return {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": method,
        "path": "/hook",
        "queryStringParameters": {},
        "headers": {
            "host": "billing-846800462.us-east-2.elb.amazonaws.com",
            "user-agent": BROWSER,
            "x-amzn-trace-id": "Root=1-5c536348-3d683b8b04734faae651f476",
            "x-forwarded-for": "192.0.2.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
            **{name.lower(): value for name, value in headers.items()},
        },
        "body": body or "",
        "isBase64Encoded": False,
        **more,
    }


def balancer_multi_event(body: str | None, headers: dict[str, str], **more: Any) -> dict[str, Any]:
    """The same with `lambda.multi_value_headers.enabled`: lists instead of single values, in requests and responses."""
    event = balancer_event(body, headers, **more)
    lists = {"multiValueHeaders": {name: [value] for name, value in event.pop("headers").items()}}
    return {**event, **lists, "multiValueQueryStringParameters": event.pop("queryStringParameters")}


Make = Callable[..., dict[str, Any]]
HTTP_EVENTS: list[Make] = [rest_event, rest_test_event, http_event, url_event, balancer_event, balancer_multi_event]


def base64_body(event: dict[str, Any]) -> dict[str, Any]:
    """The same event with its body in base64, as binary media types have it."""
    return {**event, "body": base64.b64encode(event["body"].encode()).decode(), "isBase64Encoded": True}
