"""Proxies, certificates, headers: wrong settings are refused by the constructor, without showing a secret."""

from __future__ import annotations

import asyncio
import ssl
import traceback
from typing import Any

import aiohttp
import pytest
from hypothesis import given, strategies as st

from montra_async import ConfigError, InsecureTlsWarning, InvalidArgumentError, Montra, NetworkError
from montra_async.core.options import check_headers
from montra_async.paywall import BillingClient, PaywallError

KEY = "sk_test_0123456789abcdef"


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks5://user:hush@proxy.example.com:1080", "socks5:// is not spoken here.*aiohttp-socks"),
        ("socks4://proxy.example.com", "HTTP proxy"),
        ("ftp://user:hush@proxy.example.com", "full URL"),
        ("proxy.example.com:3128", "full URL"),
        ("http://user:hush@proxy.example.com:port", "not a URL"),
        ("http://", "full URL"),
        ("", "full URL"),
    ],
)
def test_an_invalid_proxy_is_refused_at_once(proxy: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Montra(KEY, proxy=proxy)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "hush" not in str(caught.value) + repr(caught.value)
    assert "hush" not in shown.replace(proxy, "")  # this frame of the test knows it
    with pytest.raises(PaywallError) as refused:
        BillingClient("pw", "https://pay.example.com", "sk_key", proxy=proxy)
    assert (refused.value.code, "hush" in str(refused.value)) == ("invalid_config", False)


async def test_a_proxy_that_is_not_there_is_named_without_its_password() -> None:
    client = Montra(KEY, "https://billing.example.com", proxy="http://user:hush@127.0.0.1:1", max_attempts=1)
    with pytest.raises(NetworkError, match=r"cannot connect to the proxy 127\.0\.0\.1:1 on the way to") as caught:
        await client.list_customers()
    assert caught.value.sent is False
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "hush" not in shown


async def test_a_proxy_that_refuses_is_named_without_its_password() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 user:hush\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    client = Montra(KEY, "https://billing.example.com", proxy=f"http://user:hush@{address}")
    with pytest.raises(NetworkError, match=f"the proxy {address} refused the connection.*407") as caught:
        await client.list_customers()
    assert (caught.value.attempts, caught.value.sent) == (1, False)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "hush" not in shown
    listener.close()


def unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("value", [False, unchecked()], ids=["False", "CERT_NONE"])
def test_any_certificate_is_accepted_only_with_allow_insecure_tls(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"any certificate.*allow_insecure_tls"):
        Montra(KEY, ssl=value)
    with pytest.raises(PaywallError, match=r"any certificate.*allow_insecure_tls"):
        BillingClient("pw", "https://pay.example.com", "sk_key", ssl=value)
    with pytest.warns(InsecureTlsWarning, match="anybody on the way"):
        Montra(KEY, ssl=value, allow_insecure_tls=True)
    Montra(KEY, ssl=ssl.create_default_context())


async def test_a_session_or_connector_that_trusts_any_certificate_is_refused_too() -> None:
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        for settings in ({"session": session}, {"connector": connector}):
            with pytest.raises(ConfigError, match="any certificate"):
                Montra(KEY, **settings)  # type: ignore[arg-type]
        client = Montra(KEY, connector=lambda: aiohttp.TCPConnector(ssl=False))
        with pytest.raises(ConfigError, match="any certificate"):
            await client.list_customers()


@pytest.mark.parametrize(("make", "words"), [(lambda: 5, "made int"), (lambda: 1 / 0, "raised ZeroDivisionError")])
async def test_a_connector_function_that_fails_raises_a_config_error(make: Any, words: str) -> None:
    client = Montra(KEY, "https://billing.example.com", connector=make)
    with pytest.raises(ConfigError, match=words):
        await client.list_customers()


@pytest.mark.parametrize("name", ["Host: evil.com", "a b", "a\tb", "", "ä", "x(y)", "a:b", 'a"b', "a\r\nb", "[x]"])
def test_a_header_name_is_a_token(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="headers"):
        Montra(KEY, headers={name: "v"})


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0b", "a\x7fb", "a\x1bb", "\ud800"])
def test_a_header_value_holds_no_control_characters(value: str) -> None:
    with pytest.raises(InvalidArgumentError, match="headers"):
        Montra(KEY).with_options(headers={"X-Mine": value})


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_header_that_is_accepted_is_one_line(name: str, value: str) -> None:
    try:
        accepted = check_headers({name: value})
    except InvalidArgumentError:
        return
    [(given_name, given_value)] = accepted.items()
    line = f"{given_name}: {given_value}".encode()
    assert len(line.splitlines()) == 1
    assert line.split(b":")[0] == name.encode("ascii")


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "1"])
def test_an_invalid_limit_is_refused(size: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="max_response_size"):
        Montra(KEY, max_response_size=size)
    with pytest.raises(InvalidArgumentError, match="max_response_size"):
        Montra(KEY).with_options(max_response_size=size)


def test_a_call_without_asyncio_says_what_is_needed() -> None:
    calling = Montra(KEY).list_customers()
    with pytest.raises(ConfigError, match="no asyncio event loop"):
        calling.send(None)


async def test_a_call_outside_a_task_says_what_is_needed() -> None:
    failed: list[BaseException] = []
    done = asyncio.Event()

    def by_hand() -> None:
        try:
            Montra(KEY).list_customers().send(None)
        except BaseException as error:
            failed.append(error)
        done.set()

    asyncio.get_running_loop().call_soon(by_hand)
    await done.wait()
    assert [type(one) for one in failed] == [ConfigError]
    assert "task" in str(failed[0])
