"""`ControlClient`: the controls of a sandbox over HTTP, with the standard library: it starts at once."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ..cleaning import clean
from ..command import Run
from ..failures import DENIED, FAILED, NETWORK, NOT_FOUND, USAGE, CliError
from ..json_types import exact_json, is_object
from ..output.encoding import to_json
from ..settings import is_local

PREFIX = "/_sandbox"
TOKEN_HEADER = "X-Sandbox-Token"  # noqa: S105 - the name of a header
MAX_ANSWER = 64 * 1024 * 1024
_TIMEOUT = 30.0
_PORT = re.compile(r"[0-9]+(?=/|$)")
_VISIBLE = re.compile(r"[!-~\u00a1-\uffff]+")
_CODES = {401: DENIED, 403: DENIED, 404: NOT_FOUND, 400: USAGE, 422: USAGE}


class ControlClient:
    """The controls of one sandbox. Before the first one, it makes sure that a sandbox is there.

    Args:
        url: address of the sandbox, without a path.
        token: token of its controls; None without any.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self._token = token

    def get(self, path: str, **query: Any) -> Any:
        """Read something.

        Args:
            path: below `/_sandbox`.
            query: parameters; those that are None are left out.

        Raises:
            CliError: the control was refused, or the sandbox can't be reached.
        """
        return self._control("GET", path + _query(query), None, _TIMEOUT)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float = _TIMEOUT) -> Any:
        """Do something.

        Args:
            path: below `/_sandbox`.
            body: the arguments; those that are None are left out.
            timeout: seconds. Default: 30.

        Raises:
            CliError: the control was refused, or the sandbox can't be reached.
        """
        given = {name: value for name, value in (body or {}).items() if value is not None}
        return self.post_all(path, given, timeout=timeout)

    def post_all(self, path: str, body: Mapping[str, Any], *, timeout: float = _TIMEOUT) -> Any:
        """Do something; an argument that is None is sent as null.

        Args:
            path: below `/_sandbox`.
            body: the arguments.
            timeout: seconds. Default: 30.

        Raises:
            CliError: the control was refused, or the sandbox can't be reached.
        """
        return self._control("POST", path, body, timeout)

    def delete(self, path: str) -> Any:
        """Remove something.

        Args:
            path: below `/_sandbox`.

        Raises:
            CliError: the control was refused, or the sandbox can't be reached.
        """
        return self._control("DELETE", path, None, _TIMEOUT)

    def stream(self, path: str, *, timeout: float) -> http.client.HTTPResponse:
        """Begin to read an endless answer.

        Args:
            path: below `/_sandbox`.
            timeout: seconds without any byte.

        Raises:
            CliError: it was refused.
            OSError: the sandbox can't be reached.
        """
        _ = self.overview
        response = self._send("GET", PREFIX + path, None, timeout, token=True, accept="text/event-stream")
        if response.status != 200:
            raw = response.read(MAX_ANSWER)
            raise _refusal(path, response.status, _parsed(raw))
        return response

    @cached_property
    def overview(self) -> dict[str, Any]:
        """What the sandbox says of itself, asked once.

        Raises:
            CliError: there is none, or the service is not a sandbox.
        """
        status, answer = self._request("GET", f"{PREFIX}/", None, _TIMEOUT, token=False)
        if status == 401 and _code(answer) == "control_token_required":  # only a sandbox says so, and gets the token
            if self._token is None:
                raise CliError(
                    f"the sandbox at {self.url} wants the token of its controls",
                    DENIED,
                    "Set MONTRA_SANDBOX_TOKEN to the token that it has printed.",
                )
            status, answer = self._request("GET", f"{PREFIX}/", None, _TIMEOUT, token=True)
        data = answer.get("data") if is_object(answer) else None
        if status in (401, 403) and _code(answer) is not None:
            raise _refusal("/", status, answer)
        if status != 200 or not is_object(data) or "now" not in data or "faults" not in data:
            raise CliError(
                f"{self.url} is not a sandbox, and the command only makes sense with one",
                USAGE,
                "Start one with `montra sandbox`, and set MONTRA_BASE_URL or the profile's base_url to it.",
            )
        return data

    def _control(self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        _ = self.overview
        status, answer = self._request(method, PREFIX + path, body, timeout, token=True)
        if status >= 300 or not is_object(answer) or answer.get("success") is not True:
            raise _refusal(path, status, answer)
        return answer.get("data")

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float, *, token: bool
    ) -> tuple[int, Any]:
        try:
            response = self._send(method, path, body, timeout, token=token)
            with response:
                raw = response.read(MAX_ANSWER + 1)
        except TimeoutError:
            raise CliError(f"{self.url} has not answered within {timeout:g} seconds", NETWORK) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        if len(raw) > MAX_ANSWER:
            raise CliError(f"the answer of {self.url} is larger than 64 MiB", FAILED)
        return response.status, _parsed(raw)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout: float,
        *,
        token: bool,
        accept: str = "application/json",
    ) -> http.client.HTTPResponse:
        headers = {"Accept": accept, "Connection": "close"}
        if token and self._token is not None:
            headers[TOKEN_HEADER] = self._token
        raw = None
        if body is not None:
            raw = to_json(body).encode()
            headers["Content-Type"] = "application/json"
        connection = self._connection(timeout)
        try:
            connection.request(method, path, body=raw, headers=headers)
            return connection.getresponse()  # it keeps the socket open until it is read or closed
        except BaseException:
            connection.close()
            raise

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=timeout)

    def _unreachable(self, error: Exception) -> CliError:
        if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
            return CliError(
                f"no sandbox at {self.url}",
                NETWORK,
                "Start one with `montra sandbox`. Another address: MONTRA_BASE_URL, or a profile.",
            )
        return CliError(f"{self.url}: {clean(str(error)) or type(error).__name__}", NETWORK)


