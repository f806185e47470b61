"""`BaseClient`: build a request, send it, decode the response, map errors. Both services' clients stand on it.

Imports no aiohttp by itself: models stand beside calls, and who only reads models, as webhooks do, needs none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, TypeVar

from yarl import URL

from .api_response import ApiResponse, awaitable_of, function_of
from .compat import Self
from .decoding import redact
from .errors import ApiError, ConfigError, MontraError, without_frames
from .headers import clean_headers
from .hints import AsyncOnly
from .http.messages import RawResponse, Request
from .models.json import dumps
from .options import CallOptions, Timeout
from .redaction import Secret, scrub
from .validation import idempotency_key as checked_key

if TYPE_CHECKING:
    from .http.connection import ClientSettings
    from .http.endpoints import EndpointTable
    from .http.failover import Failover
    from .http.recording import RecordingTransport
    from .http.transport import Transport

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=ApiError)
Decoder = Callable[[RawResponse, Request], T]
"""Makes the result of a call from its response, or raises the service's error."""


class Service(Protocol):
    """What differs between the services: how a body is decoded, and which classes its errors have."""

    def decode(self, response: RawResponse, request: Request, kind: type[T]) -> T:
        """The response's data as a model, a list of models, or plain JSON.

        Raises:
            ApiError: an error status, or a body that violates the contract.
        """
        ...

    def decode_empty(self, response: RawResponse, request: Request) -> None:
        """Accept a success that carries no data.

        Raises:
            ApiError: an error status, or a body that violates the contract.
        """
        ...

    def translate(self, error: MontraError) -> MontraError:
        """An error of the core in the service's own classes."""
        ...

    def endpoints(self) -> EndpointTable:
        """The service's endpoints, for telemetry and the log."""
        ...


