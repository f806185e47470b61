"""What all controls stand on: the state, and the server's thread in which each control runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar

from ..problems import invalid
from ..server_thread import Completion
from ..webhook_sender import WebhookSender
from ..world import World

P = ParamSpec("P")
R = TypeVar("R")


class ControlBase(ABC):
    """Methods of subclasses that are decorated with `control` can be called from any thread."""

    @property
    @abstractmethod
    def _world(self) -> World:
        """The state, for the server's thread."""

    @property
    @abstractmethod
    def _webhook_sender(self) -> WebhookSender:
        """Sends webhooks, in the server's thread."""

    @abstractmethod
    def call_in_server(self, function: Callable[[], R], *, settles: bool) -> R:
        """Run a function in the server's thread and wait for its result.

        Args:
            function: the function.
            settles: whether applications of this process then get their webhooks, if this thread runs no event loop.

        Raises:
            RuntimeError: the sandbox is not running.
        """

    @abstractmethod
    def settle(self) -> Completion:
        """Make all deliveries of webhooks that are due."""

    def _owner_id(self, api_key: str | None) -> str:
        """The merchant of an API key; None is the first one.

        Raises:
            Problem: 400, an unknown key.
        """
        if api_key is None:
            return str(self._world.db.value("SELECT id FROM merchants ORDER BY rowid LIMIT 1"))
        merchant_id = self._world.find_merchant(api_key) if isinstance(api_key, str) else None
        if merchant_id is None:
            raise invalid("owner: the sandbox does not know this API key")
        return merchant_id


S = TypeVar("S", bound=ControlBase)


def control(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Decorate a method of the controls: it can be called from any thread and runs in the server's.

    Args:
        method: the method.
    """

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.call_in_server(partial(method, self, *args, **kwargs), settles=False)

    return call


def settling_control(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """The same for a method that causes webhooks.

    Without a running event loop it returns when the applications of `webhooks.to` have got them.

    Args:
        method: the method.
    """

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.call_in_server(partial(method, self, *args, **kwargs), settles=True)

    return call