def control_client(run: Run) -> ControlClient:
    """The controls of the sandbox that the settings name.

    Args:
        run: the settings.

    Raises:
        CliError: the settings can't be used.
    """
    return ControlClient(run.settings.sandbox_url, run.settings.sandbox_token)


def with_scheme(url: str, option: str = "--forward-to") -> str:
    """An address that may lack `http://`, and may be a port and a path.

    Args:
        url: e.g. `localhost:8000/webhooks`, `:8000/webhooks` or `8000/webhooks`.
        option: where it was given. Default: `--forward-to`.

    Raises:
        CliError: it has no host, or no port that there can be.
    """
    text = f":{url}" if _PORT.match(url) else url  # as a host, a number would be an address that nobody means
    text = f"127.0.0.1{text}" if text.startswith(":") else text
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        is_fine = bool(parts.hostname) and parts.port != 0 and not parts.netloc.endswith(":")
        is_fine = is_fine and parts.scheme in ("http", "https") and _VISIBLE.fullmatch(text) is not None
    except ValueError:  # a port that is no number, or a bracket that is not closed
        is_fine = False
    if not is_fine:
        raise CliError(f"{option}: {url!r} is not an address such as localhost:8000/webhooks", USAGE)
    return text


def refuse_foreign(url: str, option: str, hint: str) -> None:
    """Refuse an address of another machine, where the sandbox's webhooks would never arrive.

    Args:
        url: the address.
        option: where it was given.
        hint: how to allow it.

    Raises:
        CliError: it is one.
    """
    if not is_local(url):
        raise CliError(
            f"{option}: {urlsplit(url).hostname} is not this machine, and this sandbox sends webhooks to no other: to"
            " localhost, 127.0.0.1 or [::1]",
            USAGE,
            hint,
        )


def receiver_url(controls: ControlClient, given: str | None, option: str) -> str | None:
    """The address of an application that gets webhooks. Another machine is refused, unless the sandbox allows it.

    Args:
        controls: the sandbox.
        given: the address, as `with_scheme` reads it; None for none.
        option: where it was given.

    Raises:
        CliError: it can't be used, or there is no sandbox.
    """
    if given is None:
        return None
    url = with_scheme(given, option)
    if not is_local(url) and controls.overview.get("deliver_anywhere") is False:
        refuse_foreign(url, option, "Start the sandbox with `montra sandbox --deliver-anywhere` to allow it.")
    return url


def segment(text: str) -> str:
    """A text as one segment of a path.

    Args:
        text: an id or a name.

    Raises:
        CliError: it would be another path.
    """
    if text in ("", ".", ".."):
        raise CliError(f"{text!r} is not an id or a name", USAGE)
    return quote(text, safe="")


def _query(values: Mapping[str, Any]) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    return "?" + urlencode(given) if given else ""


def _parsed(raw: bytes) -> Any:
    try:
        return exact_json(raw)
    except ValueError:
        return None


def _code(answer: Any) -> str | None:
    error = answer.get("error") if is_object(answer) else None
    code = error.get("code") if is_object(error) else None
    return code if isinstance(code, str) else None


def _refusal(path: str, status: int, answer: Any) -> CliError:
    error = answer.get("error") if is_object(answer) else None
    message = error.get("message") if is_object(error) else None
    if (status == 404 and _code(answer) != "not_found") or status == 405:
        return CliError(f"this sandbox has no control {path.split('?')[0]}: it is older than this command", NOT_FOUND)
    return CliError(f"the sandbox has refused it: {message or f'status {status}'}", _CODES.get(status, FAILED))
