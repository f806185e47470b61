"""Runs the scripts of `RedisOutbox`: with time-outs, again after errors that pass, and without secrets in errors."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

from ...core.errors import ConfigError
from ...core.hints import missing_extra
from ...core.redaction import Secret, SecretText, scrub
from ...core.type_guards import is_mapping
from ..errors import OutboxError, OutboxUncertainError
from .redis_scripts import Script

_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_CONNECTING = re.compile(r"Error -?\d+ connecting to|Error connecting to|Timeout connecting to")
_PASSING = ("LOADING", "BUSY", "READONLY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS")
_PASSING_TYPES = ("BusyLoadingError", "ReadOnlyError", "MasterDownError", "TryAgainError", "ClusterDownError")

Kind: TypeAlias = Literal["unknown script", "not run", "perhaps run", "refused", "unknown"]


class _Problem(NamedTuple):
    kind: Kind
    text: str


class RedisConnection:
    """A client of Redis, or of a Redis cluster.

    Args:
        client: a `redis.Redis`, a `redis.RedisCluster`, or a URL.
        timeout: with a URL: seconds that one attempt of a call waits for Redis.
        patience: seconds for which a call is attempted again.

    Raises:
        ConfigError: the URL is not valid.
        ImportError: a URL was given, and redis is not installed.
        TypeError: `client` is none of these.
    """

    def __init__(self, client: Any | SecretText, *, timeout: float, patience: float) -> None:
        self._url = Secret(client) if isinstance(client, str) else None
        self._given: Any = None if isinstance(client, str) else client
        del client  # a URL may contain a password, which a traceback with local variables must not show
        self._timeout, self._patience = timeout, patience
        module = str(type(self._given).__module__)
        is_client = callable(getattr(self._given, "evalsha", None)) and not module.startswith("redis.asyncio")
        if self._url is None and not is_client:
            raise TypeError(f"client: a redis.Redis, or a URL, not {type(self._given).__name__} of {module}")
        self._client: Any = self._given if self._url is None else _from_url(self._url, timeout)
        self._secrets = [*_secrets_of(self._url), *_secrets_of_client(self._client)]
        self.place: str = _place(self._client)
        """Where Redis is, for messages."""

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script, and again until `patience` is over when Redis is away or can't work for the moment.

        The script must have the same effect when it is run twice.

        Args:
            script: the script.
            keys: its keys.
            args: its arguments.

        Raises:
            OutboxUncertainError: it did not work; one of the attempts may have taken effect.
            OutboxError: it did not work, and had no effect.
        """
        until = time.monotonic() + self._patience
        attempt, uncertain = 0, False
        while True:
            reply = self._attempt(script, keys, args)
            if not isinstance(reply, _Problem):
                return reply
            uncertain = uncertain or reply.kind in ("perhaps run", "unknown")
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
            if reply.kind in ("refused", "unknown") or time.monotonic() + pause > until:
                break
            attempt += 1
            time.sleep(pause)
        text = f"Redis at {self.place}: {reply.text}"
        if uncertain:
            raise OutboxUncertainError(f"{text} (no answer: it may have been done)")
        raise OutboxError(text)

    def _attempt(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        problem = self._call("evalsha", script.digest, len(keys), *keys, *args)
        if isinstance(problem, _Problem) and problem.kind == "unknown script":
            return self._call("eval", script.text, len(keys), *keys, *args)
        return problem

    def _call(self, method: str, *args: Any) -> Any:
        """Call a method of the client. Errors of redis are replaced: their frames contain the connection's password."""
        try:
            return getattr(self._client, method)(*args)
        except Exception as error:
            return self._problem(error)

    def _problem(self, error: Exception) -> _Problem:
        message = scrub(f"{error!s:.300}", *self._secrets)
        text = f"{type(error).__name__}: {message}"
        names = {kind.__name__ for kind in type(error).__mro__}
        if "NoScriptError" in names or message.startswith("NOSCRIPT"):
            return _Problem("unknown script", text)
        if "AuthenticationError" in names or "AuthorizationError" in names:
            return _Problem("refused", _authentication_text(message, text))
        is_passing = bool(names & set(_PASSING_TYPES)) or message.startswith(_PASSING)
        if is_passing or names & {"ConnectionError", "TimeoutError", "OSError", "RedisClusterException"}:
            # A client of the user's may repeat by itself: an attempt before the one that failed may have been run.
            not_run = self._url is not None and (is_passing or _CONNECTING.match(message))
            return _Problem("not run" if not_run else "perhaps run", text)
        return _Problem("refused" if "ResponseError" in names else "unknown", text)

    def settings(self, *names: str) -> dict[str, str]:
        """Settings of the server. Empty when it does not tell them.

        Args:
            names: their names.
        """
        found: dict[str, str] = {}
        for name in names:
            reply = self._call("config_get", name)
            if not is_mapping(reply):
                return {}
            found.update({_text(key): _text(value) for key, value in reply.items()})
        return found

    def close(self) -> None:
        """Close the connections of a client that was made here. The next call connects again."""
        if self._url is not None:
            self._call("close")

    def forget(self) -> None:
        """In a forked child: make a new client. The pool of a client that was given notices the fork by itself."""
        if self._url is not None:
            self._client = _from_url(self._url, self._timeout)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _authentication_text(message: str, text: str) -> str:
    """What to say when Redis lets nobody in. Its own words are about the command that it refused."""
    said = message.lower()
    if "hello must be called" in said or "authentication required" in said:
        return "no password given (AuthenticationError)"
    if "wrongpass" in said or "invalid username-password" in said or "invalid password" in said:
        return f"wrong password, or wrong user ({text})"
    return text


def _refuse_other_database(url: Secret) -> None:
    """Refuse a database that is no number: redis would use number 0."""
    path = re.search(r"^rediss?://[^/?#]*/([^?#]*)", url.reveal())
    if path is not None and not re.fullmatch(r"[0-9]*/?", unquote(path[1]), re.ASCII):
        raise ConfigError("client: the database in the URL of a Redis is a number, e.g. redis://localhost:6379/0")


def _from_url(url: Secret, timeout: float) -> Any:
    _refuse_other_database(url)
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise missing_extra("RedisOutbox", "redis", error) from None
    try:
        return Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url.reveal(),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # `run` repeats, and counts the time
        )
    except Exception as error:
        problem = f"client: not the URL of a Redis, e.g. redis://localhost:6379/0 ({type(error).__name__})"
    raise ConfigError(problem)


def _secrets_of(url: Secret | None) -> list[Secret]:
    if url is None:
        return []
    password = re.search(r"://[^/?#@]*:([^/?#]*)@", url.reveal())
    return [url] if password is None else [url, Secret(password[1]), Secret(unquote(password[1]))]


def _secrets_of_client(client: Any) -> list[Secret]:
    """The password of a client of the user's, which Redis or redis-py may repeat in an error."""
    settings: Any = getattr(getattr(client, "connection_pool", None), "connection_kwargs", None)
    password: Any = settings.get("password") if is_mapping(settings) else None
    text = password.decode(errors="replace") if isinstance(password, bytes) else password
    return [Secret(text)] if isinstance(text, str) and text else []


def _place(client: Any) -> str:
    settings: Any = getattr(getattr(client, "connection_pool", None), "connection_kwargs", None)
    if not is_mapping(settings) or not settings.keys() & {"host", "path"}:
        return "the address of its client"
    address = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    return f"{address}/{settings.get('db') or 0}"
