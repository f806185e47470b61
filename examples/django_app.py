"""Django in one file, synchronous views: guards, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... gunicorn -w 2 django_app:application
"""

import os
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    SECRET_KEY="only-an-example",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    MONTRA={"timeout": 20},  # the key and the address come from the environment
)
application = get_wsgi_application()

from montra_sync.frameworks.django import get_client, require_feature, require_quota, webhook_view  # noqa: E402
from montra_sync.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver  # noqa: E402

receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
buyers = Path(os.environ.get("BUYERS_FILE", "buyers.txt"))  # your database: shared by all workers


def customer_id(request: HttpRequest) -> str:
    """Return the customer id from `request.user` or the session.

    NEVER use a header, which any caller may set; this example does so that it can be tried with curl. When the header
    is missing (a KeyError), the guard responds with 401.
    """
    return request.headers["X-Customer-Id"]


@require_feature("sso", customer=customer_id)
def reports(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"report": "for those who have single sign-on"})


@csrf_exempt  # asked by programs, not by forms
@require_quota("api-tokens", customer=customer_id)
def answers(request: HttpRequest) -> JsonResponse:
    get_client().report_usage(customer_id=customer_id(request), meter_slug="api-tokens", amount=5)
    return JsonResponse({"answer": "42"})


@receiver.on(CheckoutCompleted)
def paid(event: CheckoutCompleted) -> None:
    with buyers.open("a") as file:
        file.write(f"{event.data.customer_email}\n")


def list_buyers(_: HttpRequest) -> JsonResponse:
    return JsonResponse(buyers.read_text().split() if buyers.exists() else [], safe=False)


urlpatterns = [
    path("reports", reports),
    path("answers", answers),
    path("buyers", list_buyers),
    path("webhooks/montra", webhook_view(receiver)),
]
