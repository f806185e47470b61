"""Profiles: private files, masked secrets, and no key that is sent to the wrong address."""

from __future__ import annotations

import http.server
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from montra_cli.failures import CliError
from montra_cli.settings import Settings, Value, is_local

from .conftest import Cli

KEY = "sk_test_0123456789abcdef0123"


@pytest.fixture
def fresh(alone: Cli) -> Cli:
    """Nothing is set in the environment."""
    alone.environment.pop("MONTRA_BASE_URL")
    return alone


def config_of(cli: Cli) -> Path:
    return cli.folder / "config" / "montra" / "config.toml"


def test_a_key_is_stored_privately_and_shown_masked(fresh: Cli) -> None:
    ran = fresh.ok("config", "login", "--base-url", "https://api.example/api/v1", stdin=f"{KEY}\n".encode())
    assert KEY not in ran.err
    path = config_of(fresh)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert KEY in path.read_text()
    rows = {one["name"]: one for one in fresh.ok("config", "list", "--json").json}
    assert rows["api_key"] == {
        "name": "api_key",
        "value": "sk_test_...0123",
        "source": "profile default",
        "variable": "MONTRA_API_KEY",
    }
    assert fresh.ok("config", "path").out.strip() == str(path)
    assert fresh.ok("config", "profiles", "--json").json[0]["api_key"] == "sk_test_...0123"


def test_a_key_is_typed_without_an_echo(fresh: Cli) -> None:
    child = fresh.terminal("config", "set", "api_key")
    child.expect("secret key.*: ")
    child.waitnoecho()
    child.sendline(KEY)
    text = str(child.read())
    child.wait()
    assert (child.exitstatus, KEY in text) == (0, False)
    assert KEY in config_of(fresh).read_text()
    child = fresh.terminal("config", "list")
    text = str(child.read())
    assert "default (in use)" in text
    assert KEY not in text


def test_a_secret_on_the_command_line_is_refused(fresh: Cli) -> None:
    ran = fresh.run("config", "set", "api_key", KEY)
    assert (ran.code, KEY in ran.err, "command lines" in ran.err) == (2, False, True)
    assert not config_of(fresh).exists()
    for wrong in (b"", b"\n", b"has a space\n", "k\u00e4y\n".encode()):
        assert fresh.run("config", "login", stdin=wrong).code == 2


def test_profiles_are_used_changed_and_removed(fresh: Cli) -> None:
    fresh.ok("config", "login", "--profile", "one", stdin=KEY.encode())
    fresh.ok("config", "login", "--profile", "two", "--no-use", stdin=b"sk_test_2222222222222222")
    fresh.ok("config", "set", "base_url", "http://127.0.0.1:9/api/v1", "--profile", "two")
    config_of(fresh).write_text("# my notes\n" + config_of(fresh).read_text())
    fresh.ok("config", "use", "two")
    assert config_of(fresh).read_text().startswith("# my notes\n")
    rows = {one["name"]: one["value"] for one in fresh.ok("config", "list", "--json").json}
    assert rows["base_url"] == "http://127.0.0.1:9/api/v1"
    rows = {one["name"]: one["value"] for one in fresh.ok("config", "list", "--profile", "one", "--json").json}
    assert (rows["base_url"], rows["api_key"]) == (None, "sk_test_...0123")
    fresh.ok("config", "unset", "base_url", "--profile", "two")
    assert fresh.run("config", "unset", "base_url", "--profile", "two").code == 1
    assert fresh.run("config", "remove", "two").code == 7
    fresh.ok("config", "remove", "two", "--yes")
    for wrong in (
        ["use", "two"],
        ["remove", "two", "--yes"],
        ["list", "--profile", "two"],
        ["set", "colour", "red"],
        ["set", "base_url"],
        ["set", "base_url", "ftp://x"],
        ["set", "paywall_id", "x", "--profile", "a/b"],
    ):
        assert fresh.run("config", *wrong).code == 2, wrong


def in_use(cli: Cli) -> str:
    (found,) = [one["profile"] for one in cli.ok("config", "profiles", "--json").json if one["in_use"]]
    return str(found)


