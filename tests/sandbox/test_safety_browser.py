"""Web pages in the developer's browser can't use the sandbox."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from hypothesis import given, strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from montra_sandbox import Problem, Sandbox
from montra_sandbox.http.browser_protection import AccessRules, HostName, parse_allowed_host, parse_host

from .raw import raw

JSON = "Content-Type: application/json"
KEY = "Authorization: Bearer sk_test_sandbox"
CONTROLS = ("POST", "/_sandbox/reset"), ("POST", "/_sandbox/clock/advance"), ("GET", "/_sandbox/mails")
APIS = ("GET", "/api/v1/customers"), ("POST", "/api/v1/webhooks")
PAYWALL = "/api/v1/paywall/pw_sandbox/bootstrap"
FOREIGN = (
    "Origin: https://evil.example",
    "Origin: null",
    "Origin: http://localhost:1",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site",
    "Sec-Fetch-Site: same-origin\r\nOrigin: https://evil.example",
    "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site",
)


def _own(sandbox: Sandbox, name: str = "127.0.0.1") -> str:
    return f"Host: {name}:{sandbox.url.rpartition(':')[2]}"


@pytest.mark.parametrize(("method", "path"), [*CONTROLS, *APIS, ("GET", "/"), ("GET", PAYWALL), ("GET", "/pay/x")])
async def test_other_host_names_are_refused(sandbox: Sandbox, method: str, path: str) -> None:
    """DNS rebinding: the page's name resolves to this machine, which only `Host` shows."""
    port = sandbox.url.rpartition(":")[2]
    for host in (
        f"evil.example:{port}",
        f"localhost.evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"localhost:{int(port) - 1}",
        f"0.0.0.0:{port}",
        f"[::ffff:10.0.0.1]:{port}",
        "localhost",
        "127.0.0.1",
        "",
        "a b",
        "x" * 5000,
    ):
        answer = await raw(sandbox.url, method, path, f"Host: {host}", KEY, JSON, body=b"{}")
        assert (answer.status, answer.code) == (403, "host_not_allowed"), host
    named = await raw(sandbox.url, method, path, "Host: tunnel.example:1", JSON)
    assert "--allow-host tunnel.example" in json.loads(named.body)["message"]
    for hosts in ((), ("Host: evil.example", _own(sandbox)), (_own(sandbox), _own(sandbox))):
        assert (await raw(sandbox.url, method, path, *hosts, KEY, JSON)).status in (400, 403)


