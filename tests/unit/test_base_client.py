"""What the clients of both services have in common: views, copies, and settings that are spelled out."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import montra_async.paywall
import montra_sync.paywall
from montra_async import Montra
from montra_async.core.client import BaseClient

KEY = "sk_test_0123456789abcdef"


class OwnMontra(Montra):
    """A user's subclass with an attribute of its own."""

    def __init__(self, tenant: str) -> None:
        super().__init__(KEY)
        self.tenant = tenant


class OwnBilling(montra_async.paywall.BillingClient):
    def __init__(self, tenant: str) -> None:
        super().__init__("pw", "https://pay.example.com", KEY)
        self.tenant = tenant


class Slotted(Montra):
    __slots__ = ("note", "tenant")

    def __init__(self, tenant: str) -> None:
        super().__init__(KEY)
        self.tenant = tenant


@pytest.mark.parametrize("make", [OwnMontra, OwnBilling, Slotted])
def test_views_keep_the_attributes_of_a_subclass(make: Callable[[str], Any]) -> None:
    client = make("acme")
    views = [client.with_options(timeout=1), copy.copy(client)]
    if isinstance(client, OwnBilling):
        views.append(client.for_user(user_id="u").with_options(max_attempts=1))
    for view in views:
        assert type(view) is make
        assert view.tenant == "acme"
        assert view._transport is client._transport
    assert client._options.timeout.total == 60
    assert views[0]._options.timeout.total == 1


def _clients() -> list[Any]:
    asynchronous = montra_async.paywall
    synchronous = montra_sync.paywall
    where = ("pw", "https://pay.example.com")
    return [
        Montra(KEY),
        asynchronous.BillingClient(*where, KEY),
        asynchronous.AuthClient(*where),
        asynchronous.ApiGatewayClient(*where),
        montra_sync.Montra(KEY),
        synchronous.BillingClient(*where, KEY),
        synchronous.AuthClient(*where),
        synchronous.ApiGatewayClient(*where),
    ]


@pytest.mark.parametrize("client", _clients(), ids=lambda one: f"{type(one).__module__}.{type(one).__name__}")
def test_copies_are_views_and_nothing_else_duplicates_a_client(client: Any) -> None:
    assert type(copy.copy(client)) is type(client)
    for duplicate in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"holds .*connections") as caught:
            duplicate(client)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize("client", _clients(), ids=lambda one: f"{type(one).__module__}.{type(one).__name__}")
def test_constructors_spell_out_their_parameters(client: Any) -> None:
    kinds = {parameter.kind for parameter in inspect.signature(type(client)).parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("headers", ["abc", [("a", "b")], 5, {"a": "b\r\nc"}])
def test_views_refuse_headers_as_constructors_do(headers: Any) -> None:
    with pytest.raises(montra_async.InvalidArgumentError, match="headers"):
        Montra(KEY).with_options(headers=headers)
    with pytest.raises(montra_async.InvalidArgumentError, match="headers"):
        Montra(KEY, headers=headers)


@pytest.mark.parametrize("wrong", [5, "abc", [object()]])
def test_settings_that_are_no_lists_are_refused(wrong: Any) -> None:
    with pytest.raises(montra_async.ConfigError, match="trace_configs"):
        Montra(KEY, trace_configs=wrong)
    with pytest.raises(montra_async.InvalidArgumentError, match="capabilities"):
        montra_async.paywall.AuthClient("pw", "https://pay.example.com", capabilities=wrong)


async def _awaited(_: object) -> None: ...


@pytest.mark.parametrize("hook", ["on_request", "on_response", "on_retry"])
@pytest.mark.parametrize("wrong", [5, "x", _awaited])
def test_hooks_are_plain_functions(hook: str, wrong: Any) -> None:
    settings: dict[str, Any] = {hook: wrong}
    with pytest.raises(montra_async.InvalidArgumentError, match=rf"{hook}: a plain function"):
        Montra(KEY, **settings)


@pytest.mark.parametrize("address", [KEY, f"https://user:{KEY}@api.example.com", f"https://api.example.com/?key={KEY}"])
@pytest.mark.parametrize(
    "make",
    [
        lambda address: Montra("k", address),
        lambda address: montra_sync.Montra("k", address),
        lambda address: montra_async.paywall.BillingClient("pw", address, "k"),
        lambda address: montra_async.paywall.AuthClient("pw", address),
        lambda address: montra_async.paywall.ApiGatewayClient("pw", address),
    ],
)
def test_an_address_that_is_refused_shows_nowhere(make: Callable[[str], Any], address: str) -> None:
    """It may hold credentials, or be the key in the wrong place."""
    with pytest.raises(montra_async.ConfigError) as caught:
        make(address)
    trace = caught.value.__traceback__
    ours = [frame for frame, _ in traceback.walk_tb(trace) if "/tests/" not in frame.f_code.co_filename]
    assert ours
    assert KEY not in repr([frame.f_locals for frame in ours])
    assert KEY not in str(caught.value)


def test_a_gateway_shares_the_connections_of_a_billing_client() -> None:
    billing = montra_async.paywall.BillingClient("pw", "https://pay.example.com", KEY)
    gateway = montra_async.paywall.ApiGatewayClient(billing=billing, trace_configs=[], capabilities=[])
    assert gateway._transport is billing._transport
    with pytest.raises(montra_async.ConfigError, match="give one or the other"):
        montra_async.paywall.ApiGatewayClient(billing=billing, max_attempts=5)


def test_both_services_stand_on_one_base() -> None:
    for one in (
        Montra,
        *(getattr(montra_async.paywall, n) for n in ("BillingClient", "AuthClient", "ApiGatewayClient")),
    ):
        assert issubclass(one, BaseClient)
        for name in ("aclose", "__aenter__", "__aexit__", "with_options", "_decode"):
            assert getattr(one, name) is getattr(BaseClient, name), "there is one of each"
