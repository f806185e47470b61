"""The latest requests to both APIs, for assertions of tests and for people who look."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

import attrs

from .json import dumps, is_array, is_object, loads, loads_untrusted

Service: TypeAlias = Literal["montra", "paywall"]

MAX_REQUESTS: int = 1_000
"""Most requests that are kept."""
MAX_BODY: int = 16 * 1024
"""Most bytes of a body that are kept."""
_MAX_PATH = 2_000

# Codes and tokens of sign-ins and sessions, keys and secrets: names that hold one in either API.
_NAMES = r"[a-z_]*password|[a-z_]*token|[a-z_]*secret|[a-zA-Z]*Token|api_?key|auth_code|code_verifier"
_SECRET_FIELD = re.compile(_NAMES)
_SECRET_IN_TEXT = re.compile(rf'("(?:{_NAMES})"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_ESCAPED_LETTER = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_SECRET_PARAMETER = re.compile(r"[a-z_]*token|code|state|api_key|[a-z_]*secret|[a-z_]*password")
_HIDDEN = "[hidden]"


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """A request that one of the APIs received, and its response. Secrets in the bodies are replaced by `[hidden]`.

    Attributes:
        sequence: 1, 2, 3, ... since the sandbox was started.
        id: the header `X-Request-Id` of the response.
        at: the sandbox's time, ISO 8601.
        service: `montra` or `paywall`.
        method: the HTTP method.
        path: the path with the query, as it was sent.
        operation: the name of the SDK's call, such as `create_customer`; None for a path that does not exist.
        status: the response's status; None when a fault closed the connection.
        duration_ms: how long the server took, in milliseconds.
        idempotency_key: the header `Idempotency-Key`; None without it.
        replayed: whether the response is a stored one, found by the idempotency key.
        fault: the kind of the fault that it met; None for none.
        error_code: the code of the error response; None for a success.
        request_body: the body as text, at most 16 KiB; None without one, or for files.
        response_body: the same for the response; None for a stream.
    """

    sequence: int
    id: str
    at: str
    service: Service
    method: str
    path: str
    operation: str | None
    status: int | None
    duration_ms: float
    idempotency_key: str | None
    replayed: bool
    fault: str | None
    error_code: str | None
    request_body: str | None
    response_body: str | None

    @property
    def json(self) -> Any:
        """The parsed body of the request; None without one, or if it was cut off."""
        return _parse(self.request_body)

    @property
    def response_json(self) -> Any:
        """The parsed body of the response; None without one, or if it was cut off."""
        return _parse(self.response_body)

    @property
    def failed(self) -> bool:
        """Whether the response is an error, or there was none."""
        return self.status is None or self.status >= 400

    def to_dict(self) -> dict[str, Any]:
        """All attributes as JSON."""
        return attrs.asdict(self)


class RequestLog:
    """The latest requests, in the server's thread."""

    def __init__(self) -> None:
        self._kept: deque[Callable[[], RecordedRequest]] = deque(maxlen=MAX_REQUESTS)
        self._last = 0

    def __iter__(self) -> Iterator[RecordedRequest]:
        return (make() for make in self._kept)

    def next_sequence(self) -> int:
        """The number of the next request."""
        self._last += 1
        return self._last

    def add(self, make: Callable[[], RecordedRequest]) -> None:
        """Keep a request; the oldest one is dropped when there are too many.

        Args:
            make: makes it; called when somebody looks, so that requests do not wait for that.
        """
        self._kept.append(make)

    def clear(self) -> None:
        """Forget all requests. Numbers go on."""
        self._kept.clear()

    def find(
        self,
        *,
        after: int = 0,
        limit: int = MAX_REQUESTS,
        failed: bool = False,
        method: str | None = None,
        path: str | None = None,
        operation: str | None = None,
    ) -> list[RecordedRequest]:
        """The newest requests that match, oldest first.

        Args:
            after: only those with a higher number.
            limit: how many.
            failed: only those whose response is an error, or that got none.
            method: only those with this HTTP method, in any case.
            path: only those whose path contains this.
            operation: only those of this call of the SDK.
        """
        found = [
            request
            for request in self
            if request.sequence > after
            and (not failed or request.failed)
            and (method is None or request.method == method.upper())
            and (path is None or path in request.path)
            and (operation is None or request.operation == operation)
        ]
        return found[-limit:] if limit > 0 else []


def shown_path(path: str) -> str:
    """A path with its query, for people: bounded, secrets hidden.

    Args:
        path: the path as it was sent.
    """
    bare, mark, query = path[:_MAX_PATH].partition("?")
    return f"{bare}{mark}{'&'.join(_shown_parameter(one) for one in query.split('&'))}"


def _shown_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    is_secret = equals and _SECRET_PARAMETER.fullmatch(unquote(name).lower())
    return f"{name}={_HIDDEN}" if is_secret else parameter


def shown_body(body: bytes | None, content_type: str) -> str | None:
    """A body as text, for people: bounded, secrets hidden. None for none, and for what is not text.

    Args:
        body: the body.
        content_type: its media type.
    """
    if not body:
        return None
    if not content_type.startswith(("application/json", "text/")):
        return f"[{len(body):,} bytes of {content_type[:100]}]"
    text = body[:MAX_BODY].decode("utf-8", "replace")
    if len(body) <= MAX_BODY:
        try:
            parsed = loads_untrusted(body)
        except ValueError:
            pass
        else:
            hidden = _hide(parsed)
            return text if hidden == parsed else dumps(hidden)
    text = _ESCAPED_LETTER.sub(lambda match: chr(int(match[1], 16)), text)
    return _SECRET_IN_TEXT.sub(rf'\1"{_HIDDEN}"', text)


def _hide(value: Any) -> Any:
    """A copy of parsed JSON in which each value under the name of a secret is replaced, whatever it is."""
    if is_object(value):
        return {
            name: _HIDDEN if _SECRET_FIELD.fullmatch(name) and one is not None else _hide(one)
            for name, one in value.items()
        }
    return [_hide(one) for one in value] if is_array(value) else value


def _parse(body: str | None) -> Any:
    try:
        return None if body is None else loads(body.encode())
    except ValueError:
        return None