async def test_every_name_of_this_machine_works(sandbox: Sandbox) -> None:
    for name in ("localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "[::1]", "[0:0:0:0:0:0:0:1]"):
        assert (await raw(sandbox.url, "GET", "/_sandbox/", _own(sandbox, name))).status == 200


async def test_allowed_host_names() -> None:
    async with Sandbox(allow_hosts=["sandbox.test", "proxy.test:8080"]) as sandbox:
        for host, status in (
            ("sandbox.test", 200),
            ("Sandbox.Test:1234", 200),
            ("proxy.test:8080", 200),
            ("proxy.test", 403),
            ("proxy.test:8081", 403),
            ("x.sandbox.test", 403),
        ):
            assert (await raw(sandbox.url, "GET", "/_sandbox/", f"Host: {host}")).status == status
    for wrong in ("http://x", "x/", "a b", "", "x:y", "x:1:2", "[::1", "x@y"):
        with pytest.raises(ValueError, match="host name"):
            Sandbox(allow_hosts=[wrong])


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize(("method", "path"), [*CONTROLS, *APIS])
async def test_pages_of_other_origins_are_refused(sandbox: Sandbox, method: str, path: str, foreign: str) -> None:
    sandbox.add_fault(kind="status", status=503)
    before = sandbox.now(), sandbox.overview()["counts"]
    answer = await raw(
        sandbox.url, method, path, _own(sandbox), foreign, KEY, JSON, body=b'{"url":"http://127.0.0.1:9"}'
    )
    assert (answer.status, answer.code) == (403, "foreign_origin")
    assert "access-control-allow-origin" not in answer.headers
    assert (sandbox.now() - before[0]).total_seconds() < 3600
    assert sandbox.overview()["counts"] == before[1]
    assert len(sandbox.faults()) == 1  # not even a fault is used up


async def test_own_pages_and_programs_are_accepted(sandbox: Sandbox) -> None:
    own = _own(sandbox, "localhost")
    for headers in (
        (),
        ("Origin: http://" + own.removeprefix("Host: "),),
        ("Sec-Fetch-Site: same-origin", "Origin: http://" + own.removeprefix("Host: ")),
        ("Sec-Fetch-Site: same-origin", "Origin: null"),
        ("Sec-Fetch-Site: none",),
    ):
        assert (await raw(sandbox.url, "POST", "/_sandbox/reset", own, *headers)).status == 200
        assert (await raw(sandbox.url, "GET", "/api/v1/customers", own, KEY, *headers)).status == 200


async def test_the_owners_key_is_refused_from_browsers(sandbox: Sandbox) -> None:
    """The default key is public, but only programs can use it."""
    path = "/api/v1/paywall/pw_sandbox/user?email=a@example.com"
    key = f"X-Api-Key: {sandbox.api_key}"
    assert (await raw(sandbox.url, "GET", path, _own(sandbox), key)).code == "identity_not_on_paywall"
    for foreign in FOREIGN:
        answer = await raw(sandbox.url, "GET", path, _own(sandbox), key, foreign)
        assert (answer.status, answer.code) == (403, "apikey_in_browser")
        assert (await raw(sandbox.url, "GET", PAYWALL, _own(sandbox), foreign)).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
async def test_controls_require_json(sandbox: Sandbox, kind: str | None) -> None:
    before = sandbox.now()
    headers = [] if kind is None else [f"Content-Type: {kind}"]
    for body in (b'{"days": 1}', b"days=1"):
        answer = await raw(sandbox.url, "POST", "/_sandbox/clock/advance", _own(sandbox), *headers, body=body)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
    if kind:
        answer = await raw(sandbox.url, "POST", "/_sandbox/reset", _own(sandbox), *headers)
        assert answer.status == (200 if kind == "" else 415)
    assert (sandbox.now() - before).total_seconds() < 3600


# A control token as soon as other machines can connect


@pytest.fixture
async def remote() -> AsyncIterator[Sandbox]:
    async with Sandbox(host="0.0.0.0", allow_remote=True) as running:
        yield running


async def test_controls_require_a_token_if_other_machines_can_connect(remote: Sandbox) -> None:
    url = remote.url.replace("0.0.0.0", "127.0.0.1")
    own, token = _own(remote), remote.control_token
    assert token is not None
    assert len(token) >= 32
    for method, path in (
        *CONTROLS,
        ("GET", "/_sandbox/"),
        ("GET", "/_sandbox/nothing"),
        ("DELETE", "/_sandbox/faults"),
    ):
        for wrong in ((), ("X-Sandbox-Token: ",), (f"X-Sandbox-Token: {token}x",), ("X-Sandbox-Token: \xc3\xa4",)):
            answer = await raw(url, method, path, own, JSON, *wrong, body=b'{"days": 1}')
            assert (answer.status, answer.code) == (401, "control_token_required")
    good = f"X-Sandbox-Token: {token}"
    assert (await raw(url, "POST", "/_sandbox/clock/advance", own, JSON, good, body=b'{"days": 1}')).status == 200
    remote.advance(days=1)  # in code there is nobody to keep out
    assert (await raw(url, "GET", "/api/v1/customers", own, KEY)).status == 200
    for path, status in (("/", 401), ("/?token=x", 401), (f"/?token={token}", 303)):
        assert (await raw(url, "GET", path, own)).status == status
    assert token not in repr(AccessRules(port=1, bound=HostName("a", None), token=token))


async def test_ip_addresses_are_accepted_as_host(remote: Sandbox) -> None:
    url = remote.url.replace("0.0.0.0", "127.0.0.1")
    for name, status in (("192.168.1.5", 200), ("0.0.0.0", 200), ("[fe80::1]", 200), ("myhost", 403)):
        answer = await raw(url, "GET", "/api/v1/customers", _own(remote, name), KEY)
        assert answer.status == status


async def test_a_given_token_is_required_on_this_machine() -> None:
    async with Sandbox(control_token="correct-horse") as sandbox:
        assert (await raw(sandbox.url, "GET", "/_sandbox/", _own(sandbox))).status == 401
        token = "X-Sandbox-Token: correct-horse"
        assert (await raw(sandbox.url, "GET", "/_sandbox/", _own(sandbox), token)).status == 200
    async with Sandbox() as sandbox:
        assert sandbox.control_token is None


# Pages


async def _pages(sandbox: Sandbox) -> list[str]:
    auth = {"Authorization": f"Bearer {sandbox.api_key}"}
    async with aiohttp.ClientSession() as http:
        link = {"link_name": "l", "payment_name": "p", "amount": 5}
        async with http.post(f"{sandbox.base_url}/checkout-links", json=link, headers=auth) as answer:
            pay = (await answer.json())["data"]["url"]
        begin = {"email": "a@example.com", "priceId": 101}
        service = f"{sandbox.url}/api/v1/paywall/{sandbox.paywall_id}"
        async with http.post(f"{service}/start-checkout", json=begin) as answer:
            checkout = (await answer.json())["checkoutUrl"]
        begin = {"provider": "google", "code_challenge": "x" * 43, "code_challenge_method": "s256"}
        async with http.post(f"{service}/auth/oauth/init", json=begin) as answer:
            oauth = (await answer.json())["authorize_url"]
        async with http.post(checkout, data={"card": "4242424242424242", "action": "pay"}) as answer:
            assert answer.status == 200
        async with http.post(f"{service}/get-customer-portal", json={"email": "a@example.com"}) as answer:
            portal = (await answer.json())["url"]
    return [one.removeprefix(sandbox.url) for one in (pay, oauth, portal, checkout)]


async def test_no_page_can_be_framed(sandbox: Sandbox) -> None:
    for path in (*await _pages(sandbox), "/", "/nothing", "/pay/none", "/_sandbox/"):
        answer = await raw(sandbox.url, "GET", path, _own(sandbox), "Accept: text/html")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] in ("same-origin", "no-referrer")


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_forms_of_other_origins_are_refused(sandbox: Sandbox, foreign: str) -> None:
    sandbox.set_paywall(sandbox.paywall_id, webhook_url=None)
    form = "Content-Type: application/x-www-form-urlencoded"
    body = b"action=pay&card=4242424242424242&name=A&email=a@example.com&purchase=x&state=y"
    before = sandbox.overview()["counts"]
    pages = await _pages(sandbox)
    bought = sandbox.overview()["counts"]
    assert before != bought
    for path in pages:
        answer = await raw(sandbox.url, "POST", path.partition("?")[0], _own(sandbox), foreign, form, body=body)
        assert (answer.status, answer.code) == (403, "foreign_origin")
    assert sandbox.overview()["counts"] == bought
    own = "Origin: http://" + _own(sandbox).removeprefix("Host: ")
    answer = await raw(
        sandbox.url, "POST", pages[0], _own(sandbox), own, "Sec-Fetch-Site: same-origin", form, body=body
    )
    assert answer.status == 303


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("multipart/form-data; boundary=x", 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded; charset=zz", 400, "validation_error"),
    ],
)
async def test_unreadable_forms_are_refused(sandbox: Sandbox, content_type: str, status: int, code: str) -> None:
    for path in await _pages(sandbox):
        headers = (_own(sandbox), f"Content-Type: {content_type}")
        answer = await raw(sandbox.url, "POST", path.partition("?")[0], *headers, body=b"garbage")
        assert (answer.status, answer.code) == (status, code)


# The decisions by themselves

ADDRESSES = st.ip_addresses().map(lambda one: f"[{one}]" if one.version == 6 else str(one))


@given(text=st.text(max_size=300) | st.text("[]:.abc019-_@/ ", max_size=40))
def test_hosts_are_parsed_or_refused(text: str) -> None:
    host = parse_host(text)
    if host is not None:
        assert host.name
        assert not set(host.name) & set(" /@[]\r\n")
        assert host.name == host.name.lower()


@given(name=ADDRESSES | st.from_regex(r"[a-z0-9.-]{1,30}", fullmatch=True), port=st.integers(1, 65535))
def test_only_loopback_names_are_accepted_by_default(name: str, port: int) -> None:
    guard = AccessRules(port=4242, bound=HostName("127.0.0.1", None))
    headers = CIMultiDictProxy(CIMultiDict({"Host": f"{name}:{port}"}))
    host = parse_allowed_host(name)
    if host.is_loopback and port == 4242:
        guard.check_host(headers)
    else:
        with pytest.raises(Problem, match="does not answer"):
            guard.check_host(headers)
