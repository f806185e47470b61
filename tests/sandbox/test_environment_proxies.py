"""`trust_env=True`: proxies of the environment are used, nothing else of it; base URLs that lead elsewhere."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib import request as urllib_request

import aiohttp
import aiohttp.web
import attrs
import pytest
from hypothesis import given, strategies as st
from yarl import URL

import montra_sync
from montra_async import ConfigError, InvalidResponseError, Montra, NetworkError, NotFoundError
from montra_async.core.base_url import parse_proxy
from montra_async.core.http.environment import EnvironmentProxies, NoProxy, read_environment
from montra_async.core.redaction import Secret
from montra_async.paywall import ApiGatewayClient, AuthClient, BillingClient, PaywallConfigError, PaywallNotFoundError

KEY = "sk_test_sandbox"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD", "NETRC")


@pytest.fixture(autouse=True)
def _no_proxies_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@attrs.define
class Proxy:
    """A server that takes whole addresses, as a proxy does, and answers for every one of them.

    Attributes:
        address: host and port.
        status: of its answers.
        asked: for each request its address, its key, and what it tells the proxy.
    """

    address: str = ""
    status: int = 200
    asked: list[tuple[str, str | None, str | None]] = attrs.field(factory=list)

    async def answer(self, request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        said = (request.headers.get("Authorization"), request.headers.get("Proxy-Authorization"))
        self.asked.append((request.raw_path if request.method != "CONNECT" else f"CONNECT {request.raw_path}", *said))
        return aiohttp.web.json_response({"success": True, "data": []}, status=self.status)


@asynccontextmanager
async def serving(answer: Any) -> AsyncIterator[str]:
    """A server without routes. Gives its host and port."""
    server = aiohttp.web.ServerRunner(aiohttp.web.Server(answer))
    await server.setup()
    try:
        await aiohttp.web.TCPSite(server, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{server.addresses[0][1]}"
    finally:
        await server.cleanup()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    made = Proxy()
    async with serving(made.answer) as made.address:
        yield made


def client(base_url: str = "http://billing.test/api/v1", **settings: Any) -> Montra:
    return Montra(KEY, base_url, allow_insecure_http=True, max_attempts=1, trust_env=True, **settings)


async def test_requests_go_through_the_proxy_with_its_password(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:hush@{proxy.address}")
    async with client() as montra:
        assert await montra.list_meters() == []
    basic = f"Basic {base64.b64encode(b'user:hush').decode()}"
    assert proxy.asked == [("http://billing.test/api/v1/meters", f"Bearer {KEY}", basic)]


@pytest.mark.parametrize("given", ["argument", "environment"])
async def test_the_key_never_goes_to_the_proxy_itself(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """What a proxy is told before the connection to the service is encrypted, and beside a plain request."""
    proxy.status = 502
    address = f"http://{proxy.address}"
    monkeypatch.setenv("ALL_PROXY", address)
    settings: dict[str, Any] = {"proxy": address} if given == "argument" else {}
    for base_url in ("https://billing.test/api/v1", "http://billing.test/api/v1"):
        async with client(base_url, **settings) as montra:
            with pytest.raises(Exception, match="502"):
                await montra.list_meters()
    billing = BillingClient(
        "pw", "https://pay.test", KEY, trust_env=True, max_attempts=1, edge_fallback=False, **settings
    )
    with pytest.raises(NetworkError, match="502"):
        await billing.list_prices()
    await billing.aclose()
    assert [(path, said) for path, _, said in proxy.asked] == [
        ("CONNECT billing.test:443", None),
        ("http://billing.test/api/v1/meters", None),
        ("CONNECT pay.test:443", None),
    ]
    assert [key for _, key, _ in proxy.asked] == [None, f"Bearer {KEY}", None]


async def test_a_netrc_is_neither_read_nor_sent(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login canary password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    async with client() as montra:
        await montra.list_meters()
    assert proxy.asked == [("http://billing.test/api/v1/meters", f"Bearer {KEY}", None)]


async def test_nothing_is_read_unless_it_is_asked_for(
    sandbox: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        assert await montra.list_meters() == []
    monkeypatch.setenv("NO_PROXY", "example.com, 127.0.0.1")
    async with Montra(sandbox.api_key, sandbox.base_url, trust_env=True) as montra:
        assert await montra.list_meters() == []
    assert proxy.asked == []


async def test_the_argument_wins_and_other_variables_are_not_for_this_scheme(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:2")
    async with client(proxy=f"http://{proxy.address}") as montra:
        assert await montra.list_meters() == []
    monkeypatch.setenv("HTTP_PROXY", " ")
    monkeypatch.setenv("ALL_PROXY", f"http://{proxy.address}")
    async with client() as montra:
        assert await montra.list_meters() == []
    assert len(proxy.asked) == 2


async def test_errors_name_the_proxy_without_its_password(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.status = 407
    for address, words in (
        ("127.0.0.1:1", r"cannot connect to the proxy 127\.0\.0\.1:1 on the way to billing\.test:443"),
        (proxy.address, f"the proxy {proxy.address} refused the connection to billing.test:443 with 407"),
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hush@{address}")
        async with client("https://billing.test/api/v1") as montra:
            with pytest.raises(NetworkError, match=words) as caught:
                await montra.list_meters()
        assert "hush" not in f"{caught.value!r} {caught.value.__cause__!r} {montra!r}"
        assert not caught.value.sent


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HTTPS_PROXY", "socks5://user:hush@127.0.0.1", "HTTPS_PROXY: socks5:// is not spoken here"),
        ("https_proxy", "127.0.0.1:3128", "HTTPS_PROXY: give a full URL"),
        ("ALL_PROXY", "http://user:hush@host:port", "ALL_PROXY: not a URL"),
    ],
)
def test_a_variable_without_an_http_proxy_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match=words) as caught:
        client("https://billing.test/api/v1")
    assert "hush" not in str(caught.value)
    with pytest.raises(PaywallConfigError, match=words):
        BillingClient("pw", "https://pay.test", trust_env=True)


async def test_a_session_brings_its_own_proxies() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigError, match=r"session= brings its own connector, proxy, trust_env"):
            client(session=session)
    wrong: Any = "yes"
    with pytest.raises(ConfigError, match="trust_env: True or False"):
        Montra(KEY, trust_env=wrong)


async def test_every_client_has_it(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    proxy.status = 500
    settings: dict[str, Any] = {"trust_env": True, "allow_insecure_http": True, "max_attempts": 1}
    billing = BillingClient("pw", "http://pay.test", KEY, **settings)
    auth = AuthClient("pw", "http://pay.test", **settings)
    gateway = ApiGatewayClient("pw", "http://pay.test", **settings)
    for call in (billing.list_prices(), auth.sign_in_anonymously(), gateway.call("openai")):
        with pytest.raises(Exception, match="500"):
            await call
    for one in (billing, auth, gateway):
        await one.aclose()

    def in_a_thread() -> None:
        montra = montra_sync.Montra(KEY, "http://billing.test/api/v1", **settings)
        with montra, pytest.raises(Exception, match="500"):
            montra.list_meters()

    await asyncio.to_thread(in_a_thread)
    assert [URL(one[0]).host for one in proxy.asked] == ["pay.test"] * 3 + ["billing.test"]


HOSTS = st.sampled_from(["a.test", "b.a.test", "ba.test", "127.0.0.1", "localhost", "x.y.example.com", "A.TEST"])
RULES = st.lists(
    st.sampled_from(["a.test", ".a.test", "example.com", "127.0.0.1", "a.test:8080", "TEST", "", " b.a.test"])
)


@given(HOSTS, st.sampled_from([80, 8080]), RULES)
def test_no_proxy_means_what_it_means_in_python(host: str, port: int, rules: list[str]) -> None:
    listed = ",".join(rules)
    found = EnvironmentProxies(
        {"http": parse_proxy(Secret("http://proxy.test:1"))},
        NoProxy.parse(listed),
    )
    bypass: Any = vars(urllib_request)["proxy_bypass_environment"]
    assert (found.proxy_of(URL(f"http://{host}:{port}/")) is None) == bool(bypass(f"{host}:{port}", {"no": listed}))


def test_a_variable_that_is_not_used_may_hold_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://user:hush@127.0.0.1")
    client("https://billing.test/api/v1")
    with pytest.raises(ConfigError, match="ALL_PROXY: socks5:// is not spoken here"):
        client("http://billing.test/api/v1")
    monkeypatch.setenv("NO_PROXY", "billing.test")
    client("http://billing.test/api/v1")


@pytest.mark.parametrize(
    ("rules", "url", "direct"),
    [
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("2.3", "http://10.1.2.3/", False),
        ("a.test b.test", "http://x.b.test/", True),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("[::1]:8080", "http://[::1]/", False),
        ("fd00::/8", "http://[fd00::7]/", True),
        ("127.0.0.1:80", "http://127.0.0.1/", True),
        ("xn--mnchen-3ya.test", "http://m\u00fcnchen.test/", True),
        ("m\u00fcnchen.test", "http://xn--mnchen-3ya.test/", True),
    ],
)
def test_no_proxy_knows_networks_ports_and_international_names(rules: str, url: str, direct: bool) -> None:
    assert NoProxy.parse(rules).covers(URL(url)) is direct


@given(st.text(max_size=30))
def test_no_value_of_no_proxy_fails(value: str) -> None:
    NoProxy.parse(value).covers(URL("http://a.test/"))


def test_a_header_of_a_cgi_request_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", "http://attacker.test:1")  # from the header `Proxy` of a request
    assert read_environment().by_scheme == {}


def test_no_proxy_for_all_and_for_addresses_of_version_6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:1")
    monkeypatch.setenv("NO_PROXY", "[::1],*.example.com")
    found = read_environment()
    assert [found.proxy_of(URL(url)) for url in ("http://[::1]:80/", "http://a.example.com/")] == [None, None]
    assert found.proxy_of(URL("http://a.test/")) is not None
    assert found.proxy_of(URL("https://a.test/")) is None
    monkeypatch.setenv("NO_PROXY", "*")
    assert read_environment().proxy_of(URL("http://a.test/")) is None


# Base URLs that lead elsewhere


@attrs.define
class Elsewhere:
    """Another server: a dashboard, a proxy, another API.

    Attributes:
        url: of the server.
        says: status, body and content type of its answers.
        asked: paths of the requests.
    """

    url: str = ""
    says: tuple[int, str, str] = (404, "", "text/html")
    asked: list[str] = attrs.field(factory=list)

    async def answer(self, request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        self.asked.append(request.path)
        status, body, kind = self.says
        return aiohttp.web.Response(status=status, text=body, content_type=kind)


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    made = Elsewhere()
    async with serving(made.answer) as address:
        made.url = f"http://{address}"
        yield made


HTML = (404, "<h1>Not Found</h1>", "text/html")
JSON = (404, '{"detail": "Not Found"}', "application/json")


@pytest.mark.parametrize("answer", [HTML, JSON], ids=["html", "json"])
async def test_a_base_url_without_the_path_of_the_api_is_told(elsewhere: Elsewhere, answer: Any) -> None:
    elsewhere.says = answer
    origin = elsewhere.url
    for path, words in (("", "has no path"), ("/v1", "has the path /v1")):
        async with Montra(KEY, f"{origin}{path}") as montra:
            with pytest.raises(NotFoundError) as caught:
                await montra.list_meters()
        assert f"; base_url {words}: try base_url='{origin}/api/v1'" in str(caught.value)
    async with Montra(KEY, f"{origin}/api/v1") as montra:
        with pytest.raises(NotFoundError) as right:
            await montra.list_meters()
    assert "try base_url" not in str(right.value)
    assert elsewhere.asked == ["/meters", "/v1/meters", "/api/v1/meters"]


async def test_a_page_instead_of_an_answer_is_told(elsewhere: Elsewhere) -> None:
    elsewhere.says = (200, "<title>Dashboard</title>", "text/html")
    async with Montra(KEY, elsewhere.url) as montra:
        with pytest.raises(InvalidResponseError, match="base_url has no path: try base_url="):
            await montra.list_meters()


async def test_an_unknown_id_is_no_hint(sandbox: Any) -> None:
    async with Montra(sandbox.api_key, sandbox.base_url) as montra:
        with pytest.raises(NotFoundError) as caught:
            await montra.get_customer("nobody")
    assert "base_url" not in str(caught.value)


async def test_an_origin_that_is_no_paywall_is_told(elsewhere: Elsewhere, sandbox: Any) -> None:
    elsewhere.says = HTML
    async with BillingClient("pw", elsewhere.url, KEY) as billing:
        with pytest.raises(PaywallNotFoundError, match=r"api_origin is the paywall's own domain"):
            await billing.list_prices()
    async with BillingClient("pw_other", sandbox.url, sandbox.api_key) as billing:
        with pytest.raises(PaywallNotFoundError) as caught:
            await billing.list_prices()
    assert "api_origin" not in str(caught.value)