class BaseClient(AsyncOnly):
    """One service: its base URL, its connections and the options of its calls. Knows no endpoint.

    A view (`with_options`, `for_user`, ...) is a shallow copy: it shares the connections, and has options of its own.
    """

    _service: ClassVar[Service]
    _base_url: str
    _transport: Transport
    _options: CallOptions

    def _connect(
        self,
        *,
        base_url: str,
        headers: Callable[[], Mapping[str, str]],
        secrets: tuple[Secret, ...],
        settings: ClientSettings,
        failover: Failover | None = None,
    ) -> None:
        """Set up the options and the connections of a new client. Nothing is opened before the first call.

        Args:
            base_url: prefix of every path.
            headers: makes the headers that every request carries; called once per session.
            secrets: what must not appear in messages and logs.
            settings: what the user gave to the constructor.
            failover: a mirror of the service.

        Raises:
            ConfigError: settings that contradict each other.
            InvalidArgumentError: a setting that is invalid by itself.
        """
        from .http.transport import Transport

        self._base_url = base_url
        self._options = settings.call_options()
        connection = settings.connection()
        for url in (URL(base_url), *(() if failover is None else (failover.mirror,))):
            connection.proxy_of(url)  # a variable of the environment that holds no proxy is told now, not by a call
        self._transport = Transport(
            headers=headers,
            secrets=secrets,
            connection=connection,
            hooks=settings.hooks(),
            failover=failover,
            endpoints=self._service.endpoints,
        )

    @property
    def base_url(self) -> str:
        """URL of the API, the prefix of every path."""
        return self._base_url

    @property
    def is_bound_to_loop(self) -> bool:
        """Whether a session or connector was given that belongs to one event loop: the client works on no other."""
        return self._transport.is_bound_to_loop

    @property
    def _pool_size(self) -> int:
        return self._transport.pool_size

    # Views and closing

    def with_options(
        self,
        *,
        timeout: float | Timeout | None = None,
        max_attempts: int | None = None,
        headers: Mapping[str, str] | None = None,
        max_response_size: int | None = None,
    ) -> Self:
        """A view of this client with other options. It shares the connections; the client itself does not change.

        Args:
            timeout: seconds for a whole call with all its attempts, or a `Timeout`. None: as before.
            max_attempts: attempts per call; 1 for no retries. None: as before.
            headers: headers added to those that are sent already. None: none.
            max_response_size: bytes of a decompressed response. None: as before.

        Raises:
            InvalidArgumentError: an option is invalid.
        """
        try:
            options = self._options.replace(timeout, max_attempts, headers, max_response_size)
        except MontraError as error:
            raise self._service.translate(without_frames_of(error)) from None
        view = self.__copy__()
        view._options = options
        return view

    async def with_raw_response(
        self, call: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> ApiResponse[T]:
        """Make a call, and return its result with status, headers and request id of the response.

            response = await montra.with_raw_response(montra.get_customer, "cust_1")
            response.data.name, response.status, response.headers["x-ratelimit-remaining"], response.request_id

        The call is the same in every other way. An error has `status`, `headers` and `request_id`, too.

        Args:
            call: a method of this very client that returns one result: no iterator, stream or context manager.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Raises:
            TypeError: `call` is something else.
        """
        function = function_of(self, call)
        client, transport = self._recording()
        try:
            begun = function(client, *args, **kwargs)
        finally:  # error reporters print the local variables of frames, and a password may be among them
            del args, kwargs
        data: T = await awaitable_of(function.__name__, begun)
        return ApiResponse(data=data, **transport.recorded())

    def _recording(self) -> tuple[Self, RecordingTransport]:
        """A view for one call, and its transport, which keeps the facts of the response."""
        from .http.recording import RecordingTransport

        view = self.__copy__()
        view._transport = transport = RecordingTransport(self._transport)
        return view, transport

    async def aclose(self) -> None:
        """Close the connections. Calls in progress fail with a `NetworkError`; a later call opens new connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __copy__(self) -> Self:
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        for name in _slots_of(type(self)):
            if hasattr(self, name):
                setattr(view, name, getattr(self, name))
        return view

    def __deepcopy__(self, memo: object) -> BaseClient:
        raise TypeError(f"a {type(self).__name__} holds open connections: share it, or use copy.copy() for a view")

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"a {type(self).__name__} holds a secret key and open connections: create one in each process")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '_base_url', '')}>"  # a frame may hold one without attributes

    # Calls. Each returns `_send`'s own coroutine: one that only awaits another would cost every call a frame.

    def _get(self, path: str, kind: type[T], query: str = "") -> Coroutine[Any, Any, T]:
        decode = self._service.decode
        return self._send(self._request("GET", path, query), lambda response, request: decode(response, request, kind))

    def _post(
        self, path: str, body: Mapping[str, Any] | None, kind: type[T], key: str | None
    ) -> Coroutine[Any, Any, T]:
        """Send a POST under an idempotency key, the caller's or a new one."""
        decode = self._service.decode
        request = self._with_idempotency_key(self._json_request("POST", path, body), key)
        return self._send(request, lambda response, request: decode(response, request, kind))

    def _post_without_result(self, path: str, body: Mapping[str, Any], key: str | None) -> Coroutine[Any, Any, None]:
        request = self._with_idempotency_key(self._json_request("POST", path, body), key)
        return self._send(request, self._service.decode_empty)

    def _patch(self, path: str, body: Mapping[str, Any], kind: type[T]) -> Coroutine[Any, Any, T]:
        decode = self._service.decode
        return self._send(
            self._json_request("PATCH", path, body), lambda response, request: decode(response, request, kind)
        )

    def _delete(self, path: str) -> Coroutine[Any, Any, None]:
        return self._send(self._request("DELETE", path), self._service.decode_empty)

    def _request(self, method: str, path: str, query: str = "") -> Request:
        return Request(method=method, path=path, url=URL(f"{self._base_url}{path}{query}", encoded=True))

    def _json_request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Request:
        """A request with a JSON body. A POST leaves out the fields that are None; a PATCH clears them."""
        request = self._request(method, path)
        if body is not None:
            if method == "POST" and None in body.values():
                body = {name: value for name, value in body.items() if value is not None}
            request.body = dumps(body)
            request.headers["Content-Type"] = "application/json"
        return request

    @staticmethod
    def _with_idempotency_key(request: Request, key: str | None) -> Request:
        request.idempotency_key = request.headers["Idempotency-Key"] = checked_key(key)
        return request

    async def _send(self, request: Request, decode: Decoder[T]) -> T:
        """Send a request and decode its response.

        Raises:
            MontraError: what went wrong, in the service's own classes, without secrets.
        """
        response = await self._transport.send(request, self._options)
        return self._decode(response, request, decode)

    def _decode(self, response: RawResponse, request: Request, decode: Decoder[T]) -> T:
        try:
            return decode(response, request)
        except ApiError as error:
            without_frames(error)  # their local variables hold the response
            raise self._redacted(error, response, request) from None

    def _redacted(self, error: E, response: RawResponse, request: Request) -> E:
        """An error without secrets, and with the headers of its response."""

        def clean(text: str) -> str:
            return scrub(self._transport.scrub(text), *request.secrets)

        error.headers = clean_headers(response.headers, clean)
        return redact(error, clean)


def _slots_of(client: type) -> Iterator[str]:
    """The names of the attributes that a user's subclass keeps in `__slots__`."""
    for one in client.__mro__:
        slots: str | Iterable[str] = vars(one).get("__slots__", ())
        yield from (name for name in ([slots] if isinstance(slots, str) else slots) if not name.startswith("__"))


def without_frames_of(error: MontraError) -> MontraError:
    """`error` without the frames of what refused a value: it may be a secret."""
    without_frames(error)
    return error


def check_key(key: Secret) -> None:
    """
    Raises:
        ConfigError: the key holds characters that no key has.
    """
    text = key.reveal()
    copied_too_much = text.startswith("MONTRA_API_KEY=") or not {*text}.isdisjoint(" \"'`")  # a line of a file, quotes
    printable = text.isascii() and text.isprintable()
    del text  # error reporters record the local variables of frames
    if copied_too_much or not printable:
        raise ConfigError("the API key holds characters that no key has; was it copied whole, and nothing else?")
