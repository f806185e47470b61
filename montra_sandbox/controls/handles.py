"""`sandbox.clock`, `sandbox.requests` and `sandbox.webhooks`: the controls by subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

from ..app_deliveries import AppDeliveries
from ..app_targets import AppTarget
from ..request_log import MAX_REQUESTS, RecordedRequest
from ..server_thread import Completion
from ..webhook_sender import APP_SCHEME

if TYPE_CHECKING:
    from . import Controls

DEFAULT_WEBHOOK_PATH: str = "/webhooks/montra"


class SandboxClock:
    """The sandbox's clock, `sandbox.clock`.

    Args:
        sandbox: the sandbox.
    """

    def __init__(self, sandbox: Controls) -> None:
        self._sandbox = sandbox

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still."""
        return self._sandbox.is_frozen()

    def now(self) -> datetime:
        """The time that it shows, in UTC."""
        return self._sandbox.now()

    def advance(
        self,
        *,
        to: datetime | str | None = None,
        seconds: float = 0,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        weeks: float = 0,
    ) -> datetime:
        """`Sandbox.advance`: move it forward, and run what becomes due.

        Args:
            to: an aware datetime, or ISO 8601; None to use the other arguments.
            seconds: seconds to add.
            minutes: minutes to add.
            hours: hours to add.
            days: days to add.
            weeks: weeks to add.

        Raises:
            Problem: 400, not forward, or too far.
        """
        return self._sandbox.advance(to=to, seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)

    def freeze(self, at: datetime | str | None = None) -> datetime:
        """`Sandbox.freeze`: let it stand still.

        Args:
            at: an aware datetime, or ISO 8601; None for the present time.

        Raises:
            Problem: 400, not a datetime, or too far ahead; 409, an earlier time in a sandbox with data.
        """
        return self._sandbox.freeze(at)

    def unfreeze(self) -> datetime:
        """Let it go on from the time that it shows; returns that time."""
        return self._sandbox.unfreeze()


class Requests(Sequence[RecordedRequest]):
    """The requests that the sandbox received, oldest first, `sandbox.requests`: the newest 1,000 of both APIs.

        assert sandbox.requests.find(operation="create_customer")[0].json["email"] == "ada@example.com"

    Args:
        sandbox: the sandbox.
    """

    def __init__(self, sandbox: Controls) -> None:
        self._sandbox = sandbox

    @overload
    def __getitem__(self, index: int) -> RecordedRequest: ...

    @overload
    def __getitem__(self, index: slice) -> list[RecordedRequest]: ...

    def __getitem__(self, index: int | slice) -> RecordedRequest | list[RecordedRequest]:
        return self._sandbox.list_requests()[index]

    def __iter__(self) -> Iterator[RecordedRequest]:
        return iter(self._sandbox.list_requests())

    def __len__(self) -> int:
        return len(self._sandbox.list_requests())

    def find(
        self,
        *,
        operation: str | None = None,
        method: str | None = None,
        path: str | None = None,
        failed: bool = False,
        after: int = 0,
        limit: int = MAX_REQUESTS,
    ) -> list[RecordedRequest]:
        """Those that match, oldest first.

        Args:
            operation: only those of this call of the SDK, such as `create_customer`.
            method: only those with this HTTP method.
            path: only those whose path contains this.
            failed: only those whose response is an error, or that got none.
            after: only those with a higher `sequence`.
            limit: how many of the newest, at most 1,000.
        """
        return self._sandbox.list_requests(
            operation=operation, method=method, path=path, failed=failed, after=after, limit=limit
        )

    def clear(self) -> None:
        """Forget them."""
        self._sandbox.clear_requests()


class Webhooks:
    """Where webhooks go and what was answered, `sandbox.webhooks`.

    Args:
        sandbox: the sandbox.
        apps: makes deliveries to applications of this process.
    """

    def __init__(self, sandbox: Controls, apps: AppDeliveries) -> None:
        self._sandbox = sandbox
        self._apps = apps

    @property
    def secret(self) -> str:
        """The key of the signatures of endpoints that `to` made: fixed, so that an application can have it before."""
        return self._sandbox.webhook_secret

    def to(
        self,
        target: str | Callable[..., Any],
        *,
        path: str = DEFAULT_WEBHOOK_PATH,
        service: str | None = "montra",
        events: Sequence[str] = ("*",),
        secret: str | None = None,
        owner: str | None = None,
    ) -> str:
        """Send webhooks to a URL, or straight into an application of this process.

        A URL gets them in the background. An application gets them in the thread, or on the event loop, of the test:
        without a running event loop before `pay`, `trigger`, `advance` and other controls that cause webhooks return,
        and by `settle()`; in a coroutine by `await sandbox.settle()`. What the application raises is raised there.

        Args:
            target: the URL; an ASGI or WSGI application; or a test client: Starlette's and FastAPI's `TestClient`,
                whose lifespan runs, Flask's, Django's, or one of httpx.
            path: the path of the application's route; not used for a URL.
            service: `montra`, `paywall`, or None for both.
            events: the types that are sent, `*` for all. The paywall service always sends all.
            secret: the key of the signatures; `secret` of this object by default.
            owner: the API key of the merchant; the first key by default.

        Returns:
            The id of the endpoint, for `remove`.

        Raises:
            Problem: 400, an invalid value.
            TypeError: neither a URL nor an application.
        """
        if isinstance(target, str):
            made = self._sandbox.add_webhook_endpoint(
                target, service=service, events=events, secret=secret, owner=owner
            )
            return str(made["id"])
        app = AppTarget(target)
        known = {one["id"]: one["url"] for one in self._sandbox.webhook_endpoints()}
        path = path if path.startswith("/") else f"/{path}"
        for endpoint_id in self._apps.find(target):  # it would get everything twice
            if known.get(endpoint_id) == f"{APP_SCHEME}{path}":
                self._sandbox.remove_webhook_endpoint(endpoint_id)
        made = self._sandbox.add_app_endpoint(path, service=service, events=events, secret=secret, owner=owner)
        self._apps.register(made["ids"], app)
        return str(made["id"])

    def remove(self, endpoint_id: str) -> None:
        """Send no more webhooks to an endpoint.

        Args:
            endpoint_id: what `to` returned.

        Raises:
            Problem: 404.
        """
        self._sandbox.remove_webhook_endpoint(endpoint_id)

    def endpoints(self) -> list[dict[str, Any]]:
        """Where webhooks of both services go, without secrets."""
        return self._sandbox.webhook_endpoints()

    def deliveries(self) -> list[dict[str, Any]]:
        """All deliveries with their status and the last answer, newest first."""
        return self._sandbox.deliveries()

    def events(self, *, type: str | None = None) -> list[dict[str, Any]]:
        """The events of both services, newest first, with and without an endpoint.

        Args:
            type: only those of this type; all by default.
        """
        return self._sandbox.events(type=type)

    def settle(self) -> Completion:
        """`Sandbox.settle`: make all deliveries that are due. In a coroutine, await it."""
        return self._sandbox.settle()
