"""The Montra API's strategy: from a response to its data, or to the right error. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ..core.decoding import default_message, foreign_body, json_of, text_of, too_large
from ..core.errors import ApiError, InvalidResponseError, MontraError, error_class
from ..core.http.messages import RawResponse, Request
from ..core.models.json import loads_of_any_depth
from ..core.models.model import SerdeError, structure
from ..core.redaction import bounded
from ..core.type_guards import is_object

if TYPE_CHECKING:
    from ..core.http.endpoints import EndpointTable

T = TypeVar("T")

_API_PATH = "/api/v1"


class MontraService:
    """How `BaseClient` reads responses of the Montra API: success and data are in an envelope."""

    def decode(self, response: RawResponse, request: Request, kind: type[T]) -> T:
        """`data` of the envelope as a model or a list of models."""
        envelope = read_envelope(response, request)
        if "data" not in envelope:
            raise invalid_response(response, request, "the body has no `data`")
        return read_as(envelope["data"], response, request, kind)

    def decode_empty(self, response: RawResponse, request: Request) -> None:
        """Accept an empty success, and a 404 for a DELETE that was executed by an earlier attempt."""
        if request.method == "DELETE":
            if response.status == 404 and request.lost:
                return  # the response of the attempt that deleted it was lost
            if not response.body and 200 <= response.status < 300:
                return
        read_envelope(response, request)

    def translate(self, error: MontraError) -> MontraError:
        """The core's errors are Montra's own."""
        return error

    def endpoints(self) -> EndpointTable:
        """The service's endpoints. Their table is read when telemetry or the log asks for it."""
        from .montra_endpoints import ENDPOINTS

        return ENDPOINTS


MONTRA = MontraService()


def read_envelope(response: RawResponse, request: Request) -> dict[str, Any]:
    """The success envelope of a response.

    Raises:
        ApiError: an error status, no `success: true`, or a body that is no envelope.
    """
    payload = read_object(response, request)
    if payload.get("success") is not True:  # access is never granted by half a response
        raise invalid_response(response, request, "the body does not say `success: true`")
    return payload


def read_object(response: RawResponse, request: Request) -> dict[str, Any]:
    """The JSON object of a response that has no envelope.

    Raises:
        ApiError: an error status, `success: false`, or a body that is no object.
    """
    if not 200 <= response.status < 300:
        raise error_of(response, request)
    problem = too_large(response)
    if problem is not None:
        raise invalid_response(response, request, problem)
    payload = _payload(response)
    if not is_object(payload):
        problem = f"the body is not the JSON object that was expected{_base_url_hint(request)}"
        if "json" not in response.headers.get("Content-Type", "").lower():  # a login page, for example
            problem += f" ({foreign_body(response)})"
        raise invalid_response(response, request, problem)
    if payload.get("success") is False:
        raise error_of(response, request)
    return payload


def _payload(response: RawResponse) -> Any:
    try:
        return loads_of_any_depth(response.body)  # `structure` checks the depth of what it keeps
    except ValueError:
        return None


def read_as(data: Any, response: RawResponse, request: Request, kind: type[T]) -> T:
    """JSON as a model.

    Raises:
        InvalidResponseError: the JSON does not fit the model.
    """
    try:
        return structure(data, kind)
    except SerdeError as error:
        raise invalid_response(response, request, str(error)) from None


def invalid_response(response: RawResponse, request: Request, problem: str) -> InvalidResponseError:
    """The error of a success status with an unusable body."""
    consequence = "" if request.method == "GET" else ", so the call was executed"
    message = f"{problem}. The service responded with {response.status}{consequence}"
    return InvalidResponseError(message, code="invalid_response", **_facts(response, request))


def error_of(response: RawResponse, request: Request) -> ApiError:
    """The error of a response. Never fails: whatever the body is, the status decides the class."""
    payload = json_of(response)
    error = payload.get("error") if is_object(payload) else None
    fields: dict[str, Any] = error if is_object(error) else {"message": error}
    code, message = fields.get("code"), fields.get("message")
    text = message if isinstance(message, str) and message else default_message(response)
    if response.status == 404 and code != "not_found":  # which the service says of an id that it does not know
        text += _base_url_hint(request)
    return error_class(response.status)(
        text,
        code=code if isinstance(code, str) and code else f"http_{response.status}",
        details=fields.get("details"),
        retry_after=response.retry_after,
        **_facts(response, request),
    )


def _base_url_hint(request: Request) -> str:
    """What to try when something else than the API responds; empty when the base URL looks right."""
    base = request.url.raw_path.removesuffix(request.path)
    if base.endswith(_API_PATH):
        return ""
    given = f"has the path {bounded(base, 60)}" if base.strip("/") else "has no path"
    return f"; base_url {given}: try base_url={str(request.url.origin()) + _API_PATH!r}"


def _facts(response: RawResponse, request: Request) -> dict[str, Any]:
    return {
        "status": response.status,
        "call": request.info(),
        "request_id": response.request_id,
        "body": text_of(response),
    }