def test_a_login_never_switches_silently(fresh: Cli) -> None:
    ran = fresh.ok("config", "login", "--profile", "sandbox", stdin=KEY.encode())
    assert "Commands use 'sandbox' from now on; `montra config use OTHER` changes it." in ran.err
    ran = fresh.ok("config", "login", "--profile", "production", stdin=LIVE.encode())
    assert "Commands still use 'sandbox'" in ran.err
    assert "`montra config use production`" in ran.err
    assert in_use(fresh) == "sandbox"
    ran = fresh.ok("config", "login", "--profile", "sandbox", stdin=KEY.encode())
    assert "Commands use 'sandbox'" in ran.err
    ran = fresh.ok("config", "login", "--profile", "production", "--use", stdin=LIVE.encode())
    assert "Commands use 'production' from now on" in ran.err
    assert in_use(fresh) == "production"


def test_a_profile_set_by_hand_counts_as_the_first(fresh: Cli) -> None:
    fresh.ok("config", "set", "base_url", "http://127.0.0.1:9/api/v1")
    fresh.ok("config", "login", "--profile", "production", stdin=LIVE.encode())
    assert in_use(fresh) == "default"


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_name_of_a_profile_is_refused(fresh: Cli, blank: str) -> None:
    fresh.ok("config", "login", "--profile", "production", stdin=LIVE.encode())
    before = config_of(fresh).read_bytes()
    for command in (
        ["config", "login"],
        ["config", "set", "paywall_id", "pw_1"],
        ["config", "unset", "api_key"],
        ["config", "list"],
        ["customers", "list"],
        ["sandbox", "status"],
    ):
        for arguments, variables in ((["--profile", blank], {}), ([], {"MONTRA_PROFILE": blank})):
            ran = fresh.run(*command, *arguments, stdin=KEY.encode(), **variables)
            assert (ran.code, "not an empty text" in ran.err) == (2, True), (command, ran.err)
    assert fresh.run("config", "use", blank).code == 2
    assert fresh.run("config", "remove", blank, "--yes").code == 2
    assert config_of(fresh).read_bytes() == before


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/api/v1",
        "https://user:secret123@api.example/v1",
        "https://api.example/v1?a=1",
        "ftp://x",
        "x",
    ],
)
def test_an_address_that_every_call_would_refuse_is_not_stored(fresh: Cli, url: str) -> None:
    for command in (
        ["config", "login", "--base-url", url],
        ["config", "set", "base_url", url],
        ["config", "set", "paywall_origin", url],
    ):
        ran = fresh.run(*command, stdin=KEY.encode())
        assert (ran.code, "secret123" in ran.err, "allow_insecure" in ran.err) == (2, False, False), ran.err
        assert not config_of(fresh).exists()
    ran = fresh.run("config", "login", "--base-url", "http://example.com", stdin=KEY.encode())
    assert "base_url: plain http:// to example.com would send the key in clear; use https://" in ran.err


def test_the_environment_wins(fresh: Cli) -> None:
    fresh.ok("config", "login", stdin=KEY.encode())
    rows = {
        one["name"]: (one["value"], one["source"])
        for one in fresh.ok("config", "list", "--json", MONTRA_API_KEY="sk_live_abcdefghijklmnopqrst").json
    }
    assert rows["api_key"] == ("sk_live_...qrst", "MONTRA_API_KEY")


def test_a_profiles_key_is_not_sent_to_the_environments_address(fresh: Cli) -> None:
    fresh.ok("config", "login", stdin=KEY.encode())
    ran = fresh.run("customers", "list", MONTRA_BASE_URL="https://elsewhere.example/api/v1")
    assert (ran.code, KEY in ran.err) == (4, False)
    assert "$MONTRA_API_KEY" in ran.err


def test_with_a_sandbox_its_own_key_is_the_default(cli: Cli) -> None:
    cli.ok("config", "login", stdin=KEY.encode())
    cli.ok("customers", "list")
    cli.environment.pop("MONTRA_BASE_URL")
    cli.ok("config", "set", "base_url", f"{cli.url}/api/v1")
    assert cli.run("customers", "list").code == 4  # the profile's own key for its own address
    cli.ok("config", "unset", "api_key")
    cli.ok("customers", "list")


LIVE = "sk_live_0123456789abcdefREAL"


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """A service that is not a sandbox, and the keys that it gets."""
    keys: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(str(dict(self.headers)))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", keys
        finally:
            server.shutdown()
            thread.join()


def test_a_key_of_montra_is_not_sent_to_another_paywall(fresh: Cli) -> None:
    fresh.ok("config", "login", stdin=LIVE.encode())
    credit = ["paywall", "credit-tokens", "gpt-4", "5", "--user-id", "7"]
    with listener() as (origin, keys):
        fresh.run(*credit, PAYWALL_ORIGIN=origin)
        fresh.run(*credit, PAYWALL_ORIGIN=origin, MONTRA_API_KEY=LIVE)
        assert len(keys) >= 2
        assert LIVE not in "".join(keys)


