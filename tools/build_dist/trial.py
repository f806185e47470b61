"""Runs inside a fresh environment, where the wheel is installed and nothing else of the project can be seen."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

NEEDS = {
    "montra_async.frameworks.django": {"django"},
    "montra_async.frameworks.fastapi": {"fastapi"},
    "montra_async.frameworks.starlette": {"starlette", "fastapi"},
    "montra_async.telemetry": {"otel"},
    "montra_cli": {"cli"},
    "montra_pytest": {"pytest"},
    "montra_sandbox": {"sandbox"},
    "montra_sync.frameworks.django": {"django"},
    "montra_sync.frameworks.flask": {"flask"},
    "montra_sync.telemetry": {"otel"},
}
"""Modules, with what is below them, and the extras of which each needs one."""
HINTED = [name for name in NEEDS if not name.startswith(("montra_cli", "montra_pytest"))]
"""Modules that say which extra they need when they are imported without it."""
BIN = Path(sys.executable).parent


def check(condition: object, what: str) -> None:
    if not condition:
        raise SystemExit(f"FAILED: {what}")


def modules() -> Iterator[str]:
    """Every module of the wheel."""
    for file in distribution("montra").files or ():
        parts = file.with_suffix("").parts
        if file.suffix == ".py" and parts[-1] != "__main__":
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def needed(module: str) -> set[str]:
    """The extras of which a module needs one."""
    return next((extras for name, extras in NEEDS.items() if f"{module}.".startswith(f"{name}.")), set())


def check_imports(present: set[str], *, only_extras: bool) -> None:
    """What needs nothing, or what is here, can be imported. Anything else may fail, but says what is missing."""
    for module in modules():
        if only_extras and not needed(module):
            continue  # the environments with nothing and with everything have tried it
        try:
            imported = importlib.import_module(module)
            for public in getattr(imported, "__all__", ()):
                getattr(imported, public)  # some are imported when they are first used
        except ImportError as error:
            wanted = needed(module)
            check(wanted and not wanted & present, f"import {module}: {error!r}")
            hinted = any(f"pip install 'montra[{extra}]'" in str(error) for extra in wanted)
            check(hinted or module not in HINTED, f"import {module}: no hint in {error!r}")
            check(hinted or error.name, f"import {module}: {error!r} does not say what is missing")
        else:
            # With another extra, it may: FastAPI brings OpenTelemetry's API along.
            check(module not in HINTED or present, f"import {module}: works without its extra")


def check_isolation(checkout: str, version: str) -> None:
    """All of it comes from the wheel."""
    import montra_async
    import montra_sync

    for package in (montra_async, montra_sync):
        check(Path(str(package.__file__)).is_relative_to(sys.prefix), f"{package.__file__} is not of this environment")
        check(package.__version__ == version, f"version {package.__version__}, not {version}")
    check(not [one for one in sys.path if one.startswith(checkout)], f"the checkout is in sys.path: {sys.path}")
    found = {
        Path(one.origin) for one in map(importlib.util.find_spec, ("tests", "tools", "noxfile")) if one and one.origin
    }
    check(not found, f"can be imported: {found}")


def command(*words: str, code: int = 0, **more: str) -> str:
    """Run a console script. Returns all that it printed."""
    run = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        env={**os.environ, "NO_COLOR": "1", **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    check(run.returncode == code, f"{words}: exit code {run.returncode}\n{run.stdout}{run.stderr}")
    return run.stdout + run.stderr


def check_commands(present: set[str], version: str) -> None:
    """The console scripts start, or say which extra they need."""
    check(command("montra", "--version") == f"montra {version}\n", "montra --version")
    check("usage: montra-usage" in command("montra-usage", "--help"), "montra-usage --help")
    if "cli" in present:
        check("customers" in command("montra", "--help"), "montra --help")
    else:
        check("pip install 'montra[cli]'" in command("montra", "--help", code=2), "montra without its extra: no hint")
    if "sandbox" in present:
        check("--port" in command("montra-sandbox", "--help"), "montra-sandbox --help")
    else:
        said = command("montra-sandbox", "--help", code=2)
        check(
            "Traceback" not in said and "pip install 'montra[sandbox]'" in said,
            "montra-sandbox without its extra: no hint",
        )


def check_clients(address: str) -> None:
    """Both clients call the sandbox."""
    import montra_async
    import montra_sync

    async def call() -> str:
        async with montra_async.Montra("sk_test_sandbox", f"{address}/api/v1") as montra:
            return (await montra.create_customer(name="Eve", email="eve@example.com", idempotency_key="eve")).id

    with montra_sync.Montra("sk_test_sandbox", f"{address}/api/v1") as montra:
        found = montra.create_customer(name="Eve", email="eve@example.com", idempotency_key="eve").id
    check(asyncio.run(call()) == found, "the two clients disagree")


def receiver() -> Any:
    from montra_async.webhooks import MemoryStore, WebhookReceiver

    return WebhookReceiver("whsec_of_the_endpoint_0123456789", store=MemoryStore())


def asgi_status(app: Any, path: str) -> int:
    """The status of a POST with a body that nobody signed."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
    where = {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
    headers = {"headers": [(b"host", b"test"), (b"content-type", b"application/json")]}
    asyncio.run(app({**scope, **where, **headers, "client": ("127.0.0.1", 1), "server": ("test", 80)}, receive, send))
    return int(sent[0]["status"])


def use_fastapi() -> int:
    from fastapi import FastAPI

    from montra_async.frameworks.fastapi import exception_handlers, webhook_router

    app = FastAPI(exception_handlers=exception_handlers)
    app.include_router(webhook_router("/webhooks", receiver()))
    return asgi_status(app, "/webhooks")


def use_starlette() -> int:
    from starlette.applications import Starlette

    from montra_async.frameworks.starlette import webhook_route

    return asgi_status(Starlette(routes=[webhook_route("/webhooks", receiver())]), "/webhooks")


def use_flask() -> int:
    from flask import Flask

    from montra_sync.frameworks.flask import webhook_blueprint

    app = Flask(__name__)
    app.register_blueprint(webhook_blueprint("/webhooks", receiver()))
    return app.test_client().post("/webhooks", data=b"{}").status_code


def use_django() -> int:
    import django
    from django.conf import settings
    from django.test import RequestFactory

    settings.configure(SECRET_KEY="only for this", ALLOWED_HOSTS=["testserver"])
    django.setup()
    from montra_sync.frameworks.django import webhook_view

    request = RequestFactory().post("/webhooks", data=b"{}", content_type="application/json")
    return webhook_view(receiver())(request).status_code


def use_redis() -> None:
    """Constructed only: there may be no server."""
    from montra_async.usage import RedisOutbox
    from montra_async.webhooks import RedisStore

    for kind in (RedisOutbox, RedisStore):
        kind("redis://127.0.0.1:1/0")


def use_sandbox() -> None:
    from montra_sandbox import Sandbox
    from montra_sync import Montra

    with Sandbox() as sandbox, Montra(sandbox.api_key, sandbox.base_url) as montra:
        montra.create_customer(name="Ada", email="ada@example.com")


def use_cli(address: str) -> None:
    settings = {"MONTRA_BASE_URL": f"{address}/api/v1", "MONTRA_API_KEY": "sk_test_sandbox"}
    customers = json.loads(command("montra", "customers", "list", "--json", **settings))
    check(isinstance(customers, (list, dict)), f"montra customers list --json: {customers}")


def use_otel() -> None:
    importlib.import_module("montra_async.telemetry")


def use_pytest() -> None:
    """Our plugin is loaded by pytest: without the extra, it disturbs no test, and its fixtures say what they need."""
    Path("test_it.py").write_text("def test_plain(): assert 1 + 1 == 2\ndef test_fixture(montra_sandbox): ...\n")
    base = ["pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_it.py"]
    check("1 passed" in command(*base, "-k", "plain"), "pytest without the extra sandbox")
    check("pip install 'montra[sandbox]'" in command(*base, "-k", "fixture", code=1), "the fixture: no hint")


USES: dict[str, Callable[[], int | None]] = {
    "django": use_django,
    "fastapi": use_fastapi,
    "flask": use_flask,
    "otel": use_otel,
    "redis": use_redis,
    "sandbox": use_sandbox,
    "starlette": use_starlette,
}
REFUSED_UNSIGNED = (400, 401)


def main() -> int:
    settings = json.loads(os.environ["SETTINGS"])
    extras, address = set(settings["extras"]), settings["address"]
    name: str = settings["name"]
    unknown = extras - USES.keys() - {"cli"}
    check(not unknown, f"tools/build_dist/trial.py does not know what to try with {unknown}")
    present = extras | ({"pytest"} if name == "pytest" else set())
    check_isolation(settings["checkout"], settings["version"])
    check_imports(present, only_extras=name not in ("", "all"))
    check_commands(present, settings["version"])
    check_clients(address)
    for extra in sorted(extras & USES.keys()):
        status = USES[extra]()
        check(status is None or status in REFUSED_UNSIGNED, f"{extra}: an unsigned webhook was answered with {status}")
    if "cli" in extras:
        use_cli(address)
    if name == "pytest":
        use_pytest()
    elif "redis" not in extras:
        try:
            use_redis()
        except ImportError as error:
            check("pip install 'montra[redis]'" in str(error), f"RedisOutbox without its extra: {error}")
        else:
            check(condition=False, what="RedisOutbox works without its extra")
    return 0


if __name__ == "__main__":
    sys.exit(main())
