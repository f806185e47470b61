"""Django in one file, asynchronous views: guards, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=... uvicorn --lifespan off django_async_app:application
"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    SECRET_KEY="only-an-example",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    MONTRA={"timeout": 20},  # the key and the address come from the environment
)
application = get_asgi_application()

from montra_async.frameworks.django import get_client, require_feature, require_quota, webhook_view  # noqa: E402
from montra_async.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver  # noqa: E402

receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
buyers: list[str] = []  # your database


def customer_id(request: HttpRequest) -> str:
    """Return the customer id from `await request.auser()` or the session.

    NEVER use a header, which any caller may set; this example does so that it can be tried with curl. When the header
    is missing (a KeyError), the guard responds with 401.
    """
    return request.headers["X-Customer-Id"]


@require_feature("sso", customer=customer_id)
async def reports(_: HttpRequest) -> HttpResponseBase:
    return JsonResponse({"report": "for those who have single sign-on"})


@require_quota("api-tokens", customer=customer_id)
@csrf_exempt  # asked by programs, not by forms; below the guard, since Django 4.2's own is for synchronous views
async def answers(request: HttpRequest) -> HttpResponseBase:
    await get_client().report_usage(customer_id=customer_id(request), meter_slug="api-tokens", amount=5)
    return JsonResponse({"answer": "42"})


@receiver.on(CheckoutCompleted)
async def paid(event: CheckoutCompleted) -> None:
    buyers.append(event.data.customer_email or "")


async def list_buyers(_: HttpRequest) -> HttpResponseBase:
    return JsonResponse(buyers, safe=False)


urlpatterns = [
    path("reports", reports),
    path("answers", answers),
    path("buyers", list_buyers),
    path("webhooks/montra", webhook_view(receiver)),
]
