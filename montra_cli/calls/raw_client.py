"""`RawClient`: requests that the SDK has no call for, with its retries, time-outs and connections."""

from __future__ import annotations

from urllib.parse import quote

from montra_async import Montra
from montra_async.core.http.messages import RawResponse

_KEPT = "/?&=%:@!$'()*+,;-._~"


class RawClient(Montra):
    """A client for any request."""

    async def send_raw(self, method: str, path: str, body: bytes | None, key: str | None) -> RawResponse:
        """Send a request, and return the response whatever its status is.

        Args:
            method: HTTP method.
            path: path below the base URL, with its query.
            body: JSON; None for no body.
            key: idempotency key of a POST; a random one by default.

        Raises:
            MontraError: no response, or the key is invalid.
        """
        path, mark, query = quote(path, safe=_KEPT).partition("?")
        request = self._request(method, path, mark + query)
        if body is not None:
            request.body = body
            request.headers["Content-Type"] = "application/json"
        if method == "POST" or key is not None:
            self._with_idempotency_key(request, key)
        return await self._send(request, lambda response, _: response)