def settings_of(**values: tuple[str, bool]) -> Settings:
    return Settings("p", {name: Value(text, name, in_env) for name, (text, in_env) in values.items()})


def test_keys_of_the_paywall() -> None:
    here = "http://127.0.0.1:4242"
    own = settings_of(api_key=(KEY, False), base_url=(f"{here}/api/v1", False))
    assert own.paywall() == ("pw_sandbox", here, KEY)
    both = settings_of(
        api_key=(KEY, False), base_url=("http://127.0.0.1/api/v1", False), paywall_origin=("http://127.0.0.1:80", True)
    )
    assert both.paywall() == ("pw_sandbox", "http://127.0.0.1:80", KEY)
    other = settings_of(
        api_key=(KEY, False), base_url=(f"{here}/api/v1", False), paywall_origin=("http://127.0.0.1:1", False)
    )
    assert other.paywall()[2] == "sk_test_sandbox"
    assert settings_of(api_key=(KEY, True), paywall_origin=(here, True)).paywall()[2] == "sk_test_sandbox"
    derived = settings_of(paywall_api_key=(LIVE, False), base_url=(f"{here}/api/v1", True))
    assert derived.paywall() == ("pw_sandbox", here, "sk_test_sandbox")
    far = settings_of(api_key=(KEY, False), paywall_origin=("http://127.evil.example", True))
    assert far.paywall() == (None, "http://127.evil.example", None)
    with pytest.raises(CliError, match="would be sent"):
        settings_of(paywall_api_key=(LIVE, False), paywall_origin=("http://127.evil.example", True)).paywall()


def test_which_addresses_are_of_this_machine() -> None:
    for url in ("http://localhost:1", "http://LOCALHOST", "http://127.0.0.1:1/x", "http://127.8.8.8", "http://[::1]:1"):
        assert is_local(url), url
    for url in (
        *(
            "http://127.evil.example",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "http://10.0.0.1",
        ),
        *("http://127.0.0.1@evil.example", "http://[::2]", "http://[", "x"),
    ):
        assert not is_local(url), url


def test_a_file_that_others_may_read_is_refused(fresh: Cli) -> None:
    fresh.ok("config", "login", stdin=KEY.encode())
    config_of(fresh).chmod(0o640)
    ran = fresh.run("customers", "list")
    assert (ran.code, "chmod 600" in ran.err) == (2, True)


def test_a_setting_that_is_not_known_is_told(fresh: Cli) -> None:
    fresh.ok("config", "login", stdin=KEY.encode())
    path = config_of(fresh)
    path.write_text(path.read_text().replace("api_key", "api_kee"))
    ran = fresh.run("customers", "list")
    assert ran.code != 0
    assert "profiles.default.api_kee is not known; there are: api_key, base_url" in ran.err


def test_a_file_with_a_byte_order_mark_is_read(fresh: Cli) -> None:
    fresh.ok("config", "login", stdin=KEY.encode())
    config_of(fresh).write_bytes(b"\xef\xbb\xbf" + config_of(fresh).read_bytes())
    assert in_use(fresh) == "default"


@pytest.mark.parametrize(
    "text",
    [
        f'api_key = "{KEY}',
        "profiles = 1",
        "[profiles]\ndefault = 1",
        "[profiles.default]\napi_key = 1",
        'profile = "gone"',
        "\xff",
        "#" * (1024 * 1024 + 1),
    ],
)
def test_a_file_that_can_not_be_used_is_told_without_its_content(fresh: Cli, text: str) -> None:
    path = config_of(fresh)
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)
    path.write_bytes(text.encode("latin-1"))
    ran = fresh.run("customers", "list")
    assert (ran.code, "Traceback" in ran.err, KEY in ran.err) == (2, False, False)


def test_another_place_and_a_link_that_stays_one(fresh: Cli) -> None:
    real = fresh.folder / "real.toml"
    link = fresh.folder / "link.toml"
    link.symlink_to(real)
    fresh.ok("config", "login", stdin=KEY.encode(), MONTRA_CONFIG=str(link))
    assert link.is_symlink()
    assert KEY in real.read_text()
    assert fresh.run("config", "list", MONTRA_CONFIG=str(fresh.folder)).code == 2
    assert fresh.run("config", "login", stdin=b"sk_test_1", MONTRA_CONFIG="/proc/none/c.toml").code in (1, 2)
