"""Pure: from an answer of the Montra API to its data, or to the right error."""

from __future__ import annotations

from typing import Any, TypeVar

from ..core.decoding import default_message, json_of, text_of, too_large
from ..core.errors import ApiError, InvalidResponseError, error_class
from ..core.http.messages import RawResponse, Request
from ..core.models.json import loads_of_any_depth
from ..core.models.model import SerdeError, structure
from ..core.type_guards import is_object

T = TypeVar("T")


def read(answer: RawResponse, call: Request) -> dict[str, Any]:
    """The success envelope of an answer.

    Raises:
        ApiError: an error status, no `success: true`, or a body that is no envelope.
    """
    payload = read_bare(answer, call)
    if payload.get("success") is not True:  # whatever else it says: access is never granted by half an answer
        raise unreadable(answer, call, "the body does not say `success: true`")
    return payload


def read_bare(answer: RawResponse, call: Request) -> dict[str, Any]:
    """The object of an answer that has no envelope.

    Raises:
        ApiError: an error status, `success: false`, or a body that is no object.
    """
    if not 200 <= answer.status < 300:
        raise error_of(answer, call)
    problem = too_large(answer)
    if problem is not None:
        raise unreadable(answer, call, problem)
    payload = _payload(answer)
    if not is_object(payload):
        raise unreadable(answer, call, "the body is not the JSON object that was expected")
    if payload.get("success") is False:
        raise error_of(answer, call)
    return payload


def _payload(answer: RawResponse) -> Any:
    try:
        return loads_of_any_depth(answer.body)  # `structure` looks at the depth of what it keeps
    except ValueError:
        return None


def read_data(answer: RawResponse, call: Request, kind: type[T]) -> T:
    """`data` of an answer as a model or a list of models."""
    envelope = read(answer, call)
    if "data" not in envelope:
        raise unreadable(answer, call, "the body has no `data`")
    return read_as(envelope["data"], answer, call, kind)


def read_as(data: Any, answer: RawResponse, call: Request, kind: type[T]) -> T:
    try:
        return structure(data, kind)
    except SerdeError as error:
        raise unreadable(answer, call, str(error)) from None


def unreadable(answer: RawResponse, call: Request, problem: str) -> InvalidResponseError:
    message = f"{problem}. The service answered {answer.status}, so the call was carried out"
    return InvalidResponseError(message, code="invalid_response", **_facts(answer, call))


def error_of(answer: RawResponse, call: Request) -> ApiError:
    """The error an answer stands for. Never fails: whatever the body is, the status decides the class."""
    payload = json_of(answer)
    error = payload.get("error") if is_object(payload) else None
    fields: dict[str, Any] = error if is_object(error) else {"message": error}
    code, message = fields.get("code"), fields.get("message")
    return error_class(answer.status)(
        message if isinstance(message, str) and message else default_message(answer),
        code=code if isinstance(code, str) and code else f"http_{answer.status}",
        details=fields.get("details"),
        retry_after=answer.retry_after,
        **_facts(answer, call),
    )


def _facts(answer: RawResponse, call: Request) -> dict[str, Any]:
    return {
        "status": answer.status,
        "call": call.info(),
        "request_id": answer.request_id,
        "body": text_of(answer),
    }
