"""Which page of the reference describes what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .public_names import PublicName


@dataclass(frozen=True)
class Subject:
    """A page of the reference.

    Attributes:
        slug: name of its file.
        title: its title.
        intro: what it is about, Markdown.
        modules: the modules whose public names it describes, each with all modules below it.
    """

    slug: str
    title: str
    intro: str
    modules: tuple[str, ...]


def _resource(slug: str, title: str, *modules: str) -> Subject:
    intro = f"The calls of [`Montra`][montra_async.Montra] for {title.lower()}, and their models."
    return Subject(slug, title, intro, tuple(f"montra_async.resources.{one}" for one in modules))


SUBJECTS = (
    Subject(
        "client",
        "The client",
        "The client of the Montra API, its settings, and what all calls share. Its calls are on the pages of subjects.",
        ("montra_async.client", "montra_async.core"),
    ),
    _resource("customers", "Customers", "customers"),
    _resource("subscriptions", "Subscriptions", "subscriptions"),
    _resource("pricing-models", "Pricing models and products", "pricing_models"),
    _resource("features", "Features and entitlements", "features"),
    _resource("meters", "Meters and usage", "meters"),
    _resource("checkout-links", "Checkout links", "checkout_links"),
    _resource("invoices", "Invoices", "invoices"),
    _resource("refunds", "Refunds and discounts", "refunds"),
    _resource("webhook-endpoints", "Webhook endpoints", "webhook_endpoints", "event_types"),
    _resource("audit-logs", "Audit logs", "audit_logs"),
    _resource("analytics", "Analytics", "analytics"),
    Subject(
        "errors",
        "Errors",
        "The exceptions of all packages. [Errors and what to do](../errors.md) explains codes and messages.",
        (
            "montra_async.core.errors",
            "montra_async.paywall.errors",
            "montra_async.usage.errors",
            "montra_async.access.errors",
            "montra_async.webhooks.errors",
        ),
    ),
    Subject(
        "usage",
        "Usage reporting",
        "`montra_async.usage`: usage that is stored first and sent until it is counted. [Guide](../guides/usage.md).",
        ("montra_async.usage",),
    ),
    Subject(
        "access",
        "Access",
        "`montra_async.access`: checks from memory, and holds. [Guide](../guides/access.md).",
        ("montra_async.access",),
    ),
    Subject(
        "webhooks",
        "Webhooks",
        "`montra_async.webhooks`: signatures, the receiver and its stores. [Guide](../guides/webhooks.md); "
        "[the events](webhook-events.md).",
        ("montra_async.webhooks",),
    ),
    Subject(
        "webhook-events",
        "Webhook events",
        "The types of events of both services, and what is in them.",
        (
            "montra_async.webhooks.events",
            "montra_async.webhooks.paywall_events",
            "montra_async.webhooks.webhook_event",
        ),
    ),
    Subject(
        "paywall-billing",
        "Paywall: billing and tokens",
        "`montra_async.paywall`: sell access and tokens to users. [Guide](../guides/paywall.md).",
        ("montra_async.paywall",),
    ),
    Subject(
        "paywall-auth",
        "Paywall: sign-in",
        "`montra_async.paywall`: sessions of users, and where they are stored.",
        ("montra_async.paywall.auth", "montra_async.paywall.auth_models", "montra_async.paywall.storage"),
    ),
    Subject(
        "paywall-gateway",
        "Paywall: AI gateway",
        "`montra_async.paywall`: calls to AI providers through the gateway, streamed or whole.",
        ("montra_async.paywall.gateway", "montra_async.paywall.gateway_response", "montra_async.paywall.sse"),
    ),
    Subject("fastapi", "FastAPI", "[Guide](../frameworks/fastapi.md).", ("montra_async.frameworks.fastapi",)),
    Subject("starlette", "Starlette", "[Guide](../frameworks/starlette.md).", ("montra_async.frameworks.starlette",)),
    Subject("flask", "Flask", "[Guide](../frameworks/flask.md).", ("montra_sync.frameworks.flask",)),
    Subject(
        "django",
        "Django",
        "`montra_sync.frameworks.django` is for synchronous views, `montra_async.frameworks.django` for asynchronous "
        "ones. [Guide](../frameworks/django.md).",
        ("montra_sync.frameworks.django", "montra_async.frameworks.django"),
    ),
    Subject("aiohttp", "aiohttp", "[Guide](../frameworks/aiohttp.md).", ("montra_async.frameworks.aiohttp",)),
    Subject(
        "sandbox",
        "Sandbox",
        "`montra_sandbox`: the local server as an object. [What it does](../sandbox/index.md).",
        ("montra_sandbox",),
    ),
)
GROUPS = {
    "Montra API": (
        *("client", "customers", "subscriptions", "pricing-models", "features", "meters", "checkout-links", "invoices"),
        *("refunds", "webhook-endpoints", "audit-logs", "analytics"),
    ),
    "Usage, access, webhooks": ("usage", "access", "webhooks", "webhook-events"),
    "Paywall service": ("paywall-billing", "paywall-auth", "paywall-gateway"),
    "Frameworks": ("fastapi", "starlette", "flask", "django", "aiohttp"),
    "Tests": ("sandbox", "pytest"),
    "More": ("errors", "telemetry", "synchronous", "environment"),
}
"""The pages of the reference in the navigation. Pages that are not named here follow."""
EXTRA_MEMBERS = {
    "sandbox": (
        "Parts of a sandbox",
        (
            "montra_sandbox.controls.handles.SandboxClock",
            "montra_sandbox.controls.handles.Requests",
            "montra_sandbox.controls.handles.Webhooks",
        ),
    ),
}
"""What users get from others, and import nowhere: the title of the section, and the classes."""


def is_facade(one: PublicName) -> bool:
    """Whether a name is another one for what `montra_async` has: of its facade, or of `montra`, which has both."""
    is_sync = one.path.startswith("montra_sync.") and not one.path.startswith("montra_sync.frameworks.")
    return is_sync or one.module == "montra"


def subjects_of(names: Iterable[PublicName]) -> dict[Subject, list[PublicName]]:
    """The names that each page describes. A module that no page is for gets a page of its own.

    Args:
        names: all public names.
    """
    found: dict[Subject, list[PublicName]] = {one: [] for one in SUBJECTS}
    for name in names:
        if not is_facade(name):
            found.setdefault(_subject_of(name), []).append(name)
    return found


def _subject_of(name: PublicName) -> Subject:
    """The page of the module that is closest: `a.b.c` before `a.b`."""
    module = name.source
    while "." in module or module == "montra_sandbox":
        for subject in SUBJECTS:
            if module in subject.modules:
                return subject
        module = module.rpartition(".")[0]
    exporting = name.module
    slug = exporting.replace("montra_async.", "").replace(".", "-").replace("_", "-")
    return Subject(slug, slug.replace("-", " ").capitalize(), f"`{exporting}`.", (name.source,))
