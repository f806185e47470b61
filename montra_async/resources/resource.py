"""What every resource stands on: four verbs that send one call and read its envelope."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from yarl import URL

from ..core.decoding import BODY_KEPT, clean_message, clean_name, scrubbed
from ..core.errors import ApiError, without_frames
from ..core.http.messages import RawResponse, Request
from ..core.models.json import dumps
from ..core.validation import idempotency_key as checked_key
from . import envelope

if TYPE_CHECKING:  # models stand beside calls; who only reads models, as webhooks do, needs no aiohttp
    from ..core.http.transport import Transport
    from ..core.options import CallOptions

T = TypeVar("T")


class Resource:
    """A group of calls on one transport. `Montra` is made of these."""

    _transport: Transport
    _options: CallOptions
    _base: str = ""

    # These hand out `_send`'s own coroutine: one that only awaits another would cost each call a frame.

    def _get(self, path: str, kind: type[T], query: str = "") -> Coroutine[Any, Any, T]:
        return self._send(self._call("GET", path, query), lambda answer, sent: envelope.read_data(answer, sent, kind))

    def _post(
        self, path: str, body: Mapping[str, Any] | None, kind: type[T], key: str | None
    ) -> Coroutine[Any, Any, T]:
        return self._send(
            self._with_key(self._json_call("POST", path, body), key),
            lambda answer, sent: envelope.read_data(answer, sent, kind),
        )

    def _post_nothing_back(self, path: str, body: Mapping[str, Any], key: str | None) -> Coroutine[Any, Any, object]:
        return self._send(self._with_key(self._json_call("POST", path, body), key), envelope.read)

    def _patch(self, path: str, body: Mapping[str, Any], kind: type[T]) -> Coroutine[Any, Any, T]:
        return self._send(
            self._json_call("PATCH", path, body), lambda answer, sent: envelope.read_data(answer, sent, kind)
        )

    def _delete(self, path: str) -> Coroutine[Any, Any, None]:
        return self._send(self._call("DELETE", path), _expect_success)

    def _call(self, method: str, path: str, query: str = "") -> Request:
        return Request(method=method, path=path, url=URL(f"{self._base}{path}{query}", encoded=True))

    def _json_call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Request:
        call = self._call(method, path)
        if body is not None:
            if None in body.values():
                body = {name: value for name, value in body.items() if value is not None}
            call.body = dumps(body)
            call.headers["Content-Type"] = "application/json"
        return call

    def _with_key(self, call: Request, key: str | None) -> Request:
        call.idempotency_key = call.headers["Idempotency-Key"] = checked_key(key)
        return call

    async def _send(self, call: Request, read: Callable[[RawResponse, Request], T]) -> T:
        answer = await self._transport.send(call, self._options)
        try:
            return read(answer, call)
        except ApiError as error:
            without_frames(error)  # they hold what was answered, also those of what it came from
            raise self._without_secrets(error) from None

    def _without_secrets(self, error: ApiError) -> ApiError:
        """A service may quote the key it refused."""
        scrub = self._transport.scrub
        error.message, error.code = clean_message(error.message, scrub), clean_name(error.code, scrub)
        error.body = scrub(error.body)[:BODY_KEPT]
        error.request_id = None if error.request_id is None else clean_name(error.request_id, scrub)
        error.args = (error.message,)
        error.details = scrubbed(error.details, scrub)
        return error


def _expect_success(answer: RawResponse, call: Request) -> None:
    if answer.status == 404 and call.lost:
        return  # an earlier attempt, whose answer was lost, has deleted it
    if answer.body or not 200 <= answer.status < 300:
        envelope.read(answer, call)
